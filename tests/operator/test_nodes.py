"""The operator on a real API server and a simulated cloud: what nodes get, and what they give back."""

import asyncio
import json
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from controlplane import audit
from support.operator_site import (
    SETTLE_SECONDS,
    Site,
    agent,
    end,
    eventually,
    lead_site,
    operator,
    settings_for,
    time_passes,
)
from underlay.core.addresses import RangeSet
from underlay.core.api.ippool import (
    INTERFACE_ANNOTATION,
    MAC_ANNOTATION,
    PoolAllocation,
    parse_allocations,
    render_allocations,
)
from underlay.core.api.kubernetes import Node
from underlay.core.api.nodenetwork import AGENT_MANAGER, AgentStatus, Release, Released, SpiderNodeNetwork
from underlay.core.kube.client import KubeClient
from underlay.operator.steps import WarmStep

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver


async def test_supply_follows_demand_and_comes_to_rest(site: Site, apiserver: "ApiServer") -> None:
    """Pools per interface; growth makes the next interface; a shrink returns addresses and the interface; at rest
    nothing is written and the cloud is not read, and never is the provider's status written more than once a second.

    Batches of 4 with half a batch spare: 0 pods want 4 addresses, 8 want 12, and a t3.medium has 5 per interface.
    """
    await site.add_provider()
    node = await site.add_node()
    began, start = time.monotonic(), apiserver.plane.audit_log.stat().st_size
    async with operator(site, apiserver.kubeconfig), agent(site, node) as stand_in:
        await site.rest(node, addresses=4, interfaces=1)

        await site.bind(node, 8)
        await site.rest(node, addresses=12, interfaces=3)
        await eventually(lambda: _lacks(stand_in.held(), 8))
        rows = {row["id"]: row for row in site.sim.control("GET", "/table")["interfaces"]}
        for pool in await site.pools(node):
            row = rows[pool.metadata.annotations[INTERFACE_ANNOTATION]]
            assert pool.metadata.annotations[MAC_ANNOTATION] == row["mac"]
            assert pool.spec.node_name == [node]
            assert (pool.spec.subnet, pool.spec.gateway) == ("10.80.1.0/24", "10.80.1.1")
            assert row["attachment"]["delete_on_termination"]

        # None goes before all have left: what stays idle is on the first interface then.
        await site.cordon(node, cordoned=True)
        await site.bind(node, 0)
        await eventually(lambda: _given(site, node))
        await site.cordon(node, cordoned=False)
        await site.rest(node, addresses=4, interfaces=1)

        statuses = [number for request, number in _written(apiserver, start) if "networkproviders" in request.resource]
        assert 1 <= sum(statuses) <= time.monotonic() - began + 1

        await time_passes(3 * SETTLE_SECONDS)
        offset = apiserver.plane.audit_log.stat().st_size
        site.sim.control("DELETE", "/calls")
        await time_passes(3 * SETTLE_SECONDS)
        assert {request.resource for request, _ in _written(apiserver, offset)} <= {"leases"}
        assert site.calls() == {}
    found = await site.ready()
    assert found is not None
    assert (found.status, found.reason) == ("True", "Usable")


async def test_an_interface_ends_with_its_machine_whatever_its_creation_met(site: Site, apiserver: "ApiServer") -> None:
    """EC2 fails when it is told to end the interface with the machine, and refuses the creation when it is repeated:
    what is attached by then serves pods, and ends with the machine all the same.
    """
    await site.add_provider(interfaces={"usePrimary": False})
    node = await site.add_node()
    fault = {"operation": "ModifyNetworkInterfaceAttribute", "kind": "error", "code": "ServiceUnavailable"}
    site.sim.control("POST", "/faults", fault | {"count": 4})
    fault = {"operation": "CreateNetworkInterface", "kind": "error", "code": "InvalidParameterCombination"}
    site.sim.control("POST", "/faults", fault | {"nth": 2})
    async with operator(site, apiserver.kubeconfig), agent(site, node):
        await site.bind(node, 2)
        await site.rest(node, addresses=4, interfaces=2, seconds=60)
    assert site.sim.control("GET", "/faults")["faults"] == []


