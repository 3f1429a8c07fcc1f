"""Limits that no table tells: what a machine really takes, and what an account may have."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.operator_site import Site, agent, eventually, operator
from underlay.core.api.meta import Condition
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.cloud.tags import CLUSTER

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

NO_QUOTA = {
    "operation": "CreateNetworkInterface",
    "kind": "error",
    "code": "NetworkInterfaceLimitExceeded",
    "message": "limit of 5000 network interfaces exceeded",
    "count": 10_000,
}


async def test_what_a_machine_really_takes_is_learnt(site: Site, apiserver: "ApiServer") -> None:
    """EC2 attaches no second interface to a type that should take three: that is asked once, nothing of it is left, and
    the node says what it takes and that no more pods can start.
    """
    fault = {"operation": "AttachNetworkInterface", "kind": "error", "code": "AttachmentLimitExceeded", "count": 10_000}
    site.sim.control("POST", "/faults", fault)
    await site.add_provider()
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig), agent(site, node):
        await site.bind(node, 8)
        await eventually(lambda: _unlike(site, node, interfaces=1, usable=5, room=0))
        await site.bind(node, 9)
        await eventually(lambda: _unlike(site, node, interfaces=1, usable=5, room=0, pods=9))
        assert sum(site.calls()["AttachNetworkInterface"].values()) == 1
        assert _made(site) == []

        condition = await site.sufficient(node)
        assert condition is not None
        assert (condition.status, condition.reason) == ("False", "LimitReached")
        assert "larger instance type" in condition.message
        await eventually(lambda: _unsaid(site, node, "AttachmentLimitExceeded"))


async def test_what_others_attached_is_not_taken_for_the_machines_limit(site: Site, apiserver: "ApiServer") -> None:
    """Somebody attaches two interfaces, which the operator has not read when it is refused a fourth; once they are gone
    the node gets its own.
    """
    await site.add_provider()
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig, resync_seconds=3.0), agent(site, node):
        await site.rest(node, addresses=4, interfaces=1)
        # The next read is seconds away.
        site.sim.control("DELETE", "/calls")
        await eventually(lambda: _unread(site))
        by_hand = [await asyncio.to_thread(_attach, site, site.nodes[node], index) for index in (1, 2)]
        await site.bind(node, 8)
        await eventually(lambda: _unrefused(site))
        await eventually(lambda: _unlike(site, node, interfaces=3, usable=5, room=0))

        for interface in by_hand:
            await asyncio.to_thread(_take_away, site, interface)
        await site.rest(node, addresses=12, interfaces=3, seconds=60)


async def test_a_new_leader_does_not_think_that_an_account_gave(site: Site, apiserver: "ApiServer") -> None:
    """Nothing was given when it comes, so what the condition told stays true until the account is asked again."""
    site.sim.control("POST", "/faults", NO_QUOTA)
    provider, node = await site.add_provider(), await site.add_node()
    async with operator(site, apiserver.kubeconfig), agent(site, node):
        await site.bind(node, 8)
        await eventually(lambda: _untold(site, provider, "False", "AccountLimit"))
    (before,) = await _quota(site, provider)

    site.sim.control("DELETE", "/calls")
    async with operator(site, apiserver.kubeconfig), agent(site, node):
        await eventually(lambda: _unasked(site))
        await eventually(lambda: _unlike(site, node, interfaces=3, usable=5, room=0))
        (after,) = await _quota(site, provider)

    assert (after.status, after.last_transition_time) == ("False", before.last_transition_time)


async def test_an_account_without_quota_is_told_and_not_asked_over_and_over(site: Site, apiserver: "ApiServer") -> None:
    """The account has no interface more: one refusal is enough for all nodes of its two providers, whose conditions and
    Events say what to do; their room is what is there; nodes fill what they have; with a higher quota everything is
    made up for.
    """
    site.sim.control("POST", "/faults", NO_QUOTA)
    one = await site.add_provider()
    two = await site.add_provider(f"{one}-two", credentialsSecretRef={"name": one, "namespace": "default"})
    nodes = [await site.add_node(f"n{number}", site=provider) for number, provider in enumerate((one, one, two, two))]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(operator(site, apiserver.kubeconfig, subnet_seconds=20.0))
        for node in nodes:
            await stack.enter_async_context(agent(site, node))
        await site.bind(nodes[0], 8)
        for provider in (one, two):
            await eventually(partial(_untold, site, provider, "False", "AccountLimit"))
        for node in nodes[1:]:
            await site.bind(node, 8)
        for node in nodes:
            await eventually(partial(_unlike, site, node, interfaces=3, usable=5, room=0))
        for provider in (one, two):
            await eventually(partial(_not_room, site, provider, 0))
        for node in nodes[1:]:
            condition = await site.sufficient(node)
            assert condition is not None
            assert condition.message.partition(": ")[2].startswith("account: ")
            assert "quota" in condition.message
        for provider in (one, two):
            assert any("quota" in event.message for event in await site.events(provider))
        assert sum(site.calls()["CreateNetworkInterface"].values()) == 1

        site.sim.control("DELETE", "/faults")
        for node in nodes:
            await site.rest(node, addresses=12, interfaces=3, seconds=90)
        for provider in (one, two):
            await eventually(partial(_untold, site, provider, "True", "Given"))


async def _unlike(site: Site, node: str, *, interfaces: int, usable: int, room: int, pods: int = 8) -> str:
    network = await site.network(node)
    status = network.status if network else None
    if status is None or status.demand is None or status.limits is None:
        return "nothing is told yet"
    found = (status.limits.interfaces, status.demand.usable, status.demand.room, status.demand.pods)
    return "" if found == (interfaces, usable, room, pods) else f"{node}: interfaces, usable, room, pods: {found}"


async def _unsaid(site: Site, node: str, text: str) -> str:
    said = [event.message for event in await site.events(node)]
    return "" if any(text in message for message in said) else f"{said}"


async def _quota(site: Site, provider: str) -> list[Condition]:
    had = (await site.client.get(SpiderNetworkProvider, provider)).status
    return [item for item in (had.conditions if had else []) if item.type == "Quota"]


async def _unasked(site: Site) -> str:
    return "" if "CreateNetworkInterface" in site.calls() else "no interface was asked for"


async def _untold(site: Site, provider: str, status: str, reason: str) -> str:
    found = await _quota(site, provider)
    return "" if [(item.status, item.reason) for item in found] == [(status, reason)] else f"{found}"


async def _not_room(site: Site, provider: str, room: int) -> str:
    status = (await site.client.get(SpiderNetworkProvider, provider)).status
    return "" if status is not None and status.room == room else f"{status}"


async def _unread(site: Site) -> str:
    return "" if "DescribeInstances" in site.calls() else "not read again yet"


async def _unrefused(site: Site) -> str:
    told = site.calls().get("AttachNetworkInterface", {})
    return "" if "AttachmentLimitExceeded" in told else f"{told}"


def _made(site: Site) -> list[str]:
    return [row["id"] for row in site.sim.control("GET", "/table")["interfaces"] if CLUSTER in row["tags"]]


def _attach(site: Site, machine: str, index: int) -> str:
    with site.ec2() as ec2:
        made = ec2.create_network_interface(SubnetId=site.subnet)["NetworkInterface"]["NetworkInterfaceId"]
        ec2.attach_network_interface(NetworkInterfaceId=made, InstanceId=machine, DeviceIndex=index)
    return str(made)


def _take_away(site: Site, interface: str) -> None:
    (row,) = [row for row in site.sim.control("GET", "/table")["interfaces"] if row["id"] == interface]
    with site.ec2() as ec2:
        ec2.detach_network_interface(AttachmentId=row["attachment"]["id"])
