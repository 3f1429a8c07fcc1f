"""Prefixes, two families and scarce subnets on a real API server and a simulated cloud."""

from collections.abc import Mapping
from functools import partial
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from support import operator_site
from support.agent import StandInAgent
from support.operator_site import FAST, SETTLE_SECONDS, Site, agent, eventually, operator, time_passes
from underlay.core.api.kubernetes import Pod
from underlay.core.api.networkprovider import SpiderNetworkProvider, SubnetStatus
from underlay.core.kube.client import KubeClient

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

DUAL = {"families": ["ipv4", "ipv6"]}


async def test_whole_prefixes_follow_demand(site: Site, apiserver: "ApiServer") -> None:
    """0 pods want half a prefix spare, so one; 30 want three, which fit beside each other; none wants one again."""
    await site.add_provider(addresses=FAST | {"mode": "prefix"})
    node = await site.add_node(instance="m5.large")
    async with operator(site, apiserver.kubeconfig), agent(site, node) as stand_in:
        await site.rest(node, addresses=1, interfaces=1)
        await site.bind(node, 30)
        await site.rest(node, addresses=3, interfaces=1)
        await eventually(partial(_held, stand_in, 30))
        await site.bind(node, 0)
        await site.rest(node, addresses=1, interfaces=1)

    assert all(ip_network(item).prefixlen == 28 for item in _items(site, node))


async def test_a_prefix_drains_and_returns_whole(site: Site, apiserver: "ApiServer") -> None:
    """The prefix with one pod left is fenced but for that pod, and goes when the pod has ended; nobody gets an address
    of it meanwhile. Demand that comes back before gets them again.
    """
    await site.add_provider(addresses=FAST | {"mode": "prefix"})
    node = await site.add_node(instance="m5.large")
    async with operator(site, apiserver.kubeconfig), agent(site, node) as stand_in:
        await site.bind(node, 20)
        await site.rest(node, addresses=2, interfaces=1)
        await eventually(partial(_held, stand_in, 20))
        most, least = sorted(_items(site, node), key=lambda item: len(_pods_of(stand_in, item)), reverse=True)
        last, *others = _pods_of(stand_in, most)
        for pod in others:
            await site.client.delete(Pod, pod, "default")

        await eventually(partial(_fenced, stand_in, most, 15))
        await time_passes(2 * SETTLE_SECONDS)
        assert _items(site, node) == {most, least}
        await site.bind(node, 20)
        await eventually(partial(_held, stand_in, 20))
        await site.rest(node, addresses=2, interfaces=1)

        staying = {last, *_pods_of(stand_in, least)[:2]}
        for pod in {*_pods_of(stand_in, most), *_pods_of(stand_in, least)} - staying:
            await site.client.delete(Pod, pod, "default")
        await eventually(partial(_fenced, stand_in, most, 15))
        await site.client.delete(Pod, last, "default")
        await site.rest(node, addresses=1, interfaces=1)
    assert _items(site, node) == {least}


async def test_auto_takes_single_addresses_where_no_block_is_whole(client: KubeClient, apiserver: "ApiServer") -> None:
    """Both blocks of a /27 have an address that EC2 reserves: nodes get single addresses, the provider says until when
    no prefix is tried, and at rest nothing is asked again and again.
    """
    async with operator_site.opened(client, subnet="10.80.1.0/27") as site:
        await site.add_provider(addresses=FAST | {"mode": "auto"})
        node = await site.add_node(instance="m5.large")
        async with operator(site, apiserver.kubeconfig, subnet_seconds=60), agent(site, node):
            await site.rest(node, addresses=4, interfaces=1)
            await site.bind(node, 3)
            await site.rest(node, addresses=8, interfaces=1)
            assert (await _subnet(site)).no_prefix_until
            assert site.calls()["AssignPrivateIpAddresses"] == {"InsufficientCidrBlocks": 1, "OK": 2}


async def test_auto_returns_to_prefixes(site: Site, apiserver: "ApiServer") -> None:
    """The subnet had no whole block once. After a while, without any event, one is asked for; the single addresses that
    no pod has go, the others when their pods have ended.
    """
    broken = {"operation": "AssignPrivateIpAddresses", "kind": "error", "code": "InsufficientCidrBlocks"}
    site.sim.control("POST", "/faults", broken)
    await site.add_provider(addresses=FAST | {"mode": "auto"})
    node = await site.add_node(instance="m5.large")
    await site.bind(node, 3)
    async with operator(site, apiserver.kubeconfig, subnet_seconds=1), agent(site, node) as stand_in:
        await eventually(partial(_held, stand_in, 3))
        assert not any("/" in item for item in _items(site, node))
        await eventually(partial(_has, site, node, 3, prefixes=1))
        await site.bind(node, 0)
        await site.rest(node, addresses=1, interfaces=1)


async def test_fewer_prefixes_are_asked_for_before_none(site: Site, apiserver: "ApiServer") -> None:
    """A call for several prefixes that finds not as many blocks is halved."""
    broken = {"operation": "AssignPrivateIpAddresses", "kind": "error", "code": "InsufficientCidrBlocks", "nth": 2}
    site.sim.control("POST", "/faults", broken)
    await site.add_provider(addresses=FAST | {"mode": "prefix"})
    node = await site.add_node(instance="m5.large")
    async with operator(site, apiserver.kubeconfig), agent(site, node):
        await site.rest(node, addresses=1, interfaces=1)
        await site.bind(node, 60)
        await site.rest(node, addresses=5, interfaces=1)
        assert (await _subnet(site)).no_prefix_until is None
        assert site.calls()["AssignPrivateIpAddresses"] == {"InsufficientCidrBlocks": 1, "OK": 3}


