"""Fixed addresses: claimed at binding, brought to the pod's node, kept by their owner; by every independent reading."""

import contextlib
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from boto3 import Session

from support.agent import StandInAgent
from support.fixed_site import MINE, FixedSite
from support.operator_site import FAST, KEY, REGION, Site, agent, eventually, operator, time_passes
from underlay.core.api.ippool import SpiderIPPool
from underlay.core.api.kubernetes import Node, StatefulSet
from underlay.core.api.reservedip import SpiderReservedIP

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver


@pytest.fixture
async def fixed(site: Site) -> AsyncIterator[FixedSite]:
    """A provider, its pool of four fixed addresses, and a StatefulSet of one."""
    made = FixedSite(site=site)
    await site.add_provider(fixedAddress="required")
    await made.pool()
    await made.stateful_set(1)
    try:
        yield made
    finally:
        await made.clean()


async def test_an_address_follows_its_owner(fixed: FixedSite, apiserver: "ApiServer") -> None:
    """A StatefulSet's pod gets an address at binding; deleted and bound to another node, the same one, moved at the
    cloud only after the former node has confirmed; ordinary pods are served beside it.
    """
    site = fixed.site
    a, b = await site.add_node("a"), await site.add_node("b")
    async with operator(site, apiserver.kubeconfig), agent(site, a) as on_a, agent(site, b) as on_b:
        await site.bind(a, 2)
        first = await fixed.set_pod(a)
        await eventually(lambda: fixed.lacks(on_a, first, MINE, a))

        on_a.confirming = False
        await fixed.delete_set_pod()
        second = await fixed.set_pod(b)
        await time_passes(2)
        assert fixed.at_cloud(MINE) == [a]
        on_a.confirm()
        await eventually(lambda: fixed.lacks(on_b, second, MINE, b), seconds=30)

        await eventually(lambda: site.disagreements(a))
        await eventually(lambda: site.disagreements(b))
        assert len(on_a.held()) == 2
        await eventually(lambda: fixed.unsaid(f"{site.name}-db-0", "FixedAddressMoved", a, b))


async def test_every_node_hears_of_a_pool(site: Site, apiserver: "ApiServer") -> None:
    """Before a pod that may use it is bound there, so that its agent does not give it another address meanwhile; and
    when there is none any more.
    """
    fixed = FixedSite(site=site)
    await site.add_provider(fixedAddress="preferred")
    nodes = [await site.add_node(suffix) for suffix in "ab"]
    try:
        async with operator(site, apiserver.kubeconfig), agent(site, nodes[0]), agent(site, nodes[1]):
            for node in nodes:
                await site.rest(node, addresses=4)
            name = await fixed.pool()
            await eventually(lambda: _heard(site, nodes, "preferred"))
            await site.client.delete(SpiderIPPool, name)
            await eventually(lambda: _heard(site, nodes, ""))
    finally:
        await fixed.clean()


async def test_a_required_address_is_waited_for(site: Site, apiserver: "ApiServer") -> None:
    """A stable owner's pod that is bound before there is a pool gets no other address, an Event says what to do, and it
    has its fixed one as soon as there is a pool.
    """
    fixed = FixedSite(site=site)
    await site.add_provider(fixedAddress="required")
    await fixed.stateful_set(1)
    a = await site.add_node("a")
    try:
        async with operator(site, apiserver.kubeconfig), agent(site, a) as on_a:
            await site.bind(a, 1)
            uid = await fixed.set_pod(a)
            await eventually(lambda: fixed.unsaid(f"{site.name}-db-0", "FixedAddressRefused", "make one"))
            await eventually(lambda: _count(on_a.held(), 1))
            assert uid not in {pod.metadata.uid for _, pod in on_a.claims.values()}

            await fixed.pool()
            await eventually(lambda: fixed.lacks(on_a, uid, MINE, a), seconds=30)
            assert len(on_a.held()) == 1
    finally:
        await fixed.clean()


async def test_reserved_addresses_are_nobodys(fixed: FixedSite, apiserver: "ApiServer") -> None:
    """What a SpiderReservedIP names is not given, nor counted as what the pool can give, while it is named."""
    site = fixed.site
    await fixed.reserve([f"{MINE}-10.80.1.201"])
    a = await site.add_node("a")
    async with operator(site, apiserver.kubeconfig), agent(site, a) as on_a:
        uid = await fixed.set_pod(a)
        await eventually(lambda: fixed.lacks(on_a, uid, "10.80.1.202", a), seconds=30)
        await eventually(lambda: _gives(fixed, 2))

        await site.client.delete(SpiderReservedIP, site.name)
        await eventually(lambda: _gives(fixed, 4))