async def test_what_pods_hold_stays(site: Site, apiserver: "ApiServer") -> None:
    """A release names addresses; one that a pod has taken meanwhile is answered as held, keeps its place in its pool
    and keeps its interface.
    """
    await site.add_provider()
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig), agent(site, node) as stand_in:
        await site.bind(node, 8)
        await site.rest(node, addresses=12, interfaces=3)
        await eventually(lambda: _lacks(stand_in.held(), 8))

        stand_in.answering = False
        await site.bind(node, 5)
        await eventually(lambda: _no_release(site, node))
        # A pod takes what the release names before the agent has seen it.
        await site.bind(node, 12)
        await eventually(lambda: _lacks(stand_in.held(), 12))
        stand_in.allow()
        await eventually(lambda: _none_held(stand_in.answered))
        await site.bind(node, 6)
        await site.rest(node, addresses=8)
        assert stand_in.held() <= set().union(*site.interfaces(node).values())


async def test_an_answered_release_is_cancelled_by_demand(site: Site, apiserver: "ApiServer") -> None:
    """Fenced addresses whose pool has not shrunk yet serve again when pods come back; nothing is unassigned."""
    await site.add_provider()
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig), agent(site, node) as stand_in:
        await site.bind(node, 4)
        await site.rest(node, addresses=8, interfaces=2)
        stand_in.answering = False
        await site.bind(node, 0)
        await eventually(lambda: _no_release(site, node))
        await site.bind(node, 8)
        # More is wanted than there is without the fenced ones: the node grows, so the answer finds it growing.
        stand_in.allow()
        await site.rest(node, addresses=12, interfaces=3)
        assert stand_in.answered
        await eventually(lambda: _lacks(stand_in.held(), 8))


async def test_a_node_that_is_gone_leaves_nothing(site: Site, apiserver: "ApiServer") -> None:
    """Node deleted and machine terminated: pools and SpiderNodeNetwork go. While the machine runs they stay."""
    await site.add_provider()
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig):
        async with agent(site, node):
            await site.rest(node, addresses=4, interfaces=1)
        await site.client.delete(Node, node)
        site.sim.control("DELETE", "/calls")
        await eventually(lambda: _not_called(site, "DescribeInstances"))
        assert await site.network(node) is not None

        site.terminate(node)

        await eventually(lambda: site.pools(node))
        await eventually(lambda: site.network(node))


async def test_a_node_that_comes_back_is_served_as_what_it_is_now(site: Site, apiserver: "ApiServer") -> None:
    """A re-created Node of the same machine keeps its pools under its new UID; one of another machine starts anew."""
    await site.add_provider()
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig), agent(site, node):
        await site.rest(node, addresses=4, interfaces=1)
        first, pools = await site.network(node), await site.pools(node)
        assert first is not None

        await site.client.delete(Node, node)
        await site.add_node(provider_id=first.spec.provider_id)
        await eventually(lambda: _of_another_uid(site, node, first.spec.node_uid))
        await site.rest(node, addresses=4, interfaces=1)
        assert [pool.metadata.uid for pool in await site.pools(node)] == [pool.metadata.uid for pool in pools]

        site.terminate(node)
        await site.client.delete(Node, node)
        await site.add_node()
        await site.rest(node, addresses=4, interfaces=1)
        second = await site.network(node)
        assert second is not None
        assert second.metadata.uid != first.metadata.uid
        assert not {pool.metadata.name for pool in await site.pools(node)} & {pool.metadata.name for pool in pools}


async def test_a_deleted_record_is_written_again(site: Site, apiserver: "ApiServer", client: KubeClient) -> None:
    """Someone deletes the SpiderNodeNetwork and a pool: both come back, and nothing is assigned or taken away."""
    await site.add_provider()
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig), agent(site, node):
        await site.rest(node, addresses=4, interfaces=1)
        before = site.interfaces(node)
        (pool,), network = await site.pools(node), await site.network(node)
        assert network is not None
        await client.delete(type(network), node)
        await client.delete(type(pool), pool.metadata.name)

        await site.rest(node, addresses=4, interfaces=1)

        assert site.interfaces(node) == before