@pytest.mark.parametrize(
    ("addresses", "type_", "idle", "busy"),
    [
        # 8 of each family, of which 5 fit on an interface; later 12.
        pytest.param({"mode": "secondaryIP"} | DUAL, "t3.medium", (8, 1), (24, 3), id="single"),
        pytest.param({"mode": "auto"} | DUAL, "t3.medium", (2, 1), (3, 1), id="prefixes"),
    ],
)
async def test_two_families_on_each_interface(
    client: KubeClient,
    apiserver: "ApiServer",
    addresses: Mapping[str, object],
    type_: str,
    idle: tuple[int, int],
    busy: tuple[int, int],
) -> None:
    """IPv6 follows IPv4 on every interface, when it grows and when it shrinks; each pod has one of each."""
    async with operator_site.opened(client) as site:
        await site.add_provider(addresses={**FAST, **addresses})
        node = await site.add_node(instance=type_)
        async with operator(site, apiserver.kubeconfig), agent(site, node) as stand_in:
            await site.rest(node, addresses=idle[0], interfaces=idle[1])
            await site.bind(node, 9)
            await site.rest(node, addresses=busy[0], interfaces=busy[1])
            await eventually(partial(_held, stand_in, 18))
            assert sum(ip_address(ip).version == 6 for ip in stand_in.held()) == 9
            await site.bind(node, 0)
            await site.rest(node, addresses=idle[0], interfaces=idle[1])


async def test_ipv6_alone(client: KubeClient, apiserver: "ApiServer") -> None:
    """One /80 prefix serves all pods of a node; without pods, buffer and minimum it goes back."""
    async with operator_site.opened(client) as site:
        await site.add_provider(addresses=FAST | {"mode": "prefix", "families": ["ipv6"], "buffer": 0})
        node = await site.add_node(instance="m5.large")
        async with operator(site, apiserver.kubeconfig), agent(site, node) as stand_in:
            await site.bind(node, 20)
            await site.rest(node, addresses=1, interfaces=1)
            await eventually(partial(_held, stand_in, 20))
            await site.bind(node, 0)
            await site.rest(node, addresses=0, interfaces=1)


async def test_idle_addresses_are_taken_back_for_others(client: KubeClient, apiserver: "ApiServer") -> None:
    """The subnet is empty and a node's pods wait: what is idle at another node comes back though its delay is not over;
    the provider tells how scarce addresses are.
    """
    async with operator_site.opened(client, subnet="10.80.1.0/27") as site:
        await site.add_provider(addresses=FAST | {"batch": 8, "buffer": 1, "releaseDelaySeconds": 600})
        idle = await site.add_node("idle", instance="m5.xlarge")
        busy = await site.add_node("busy", instance="m5.xlarge")
        async with operator(site, apiserver.kubeconfig), agent(site, idle), agent(site, busy) as stand_in:
            await eventually(partial(_has, site, idle, 8, prefixes=0))
            await site.bind(busy, 17)
            await eventually(partial(_held, stand_in, 17), seconds=60)
            await site.rest(idle, addresses=0)
            assert (await _subnet(site)).pressure == "empty"


async def test_a_cordoned_node_is_left_alone(site: Site, apiserver: "ApiServer") -> None:
    """Its pods get addresses, nothing spare, and what they leave stays; uncordoned, it is brought to its target."""
    await site.add_provider()
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig), agent(site, node) as stand_in:
        await site.bind(node, 3)
        await site.rest(node, addresses=8, interfaces=2)
        await site.cordon(node, cordoned=True)
        await site.bind(node, 9)
        await eventually(partial(_held, stand_in, 9))
        assert len(_items(site, node)) == 9
        await site.bind(node, 0)
        await time_passes(3 * SETTLE_SECONDS)
        assert len(_items(site, node)) == 9

        await site.cordon(node, cordoned=False)
        await site.rest(node, addresses=4, interfaces=1)


def _items(site: Site, node: str) -> set[str]:
    return set[str]().union(*site.interfaces(node).values())


def _pods_of(stand_in: StandInAgent, prefix: str) -> list[str]:
    block = ip_network(prefix)
    return sorted(pod.metadata.name for ip, (_, pod) in stand_in.claims.items() if ip_address(ip) in block)


async def _held(stand_in: StandInAgent, count: int) -> str:
    held = stand_in.held()
    return "" if len(held) == count else f"{len(held)} of {count} held"


async def _fenced(stand_in: StandInAgent, prefix: str, count: int) -> str:
    fenced = {ip for fence in stand_in.fences.values() for ip in fence.fenced if ip_address(ip) in ip_network(prefix)}
    return "" if len(fenced) == count else f"{len(fenced)} of {count} addresses of {prefix} fenced"


async def _has(site: Site, node: str, addresses: int, *, prefixes: int) -> str:
    found = _items(site, node)
    wanted = (addresses, prefixes)
    has = (sum("/" not in item for item in found), sum("/" in item for item in found))
    return "" if has == wanted else f"{has} instead of {wanted}"


async def _subnet(site: Site) -> SubnetStatus:
    """What the provider says of the site's subnet, once it has said its last."""
    await time_passes(SETTLE_SECONDS)
    value = await site.client.get(SpiderNetworkProvider, site.name)
    assert value.status is not None
    return next(subnet for subnet in value.status.subnets if subnet.id == site.subnet)