async def test_what_the_cloud_gave_to_a_node_is_no_fixed_address(site: Site, apiserver: "ApiServer") -> None:
    """Of a range that nothing keeps from the cloud, what a node got by count stays an ordinary address: its pod keeps
    it, owners get others, and pool and Event tell.
    """
    fixed = FixedSite(site=site)
    await site.add_provider(fixedAddress="required")
    a = await site.add_node("a")
    try:
        async with operator(site, apiserver.kubeconfig), agent(site, a) as on_a:
            await site.bind(a, 1)
            await eventually(lambda: _count(on_a.held(), 1))
            had = sorted(set().union(*site.interfaces(a).values()), key=lambda text: int(ip_address(text)))
            name = await fixed.pool([*had, MINE])
            await fixed.stateful_set(1)
            uid = await fixed.set_pod(a)

            await eventually(lambda: fixed.lacks(on_a, uid, MINE, a), seconds=30)
            await eventually(lambda: _gives(fixed, 1))
            await eventually(lambda: fixed.unsaid(name, "AddressesNotFixed", *on_a.held(), a, "reservations"))
            assert on_a.held() <= set(had)
            await eventually(lambda: site.disagreements(a))
    finally:
        await fixed.clean()


async def test_a_pool_for_namespaces_by_label(fixed: FixedSite, apiserver: "ApiServer") -> None:
    """``namespaceAffinity``: the first pool by name is passed over while the pod's namespace lacks its label."""
    site = fixed.site
    chosen = {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}
    mine = {"matchLabels": {"kubernetes.io/metadata.name": "default"}}
    await fixed.pool(namespaceAffinity=chosen)
    await fixed.pool(["10.80.1.210"], name=f"{site.name}-there", namespaceAffinity=mine)
    a = await site.add_node("a")
    async with operator(site, apiserver.kubeconfig), agent(site, a) as on_a:
        uid = await fixed.set_pod(a)
        await eventually(lambda: _has(on_a, uid, "10.80.1.210"), seconds=30)


async def test_an_address_is_given_up_with_its_owner(fixed: FixedSite, apiserver: "ApiServer") -> None:
    """Neither a pod that is gone nor a restart of the operator ends the claim; scaling below the pod's number does: it
    leaves the cloud. Scaled up again while it is remembered, the owner gets the same.
    """
    site = fixed.site
    a = await site.add_node("a")
    async with agent(site, a) as on_a:
        async with operator(site, apiserver.kubeconfig):
            uid = await fixed.set_pod(a)
            await eventually(lambda: fixed.lacks(on_a, uid, MINE, a))
            await fixed.delete_set_pod()
        async with operator(site, apiserver.kubeconfig):
            await time_passes(3)
            assert fixed.at_cloud(MINE) == [a]
            uid = await fixed.set_pod(a)
            await eventually(lambda: fixed.lacks(on_a, uid, MINE, a))

            await fixed.stateful_set(0)
            await time_passes(2)
            assert fixed.at_cloud(MINE) == [a], "its pod is still there"
            await fixed.delete_set_pod()
            await eventually(lambda: _still(fixed, MINE), seconds=30)
            await eventually(lambda: site.disagreements(a))

            await fixed.stateful_set(1)
            uid = await fixed.set_pod(a)
            await eventually(lambda: fixed.lacks(on_a, uid, MINE, a))

            await site.client.delete(StatefulSet, f"{site.name}-db", "default")
            await fixed.delete_set_pod()
            await eventually(lambda: _still(fixed, MINE), seconds=30)


async def test_a_dead_node_gives_up_its_address_only_with_proof(fixed: FixedSite, apiserver: "ApiServer") -> None:
    """While a pod's object remains on a node that does not answer, its address stays and the pod that wants it is told
    what to do; with the out-of-service taint, or once the machine is gone, it moves.
    """
    site = fixed.site
    owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": "vm"}
    a, b, c = [await site.add_node(suffix) for suffix in "abc"]
    async with operator(site, apiserver.kubeconfig), agent(site, b) as on_b, agent(site, c) as on_c:
        async with agent(site, a) as on_a:
            first = await fixed.owned_pod(a, owner, f"{site.name}-l1")
            await eventually(lambda: fixed.lacks(on_a, first, MINE, a))
        await fixed.not_ready(a)
        second = await fixed.owned_pod(b, owner, f"{site.name}-l2")
        await eventually(lambda: fixed.unsaid(f"{site.name}-l2", "FixedAddressWaiting", a, "out-of-service"))
        assert fixed.at_cloud(MINE) == [a]

        taint = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute", "value": "nodeshutdown"}
        await site.client.merge_patch(Node, a, {"spec": {"taints": [taint]}})
        await eventually(lambda: fixed.lacks(on_b, second, MINE, b), seconds=30)

        await fixed.not_ready(b)
        third = await fixed.owned_pod(c, owner, f"{site.name}-l3")
        await eventually(lambda: fixed.unsaid(f"{site.name}-l3", "FixedAddressWaiting", b))
        site.terminate(b)
        await eventually(lambda: fixed.lacks(on_c, third, MINE, c), seconds=40)


