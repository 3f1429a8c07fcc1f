"""What fleets do when a subnet runs out of addresses, or of whole blocks."""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.fleet import Fleet, fleet_on, numbered, spread
from support.modes import IPV4, Mode, cases
from support.operator_site import Site, eventually, operator
from support.vigil import keeping_vigil
from underlay.core.kube.client import KubeClient
from world.api import Api

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver


@pytest.mark.parametrize("mode", cases("secondary", of=[mode for mode in IPV4 if mode.name != "prefix"]))
async def test_an_empty_subnet_is_told_and_its_refill_noticed(
    mode: Mode, client: KubeClient, apiserver: "ApiServer", api: Api
) -> None:
    """Pods wait for a subnet that others have filled, their node and an Event name it; once others give addresses back,
    pods get theirs without anybody's help.
    """
    # A /27 has 27 addresses: two machines of ours, twelve of others, so 13 for 20 pods.
    async with fleet_on(client, api, mode, subnet="10.80.1.0/27") as fleet:
        site = fleet.site
        await fleet.add_provider()
        await fleet.add_nodes(2, "m5.xlarge")
        others = [site.add_instance("t3.nano")["id"] for _ in range(12)]
        async with operator(site, apiserver.kubeconfig), fleet.stand_ins(), keeping_vigil(api):
            await fleet.start(spread(numbered(f"{site.name}-p", 20), fleet.nodes))
            await eventually(partial(_untold, fleet))
            assert await fleet.unserved()

            for machine in others:
                site.sim.control("DELETE", f"/instances/{machine}")
            await eventually(fleet.unserved, seconds=60)
            await fleet.settled(seconds=60)


@pytest.mark.parametrize("mode", cases("prefix", "auto", of=IPV4))
async def test_a_subnet_without_a_whole_block_serves_single_addresses(
    mode: Mode, client: KubeClient, apiserver: "ApiServer", api: Api
) -> None:
    """Others have an address in every /28 of the subnet. Single addresses are had all the same, also in mode auto; mode
    prefix says that this subnet has no block. With blocks whole again, both modes take one without anybody's help.
    """
    # A /22 has 64 blocks of 16, more than the node gets addresses.
    async with fleet_on(client, api, mode, subnet="10.80.0.0/22") as fleet:
        site = fleet.site
        await fleet.add_provider()
        others = _take(site, [f"10.80.{block // 16}.{block % 16 * 16 + 7}" for block in range(64)])
        await fleet.add_nodes(1, "m5.large")
        (node,) = fleet.nodes
        async with operator(site, apiserver.kubeconfig), fleet.stand_ins(), keeping_vigil(api):
            await fleet.start((name, node) for name in numbered(f"{site.name}-p", 6))
            if mode.name == "prefix":
                await eventually(partial(_untold, fleet), seconds=30)
                assert await fleet.unserved()
            else:
                await fleet.settled()
                assert not _prefixes(site, node)

            await asyncio.to_thread(_give_back, site, others)
            await fleet.start((name, node) for name in numbered(f"{site.name}-q", 6))
            await eventually(fleet.unserved, seconds=60)

            if mode.whole:
                await eventually(partial(_no_prefix, site, node), seconds=60)
            await fleet.settled(seconds=60)


def _take(site: Site, addresses: Iterable[str]) -> list[str]:
    with site.ec2() as ec2:
        made = [ec2.create_network_interface(SubnetId=site.subnet, PrivateIpAddress=address) for address in addresses]
    return [str(answer["NetworkInterface"]["NetworkInterfaceId"]) for answer in made]


def _give_back(site: Site, interfaces: Iterable[str]) -> None:
    with site.ec2() as ec2:
        for interface in interfaces:
            ec2.delete_network_interface(NetworkInterfaceId=interface)


async def _no_prefix(site: Site, node: str) -> str:
    return "" if _prefixes(site, node) else "the node has no prefix"


def _prefixes(site: Site, node: str) -> list[str]:
    return [
        prefix
        for row in site.sim.control("GET", "/table")["interfaces"]
        if row["attachment"] and row["attachment"]["instance"] == site.nodes[node]
        for prefix in row["prefixes"]
    ]


async def _untold(fleet: Fleet) -> str:
    """Both the condition and an Event of a node must name the subnet."""
    site, found = fleet.site, []
    for node in fleet.nodes:
        condition, events = await site.sufficient(node), await site.events(node)
        waits = condition is not None and condition.status == "False" and site.subnet in condition.message
        if waits and any(site.subnet in event.message for event in events):
            return ""
        found.append(f"{node}: {condition}, {[event.message for event in events]}")
    return f"{site.subnet} is not named: {found}"
