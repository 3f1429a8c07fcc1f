"""In which of several subnets new interfaces are made: what each policy promises, read from the simulator's table.

Pods come one interface at a time: a t3.medium has two for them, of five addresses and one that is the interface's own,
so each takes six of its subnet. A /27 has 27 to give, a /26 has 59.
"""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from support.operator_site import FAST, ZONE, Site, eventually, operator
from underlay.core.api.networkprovider import SpiderNetworkProvider

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver
ROLE = {"kubernetes.io/role/cni": "1"}
OTHER_ZONE = "us-east-1b"
PODS = 5
TAKEN = PODS + 1


async def test_most_free_among_tagged_ones(site: Site, apiserver: "ApiServer") -> None:
    """Each interface is made where most is free at that time, also after others took all of it, or when a subnet gets
    the tag later.
    """
    tag = {"pods": "yes"}
    large, small = _subnet(site, "10.80.2.0/27", **tag), _subnet(site, "10.80.2.32/27", **tag)
    _subnet(site, "10.80.4.0/24", zone=OTHER_ZONE, **tag)
    later = _subnet(site, "10.80.2.64/26")
    await asyncio.to_thread(_take, site, small, 13)
    await _provider(site, {"tags": tag, "policy": "mostFree"})
    one, two, three = [await site.add_node(name) for name in ("one", "two", "three")]
    async with operator(site, apiserver.kubeconfig, resync_seconds=1.0):
        # large: 27, 21, 15, 9; small: 14, 8.
        assert await _grown(site, one, PODS) == [large]
        assert await _grown(site, one, PODS, PODS) == [large, large]
        assert await _grown(site, two, PODS) == [large]
        assert await _grown(site, two, PODS, PODS) == [large, small]

        await asyncio.to_thread(_take, site, large, 9)
        assert await _grown(site, three, PODS) == [small]

        await asyncio.to_thread(_tag, site, later, tag)
        await eventually(lambda: _unread(site, later, free=59))
        assert await _grown(site, three, PODS, PODS) == [small, later]


async def test_ordered_as_listed(site: Site, apiserver: "ApiServer") -> None:
    """The first in the list that has addresses: one that is empty is passed over until others give some back."""
    # Neither the order of ids nor what is free leads to the same choice.
    first, second, third = sorted((_subnet(site, f"10.80.2.{32 * n}/27") for n in range(3)), reverse=True)
    far = _subnet(site, "10.80.4.0/24", zone=OTHER_ZONE)
    others = await asyncio.to_thread(_take, site, first, 27 - TAKEN)
    await asyncio.to_thread(_take, site, second, 27 - TAKEN)
    await _provider(site, {"ids": [far, first, second, third], "policy": "ordered"})
    one, two = [await site.add_node(name) for name in ("one", "two")]
    async with operator(site, apiserver.kubeconfig, resync_seconds=1.0):
        assert await _grown(site, one, PODS) == [first]
        assert await _grown(site, one, PODS, PODS) == [first, second]
        assert await _grown(site, two, PODS) == [third]

        await asyncio.to_thread(_give_back, site, others)
        await eventually(lambda: _unread(site, first, free=27 - TAKEN))
        assert await _grown(site, two, PODS, PODS) == [third, first]


async def test_spread_over_discovered_ones(site: Site, apiserver: "ApiServer") -> None:
    """A node's interfaces are in different subnets as long as there are any, whatever is free there. Its own subnet,
    which has its primary interface, comes last. One that turns out to be empty is passed over at once, whether a whole
    interface was wanted of it or one more address.
    """
    full, other = _subnet(site, "10.80.2.0/27", **ROLE), _subnet(site, "10.80.2.32/27", **ROLE)
    _subnet(site, "10.80.4.0/24", zone=OTHER_ZONE, **ROLE)
    await asyncio.to_thread(_take, site, other, 5)
    await _provider(site, {"policy": "spread"})
    one, two = [await site.add_node(name) for name in ("one", "two")]
    # What others take is not noticed by reading.
    async with operator(site, apiserver.kubeconfig, subnet_seconds=300.0):
        assert sorted(await _grown(site, one, PODS, PODS)) == sorted([full, other])

        await asyncio.to_thread(_take, site, full, 27 - TAKEN)
        assert await _grown(site, two, 3) == [other]

        await asyncio.to_thread(_take, site, other, 27 - 5 - TAKEN - 4)
        assert await _grown(site, two, 3, PODS) == [other, site.subnet]


def _subnet(site: Site, cidr: str, *, zone: str = ZONE, **tags: str) -> str:
    body = {"vpc": site.vpc, "cidr": cidr, "zone": zone, "tags": tags}
    return str(site.sim.control("POST", "/subnets", body)["id"])


async def _provider(site: Site, subnets: dict[str, object]) -> None:
    """As many addresses as pods, none of them of the primary interface."""
    exactly = FAST | {"batch": 1, "buffer": 0}
    await site.add_provider(subnets=subnets, interfaces={"usePrimary": False}, addresses=exactly)


def _take(site: Site, subnet: str, count: int) -> str:
    """Somebody else's interface with so many addresses."""
    with site.ec2() as ec2:
        made = ec2.create_network_interface(SubnetId=subnet, SecondaryPrivateIpAddressCount=count - 1)
    return str(made["NetworkInterface"]["NetworkInterfaceId"])


def _give_back(site: Site, interface: str) -> None:
    with site.ec2() as ec2:
        ec2.delete_network_interface(NetworkInterfaceId=interface)


def _tag(site: Site, subnet: str, tags: dict[str, str]) -> None:
    with site.ec2() as ec2:
        ec2.create_tags(Resources=[subnet], Tags=[{"Key": key, "Value": value} for key, value in tags.items()])


async def _grown(site: Site, node: str, *addresses: int) -> list[str]:
    """The subnets of the node's interfaces, as they were attached, once each has so many addresses for pods."""
    await site.bind(node, sum(addresses))
    await eventually(lambda: _unfilled(site, node, addresses))
    return [row["subnet"] for row in _made(site, node)]


async def _unfilled(site: Site, node: str, addresses: tuple[int, ...]) -> str:
    found = tuple(len(row["addresses"]) for row in _made(site, node))
    return "" if found == addresses else f"addresses of interfaces: {found}, not {addresses}"


def _made(site: Site, node: str) -> list[dict[str, Any]]:
    rows = [row for row in site.sim.control("GET", "/table")["interfaces"] if row["attachment"]]
    mine = [row for row in rows if row["attachment"]["instance"] == site.nodes[node]]
    return sorted(mine, key=lambda row: row["attachment"]["device_index"])[1:]


async def _unread(site: Site, subnet: str, *, free: int) -> str:
    """Until the operator knows what is free there."""
    status = (await site.client.get(SpiderNetworkProvider, site.name)).status
    known = {item.id: item.free for item in status.subnets} if status else {}
    return "" if known.get(subnet) == free else f"{known}"
