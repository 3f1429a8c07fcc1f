"""IPv6 and dual stack through the whole agent: which families a pod gets, and where its IPv6 gateway comes from."""

import asyncio
import shutil
from ipaddress import IPv6Address

import msgspec
import pytest

from support.node import MACS, NodeUnderTest, Refused
from support.observing import added, allocated, endpoint, reported
from underlay.cni.datapath.solicitation import Router6

pytestmark = pytest.mark.apiserver

ROUTER = Router6(address=IPv6Address("fe80:ec2::1"), lifetime_seconds=1800)
BOTH = ["ipv4", "ipv6"]


async def test_a_dual_stack_pod_gets_one_address_of_each_family(node: NodeUnderTest) -> None:
    """Both come from pools of one interface, the IPv6 default route leads to the router heard on it; DEL frees both."""
    node.kernel.routers["eth0"] = ROUTER
    await node.wish(families=BOTH)
    four = await node.pool("v4", ["10.9.0.10-10.9.0.12"])
    six = await node.pool6("v6", ["2001:db8:9::10-2001:db8:9::12"])
    await node.pod("web")
    await node.start()
    node.netns("c1")

    answer = await node.call("ADD", "web", "c1")

    assert answer["ips"] == [
        {"address": "10.9.0.10/16", "gateway": "10.9.0.1", "interface": 0},
        {"address": "2001:db8:9::10/64", "gateway": "fe80:ec2::1", "interface": 0},
    ]
    [want] = node.kernel.interfaces.values()
    assert [str(gateway) for gateway in want.gateways] == ["10.9.0.1", "fe80:ec2::1"]
    shown = (await endpoint(node, "web")).status
    assert shown is not None
    assert (shown.current.ips[0].ipv4, shown.current.ips[0].ipv6) == ("10.9.0.10/16", "2001:db8:9::10/64")
    await allocated(node, six, {"2001:db8:9::10": f"default/{node.name}-web"})
    await node.call("CHECK", "web", "c1")

    await node.delete("web", "c1")

    await allocated(node, four, {})
    await allocated(node, six, {})


async def test_an_ipv6_only_pod(node: NodeUnderTest) -> None:
    """With families ["ipv6"] a pod gets IPv6 alone although the node has a pool of IPv4."""
    node.kernel.routers["eth0"] = ROUTER
    await node.wish(families=["ipv6"])
    await node.pool("v4", ["10.9.0.10"])
    await node.pool6("v6", ["2001:db8:9::10"])
    await node.pod("web")
    await node.start()
    node.netns("c1")

    answer = await node.call("ADD", "web", "c1")

    assert [item["address"] for item in answer["ips"]] == ["2001:db8:9::10/64"]


async def test_a_pod_never_starts_with_half_of_its_addresses(node: NodeUnderTest) -> None:
    """Before the pool of its other family is there a dual-stack ADD waits; it is then served with both at once."""
    node.kernel.routers["eth0"] = ROUTER
    await node.wish(families=BOTH)
    four = await node.pool("v4", ["10.9.0.10"])
    await node.pod("web")
    await node.start()
    await reported(node, lambda status: bool(status.links))
    node.netns("c1")

    waiting = asyncio.create_task(node.call("ADD", "web", "c1"))
    done, _ = await asyncio.wait({waiting}, timeout=0.5)
    assert not done
    await allocated(node, four, {})
    await node.pool6("v6", ["2001:db8:9::10"])

    assert len((await waiting)["ips"]) == 2


async def test_a_missing_half_is_named(node: NodeUnderTest) -> None:
    """The refusal (code 11) says which interface lacks which family, and which pool has room for the other one."""
    node.settings = msgspec.structs.replace(node.settings, add_wait_seconds=0.2)
    await node.wish(families=BOTH)
    await node.pool("v4", ["10.9.0.10"])
    await node.pod("web")
    await node.start()
    await reported(node, lambda status: bool(status.links))

    with pytest.raises(Refused) as refused:
        await node.add("web", "c1")

    assert refused.value.code == 11
    assert f"interface {MACS[0]} has no IPv6 pool" in refused.value.msg


