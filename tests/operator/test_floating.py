"""Fixed addresses: claimed at binding, brought to the pod's node, kept by their owner; by every independent reading."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from support.fixed_site import MINE, FixedSite
from support.operator_site import Site, agent, eventually, operator, time_passes
from underlay.core.api.kubernetes import Node, StatefulSet

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
        on_a.confirming = True
        await eventually(lambda: fixed.lacks(on_b, second, MINE, b), seconds=30)

        await eventually(lambda: site.disagreements(a))
        await eventually(lambda: site.disagreements(b))
        assert len(on_a.held()) == 2
        await eventually(lambda: fixed.unsaid(f"{site.name}-db-0", "FixedAddressMoved", a, b))


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


async def _still(fixed: FixedSite, address: str) -> str:
    entry = await fixed.entry(address)
    if where := fixed.at_cloud(address):
        return f"at the cloud on {where}"
    return "" if entry is None or entry.cooling_since is not None else f"block says {entry}"