def _written(apiserver: "ApiServer", offset: int) -> list[tuple[audit.Request, int]]:
    """The operator's writes since the audit log had that size."""
    found = audit.count(apiserver.plane.audit_log, offset=offset).items()
    reads = {"get", "list", "watch"}
    return [item for item in found if item[0].user_agent == "underlay-operator" and item[0].verb not in reads]


async def _lacks(held: set[str], count: int) -> str:
    return "" if len(held) == count else f"{len(held)} of {count} held"


async def _given(site: Site, node: str) -> list[str]:
    """Addresses that the pools say are a pod's."""
    return [
        address
        for pool in await site.pools(node)
        for address in parse_allocations(pool.status.allocated_ips if pool.status else None)
    ]


async def _no_release(site: Site, node: str) -> str:
    network = await site.network(node)
    return "" if network and network.spec.release else "no release yet"


async def _none_held(answered: list[Released]) -> str:
    return "" if any(entry.held for entry in answered) else f"nothing held in {answered}"


async def _not_called(site: Site, operation: str) -> str:
    return "" if operation in site.calls() else f"{operation} not called yet"


async def _of_another_uid(site: Site, node: str, uid: str) -> str:
    network = await site.network(node)
    return "" if network and network.spec.node_uid not in ("", uid) else "still the old UID"


async def test_a_leader_that_wakes_takes_nothing_from_a_pod(site: Site, apiserver: "ApiServer", tmp_path: Path) -> None:
    """It was stopped when it had made sure that it may take addresses out of a pool. The next one kept them, a pod got
    one, and then it goes on.
    """
    taken: list[tuple[str, str]] = []
    answered: list[Released] = []

    def stopped(step: str) -> None:
        if step != WarmStep.POOL_CONFIRMED or not answered or taken:
            return
        pool, address = next((release.pool, address) for release in wanted for address in release.addresses)
        taken.append((pool, address))
        held = {"allocatedIPs": render_allocations({address: PoolAllocation(pod="default/p", pod_uid="u")})}
        patch = ("patch", "--type=merge")
        apiserver.plane.kubectl(*patch, "spidernodenetwork", node, "-p", json.dumps({"spec": {"release": []}}))
        apiserver.plane.kubectl(
            *patch, "spiderippool", pool, "--subresource=status", "-p", json.dumps({"status": held})
        )

    await site.add_provider()
    node = await site.add_node()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(lead_site(site, settings_for(site, tmp_path), stopped))
        await site.bind(node, 3)
        await eventually(lambda: _not_usable(site, node, 8))
        await site.bind(node, 0)
        await eventually(lambda: _unasked(site, node))
        network = await site.network(node)
        wanted = network.spec.release if network else []
        before = {pool.metadata.name: pool for pool in await site.pools(node)}
        answered += [Released(id=release.id, fenced=release.addresses, held=[]) for release in wanted]
        said = {"status": AgentStatus(journal_epoch="test", released=answered)}
        await site.client.apply(SpiderNodeNetwork, node, said, manager=AGENT_MANAGER, subresource="status")
        await eventually(lambda: _unasked(site, node, but=wanted))
        await end(task)

    ((name, address),) = taken
    after = {pool.metadata.name: pool for pool in await site.pools(node)}[name]
    assert ip_address(address) in RangeSet.parse(after.spec.ips or [], field="ips")
    assert after.metadata.generation == before[name].metadata.generation, "it was without the address for a while"


async def _not_usable(site: Site, node: str, count: int) -> str:
    network = await site.network(node)
    demand = network.status.demand if network and network.status else None
    return "" if demand is not None and demand.usable == count else f"{demand}"


async def _unasked(site: Site, node: str, but: Sequence[Release] = ()) -> str:
    network = await site.network(node)
    return "" if network and [item for item in network.spec.release if item not in but] else "no release is asked for"