async def test_an_add_waits_for_the_router(node: NodeUnderTest) -> None:
    """While none is heard an IPv6 ADD is refused with code 11 and the reason; it is served when one answers."""
    node.settings = msgspec.structs.replace(node.settings, add_wait_seconds=0.3)
    await node.wish(families=["ipv6"])
    await node.pool6("v6", ["2001:db8:9::10"])
    await node.pod("web")
    await node.start()
    await reported(node, lambda status: bool(status.links))

    with pytest.raises(Refused) as refused:
        await node.add("web", "c1")
    node.kernel.routers["eth0"] = ROUTER

    assert refused.value.code == 11
    assert f"no IPv6 router is known on its interface (MAC {MACS[0]})" in refused.value.msg
    await added6(node, "web", "c2")
    status = await reported(node, lambda status: any(link.router6 for link in status.links))
    assert {link.name: link.router6 for link in status.links} == {"eth0": "fe80:ec2::1"}


async def test_a_pools_own_gateway_outranks_the_router(node: NodeUnderTest) -> None:
    """A pool that names a gateway serves without any router, and keeps it when one is heard."""
    await node.wish(families=["ipv6"])
    await node.pool6("v6", ["2001:db8:9::10-2001:db8:9::11"], gateway="fe80::99")
    await node.pod("one")
    await node.pod("two")
    await node.start()
    await added6(node, "one", "c1")
    node.kernel.routers["eth0"] = ROUTER
    await reported(node, lambda status: any(link.router6 for link in status.links))

    await node.add_any("two", "c2")

    assert {str(gateway) for want in node.kernel.interfaces.values() for gateway in want.gateways} == {"fe80::99"}


async def test_links_without_ipv6_pools_are_not_asked(node: NodeUnderTest) -> None:
    """A node of IPv4 alone sends no router solicitation, and reports no router."""
    node.kernel.routers["eth0"] = ROUTER
    await node.pool("v4", ["10.9.0.10"])
    await node.pod("web")
    await node.start()
    await added(node, "web", "c1")

    status = await reported(node, lambda status: bool(status.links))

    assert node.kernel.questions == []
    assert [link.router6 for link in status.links] == [""]


async def test_a_lost_journal_reads_ipv6_addresses(node: NodeUnderTest) -> None:
    """What pods have is held again after the journal was lost: the address of a living pod is given to nobody else."""
    node.kernel.routers["eth0"] = ROUTER
    await node.wish(families=["ipv6"], cooldownSeconds=0)
    await node.pool6("v6", ["2001:db8:9::10-2001:db8:9::11"])
    await node.pod("one")
    await node.pod("two")
    await node.start()
    assert await added6(node, "one", "c1") == "2001:db8:9::10/64"
    await reported(node, lambda status: bool(status.journal_epoch))
    await node.stop()
    shutil.rmtree(node.settings.state_dir)

    await node.start()

    assert await added6(node, "two", "c2") == "2001:db8:9::11/64"


async def test_a_pool_of_a_whole_prefix_is_refused(node: NodeUnderTest) -> None:
    """A pool that lists 2⁴⁸ addresses neither serves nor exhausts the agent, and says what it may list."""
    node.settings = msgspec.structs.replace(node.settings, add_wait_seconds=0.2)
    node.kernel.routers["eth0"] = ROUTER
    await node.wish(families=["ipv6"])
    await node.pool6("v6", ["2001:db8:9:0:1::-2001:db8:9:0:1:ffff:ffff:ffff"])
    await node.pod("web")
    await node.start()
    await reported(node, lambda status: bool(status.links))

    with pytest.raises(Refused, match="expected at most 65536 in a node pool") as refused:
        await node.add("web", "c1")

    assert refused.value.code == 11


async def added6(node: NodeUnderTest, pod: str, container: str) -> str:
    """The address of an ADD that may come before pools and routers are known."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await node.add_any(pod, container)
            except Refused as refused:
                if refused.code != 11:
                    raise
