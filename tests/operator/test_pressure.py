"""What the operator does when the cloud is in trouble, and what it counts."""

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.operator_site import Site, agent, eventually, operator, time_passes
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.cloud.tags import CLUSTER

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

BREAKER = "underlay.spidernet.io/breaker"


async def test_a_level_set_by_hand_holds_until_it_is_taken_back(site: Site, apiserver: "ApiServer") -> None:
    """At no-release a node grows and gives nothing back; at no-calls nothing at all is sent; without the annotation
    everything is made up for. Condition Breaker says so, and an unknown level is told by the annotation's name while
    the provider works on.
    """
    await site.add_provider()
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig), agent(site, node):
        await _annotate(site, "no-release")
        await eventually(
            lambda: _lacks(site, "Breaker", "True", "NoRelease", f"no-release, by hand: annotation {BREAKER}")
        )
        await site.bind(node, 4)
        await eventually(lambda: _not_addresses(site, node, 8))
        await site.bind(node, 0)
        await time_passes(3)
        assert await _not_addresses(site, node, 8) == []
        assert _calls(site, "UnassignPrivateIpAddresses") == 0

        await _annotate(site, "no-calls")
        await eventually(lambda: _lacks(site, "Breaker", "True", "NoCalls", "no-calls"))
        before = site.sim.control("GET", "/calls")
        await site.bind(node, 1)
        await time_passes(3)
        assert site.sim.control("GET", "/calls") == before

        await _annotate(site, "sometimes")
        await eventually(lambda: _lacks(site, "Ready", "False", "InvalidValue", f"metadata.annotations[{BREAKER}]"))
        await eventually(lambda: _lacks(site, "Breaker", "False", "Normal", "the cloud works"))
        await site.rest(node, addresses=4)

        await _annotate(site, None)
        await eventually(lambda: _lacks(site, "Ready", "True", "Usable", "the cloud answers"))


async def test_the_outage_of_one_operation_leaves_the_others_working(site: Site, apiserver: "ApiServer") -> None:
    """While releases fail their breaker opens by itself and says since when and why; a node that needs more still gets
    it; once the cloud is well, what was held back is given back and the level returns to normal.
    """
    await site.add_provider()
    shrinking = [await site.add_node(f"n{number}") for number in range(3)]
    other = await site.add_node("other")
    fault = {"operation": "UnassignPrivateIpAddresses", "kind": "error", "code": "Unavailable", "count": 10_000}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(operator(site, apiserver.kubeconfig))
        for node in (*shrinking, other):
            await stack.enter_async_context(agent(site, node))
        for node in shrinking:
            await site.bind(node, 4)
        for node in shrinking:
            await site.rest(node, addresses=8)
        site.sim.control("POST", "/faults", fault)
        for node in shrinking:
            await site.bind(node, 0)
        await eventually(lambda: _lacks(site, "Breaker", "True", "NoRelease", "UnassignPrivateIpAddresses no-release"))

        await site.bind(other, 4)
        await eventually(lambda: _not_addresses(site, other, 8))

        site.sim.control("DELETE", "/faults")
        await site.bind(other, 0)
        for node in (*shrinking, other):
            await site.rest(node, addresses=4, seconds=60)


async def test_an_interface_half_made_in_an_outage_is_finished_after_it(site: Site, apiserver: "ApiServer") -> None:
    """The interface is created and its attachment fails until the gate gives up: the same one is attached later, no
    second one is made and none is left behind.
    """
    await site.add_provider(interfaces={"usePrimary": False})
    node = await site.add_node()
    fault = {"operation": "AttachNetworkInterface", "kind": "error", "code": "Unavailable", "count": 6}
    site.sim.control("POST", "/faults", fault)
    async with operator(site, apiserver.kubeconfig), agent(site, node):
        await site.bind(node, 2)
        await site.rest(node, addresses=4, interfaces=2)

    owned = [row for row in site.sim.control("GET", "/table")["interfaces"] if CLUSTER in row["tags"]]
    assert len(owned) == 1
    assert _calls(site, "AttachNetworkInterface") == 7


async def test_everything_is_counted_under_documented_names(site: Site, apiserver: "ApiServer") -> None:
    """A scrape shows calls by provider, operation and class, their time, the wait for tokens, the breaker's level, the
    sums of addresses and the time of plans.
    """
    await site.add_provider()
    node = await site.add_node()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    site.sim.control(
        "POST", "/faults", {"operation": "AssignPrivateIpAddresses", "kind": "error", "code": "Unavailable"}
    )
    async with operator(site, apiserver.kubeconfig, metrics_address=f"127.0.0.1:{port}"), agent(site, node):
        await site.bind(node, 3)
        await site.rest(node, addresses=8)
        samples = await asyncio.to_thread(_scrape, port)

    assign = {"provider": site.name, "operation": "AssignPrivateIpAddresses"}
    sent = _value(samples, "underlay_cloud_calls_total", **assign, **{"class": "Success"})
    assert sent >= 1
    assert _value(samples, "underlay_cloud_calls_total", **assign, **{"class": "Unavailable"}) == 1
    operation = {"operation": "AssignPrivateIpAddresses"}
    assert _value(samples, "underlay_cloud_call_seconds_count", **operation) == sent + 1
    assert _value(samples, "underlay_cloud_limiter_wait_seconds_count", **operation) == sent + 1
    assert _value(samples, "underlay_cloud_breaker_level", provider=site.name) == 0
    states = {state: _value(samples, "underlay_node_addresses", state=state) for state in ("usable", "target", "pods")}
    assert states == {"usable": 8, "target": 8, "pods": 3}
    assert _value(samples, "underlay_node_addresses", state="cooling") == 0
    assert _value(samples, "underlay_plan_seconds_count") >= 1
    assert _value(samples, "process_resident_memory_bytes") > 0


def _scrape(port: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _value(samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def _calls(site: Site, operation: str) -> int:
    counted = site.sim.control("GET", "/calls").get(operation, {})
    return sum(counted.values())


async def _annotate(site: Site, level: str | None) -> None:
    body = {"metadata": {"annotations": {BREAKER: level}}}
    await site.client.merge_patch(SpiderNetworkProvider, site.name, body)


async def _lacks(site: Site, type_: str, status: str, reason: str, text: str) -> object:
    """The conditions, unless the one of that type is as told."""
    provider = await site.client.get(SpiderNetworkProvider, site.name)
    conditions = provider.status.conditions if provider.status else []
    for condition in conditions:
        if condition.type == type_ and condition.status == status and condition.reason.startswith(reason):
            return [] if text in condition.message else conditions
    return conditions or "no conditions"


async def _not_addresses(site: Site, node: str, count: int) -> list[int]:
    found = sum(map(len, site.interfaces(node).values()))
    return [] if found == count else [found]