async def test_a_migrating_machine_has_its_address_on_both_nodes(fixed: FixedSite, apiserver: "ApiServer") -> None:
    """Its second launcher gets the address while the first still has it at the cloud; when that one has ended, the
    cloud's follows. Both are one owner.
    """
    site = fixed.site
    owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": "vm"}
    a, b = await site.add_node("a"), await site.add_node("b")
    async with operator(site, apiserver.kubeconfig), agent(site, a) as on_a, agent(site, b) as on_b:
        source = await fixed.owned_pod(a, owner, f"{site.name}-l1")
        await eventually(lambda: fixed.lacks(on_a, source, MINE, a))
        target = await fixed.owned_pod(b, owner, f"{site.name}-l2")
        await eventually(lambda: _has(on_b, target))
        await time_passes(2)
        assert on_a.fixed == {source: MINE}
        assert fixed.at_cloud(MINE) == [a]

        await fixed.delete_pod(f"{site.name}-l1")
        await eventually(lambda: fixed.lacks(on_b, target, MINE, b), seconds=30)
        await eventually(lambda: site.disagreements(a))
        await eventually(lambda: site.disagreements(b))


async def test_a_subnet_of_another_zone_is_refused_and_said(site: Site, apiserver: "ApiServer") -> None:
    """An Event on the pod names zone and node; where fixed addresses are but preferred, the pod then gets one of the
    node's own.
    """
    fixed = FixedSite(site=site)
    site.sim.control("POST", "/subnets", {"vpc": site.vpc, "cidr": "10.80.2.0/24", "zone": "us-east-1b"})
    await site.add_provider(fixedAddress="preferred")
    await fixed.pool(["10.80.2.200"], subnet="10.80.2.0/24")
    await fixed.stateful_set(1)
    a = await site.add_node("a")
    try:
        async with operator(site, apiserver.kubeconfig), agent(site, a) as on_a:
            uid = await fixed.set_pod(a)
            pod = f"{site.name}-db-0"
            await eventually(lambda: fixed.unsaid(pod, "FixedAddressRefused", "zone", "us-east-1b", "us-east-1a"))
            assert on_a.held() == set()
            await eventually(lambda: fixed.unsaid(pod, "FixedAddressRefused", "ordinary address"), seconds=30)
            await eventually(lambda: _count(on_a.held(), 1))
            assert on_a.fixed == {}
            assert uid in {pod.metadata.uid for _, pod in on_a.claims.values()}
            assert await fixed.entry("10.80.2.200") is None
    finally:
        await fixed.clean()


async def test_a_pod_that_names_a_pool_owns_its_address_for_its_life(fixed: FixedSite, apiserver: "ApiServer") -> None:
    """It gets one of that pool, from whose full rest the next is refused pool by pool; it is given up with the pod."""
    site = fixed.site
    other = await fixed.pool(["10.80.1.220"], name=f"{site.name}-named", default=False)
    annotation = {"annotations": {"ipam.spidernet.io/ippool": f'{{"ipv4": ["{other}"]}}'}}
    a = await site.add_node("a")
    async with operator(site, apiserver.kubeconfig), agent(site, a) as on_a:
        uid = await fixed.any_pod(a, f"{site.name}-x", annotation)
        await eventually(lambda: _has(on_a, uid, "10.80.1.220"))
        assert fixed.at_cloud("10.80.1.220") == [a]
        await fixed.any_pod(a, f"{site.name}-y", annotation)
        await eventually(lambda: fixed.unsaid(f"{site.name}-y", "FixedAddressRefused", other, "1 held"))

        await fixed.delete_pod(f"{site.name}-x")
        await fixed.delete_pod(f"{site.name}-y")
        await eventually(lambda: _still(fixed, "10.80.1.220"), seconds=30)


async def test_room_is_made_by_an_idle_address(fixed: FixedSite, apiserver: "ApiServer") -> None:
    """On a node whose only interface is full, an address that no pod uses goes back to the cloud for a fixed one; none
    of a pod does.
    """
    site = fixed.site
    await site.add_provider(
        fixedAddress="required",
        interfaces={"usePrimary": True, "max": 1},
        addresses=FAST | {"minimum": 5, "releaseDelaySeconds": 600},
    )
    a = await site.add_node("a")
    async with operator(site, apiserver.kubeconfig), agent(site, a) as on_a:
        await site.bind(a, 3)
        await eventually(lambda: _count(on_a.held(), 3))
        await eventually(lambda: _count(set().union(*site.interfaces(a).values()), 5))
        held = on_a.held()

        uid = await fixed.set_pod(a)
        await eventually(lambda: fixed.lacks(on_a, uid, MINE, a), seconds=30)

        assert on_a.held() == held
        assert held < set().union(*site.interfaces(a).values())


async def test_an_address_that_something_else_has_is_left_alone(fixed: FixedSite, apiserver: "ApiServer") -> None:
    """The cloud refuses it, another is chosen, and whoever has it keeps it."""
    site = fixed.site
    session = Session(aws_access_key_id=KEY, aws_secret_access_key="any", region_name=REGION)  # noqa: S106
    with contextlib.closing(session.client("ec2", endpoint_url=site.sim.url)) as ec2:
        made = ec2.create_network_interface(
            SubnetId=site.subnet,
            PrivateIpAddresses=[
                {"Primary": True, "PrivateIpAddress": "10.80.1.100"},
                {"Primary": False, "PrivateIpAddress": MINE},
            ],
        )["NetworkInterface"]["NetworkInterfaceId"]
    a = await site.add_node("a")
    async with operator(site, apiserver.kubeconfig), agent(site, a) as on_a:
        uid = await fixed.set_pod(a)
        await eventually(lambda: fixed.lacks(on_a, uid, "10.80.1.201", a), seconds=30)

        rows = {row["id"]: row for row in site.sim.control("GET", "/table")["interfaces"]}
        assert MINE in rows[made]["addresses"]
        assert await fixed.entry(MINE) is None


async def test_a_block_kept_for_fixed_addresses_has_a_pool(site: Site, apiserver: "ApiServer") -> None:
    """Who asks for the block need not write a pool; asked for no more, it goes once nobody has an address of it."""
    fixed, name = FixedSite(site=site), f"{site.name}-fixed-10-80-1-192-28"
    await site.add_provider(
        fixedAddress="required", subnets={"reservations": [{"cidr": "10.80.1.192/28", "use": "fixed"}]}
    )
    await fixed.stateful_set(1)
    a = await site.add_node("a")
    try:
        async with operator(site, apiserver.kubeconfig), agent(site, a) as on_a:
            await eventually(lambda: _not_there(site, name))
            uid = await fixed.set_pod(a)
            await eventually(lambda: _has(on_a, uid, "10.80.1.192"))
            assert fixed.at_cloud("10.80.1.192") == [a]

            await site.add_provider(fixedAddress="required", subnets={"reservations": []})
            await time_passes(3)
            assert await _not_there(site, name) == ""
            await site.client.delete(StatefulSet, f"{site.name}-db", "default")
            await fixed.delete_set_pod()
            await eventually(lambda: _there(site, name), seconds=30)
            await eventually(lambda: _still(fixed, "10.80.1.192"), seconds=30)
    finally:
        await fixed.clean()


async def _still(fixed: FixedSite, address: str) -> str:
    entry = await fixed.entry(address)
    if where := fixed.at_cloud(address):
        return f"at the cloud on {where}"
    return "" if entry is None or entry.cooling_since is not None else f"block says {entry}"


async def _has(on: StandInAgent, uid: str, address: str = MINE) -> str:
    return "" if on.fixed.get(uid) == address else f"pod has {on.fixed.get(uid)}"


async def _count(found: set[str], count: int) -> str:
    return "" if len(found) == count else f"{len(found)} of {count}: {sorted(found)}"


async def _gives(fixed: FixedSite, count: int) -> str:
    pool = await fixed.site.client.get(SpiderIPPool, f"{fixed.site.name}-fixed")
    found = pool.status.total_ip_count if pool.status else None
    return "" if found == count else f"pool can give {found}"


async def _there(site: Site, pool: str) -> str:
    found = {item.metadata.name for item in (await site.client.list(SpiderIPPool)).items}
    return f"pool {pool} is there" if pool in found else ""


async def _not_there(site: Site, pool: str) -> str:
    return "" if await _there(site, pool) else f"no pool {pool}"


async def _heard(site: Site, nodes: list[str], word: str) -> str:
    found = {node: network.spec.fixed_address for node in nodes if (network := await site.network(node))}
    return "" if set(found.values()) == {word} else f"{found}"
