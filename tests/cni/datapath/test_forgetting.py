"""A pod's neighbour leaves the node, and is found again elsewhere on the same network at once."""

from collections.abc import Callable
from ipaddress import IPv4Address, ip_address, ip_interface

import pytest

from support.netns_node import MASTER, NodeWorld
from underlay.cni.datapath.attach import Want
from underlay.cni.datapath.calls import Detach
from underlay.cni.datapath.model import IPInterface
from underlay.cni.datapath.shell import Datapath

pytestmark = pytest.mark.netns

Wanting = Callable[..., Want]

STAYS = (ip_interface("10.0.1.10/24"), ip_interface("fd00:1::10/64"))
LEAVES = (ip_interface("10.0.1.11/24"), ip_interface("fd00:1::11/64"))
KINDS = ("macvlan", pytest.param("ipvlan", marks=pytest.mark.kernel))


@pytest.mark.parametrize("kind", KINDS)
async def test_an_address_that_left_is_reached_elsewhere_at_once(
    world: NodeWorld, datapath: Datapath, wanting: Wanting, kind: str
) -> None:
    """Both families: whoever talked to the pod has no entry for it when it is gone, and asks anew."""
    pod = world.pod()
    await datapath.attach(wanting(pod, addresses=STAYS, kind=kind))
    leaving = wanting(world.pod(), addresses=LEAVES, kind=kind)
    await datapath.attach(leaving)
    assert [world.pings(pod, str(address.ip)) for address in LEAVES] == [True, True]
    assert {entry["dst"] for entry in neighbours(world, pod, "reachable")} == {str(each.ip) for each in LEAVES}

    await detached(datapath, leaving)
    await datapath.forget([address.ip for address in LEAVES], {leaving.netns: ["eth0"], str(world.path(pod)): ["eth0"]})

    assert neighbours(world, pod, "all") == []
    for address in LEAVES:
        elsewhere(world, address)
    assert [world.pings(pod, str(address.ip)) for address in LEAVES] == [True, True]


async def test_only_what_is_asked_for_is_forgotten(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """Other addresses, other links and other namespaces keep what they know; the host forgets, too."""
    first, second = world.pod(), world.pod()
    await datapath.attach(wanting(first, str(STAYS[0].ip)))
    await datapath.attach(wanting(second, str(LEAVES[0].ip)))
    for name, link in ((first, "eth0"), (second, "eth0"), (world.host, MASTER), (world.host, "eth0")):
        for address in ("10.0.1.20", "10.0.1.21"):
            world.execute(name, *known(address, link))

    await datapath.forget([IPv4Address("10.0.1.20")], {str(world.path(first)): ["eth0"], "": [MASTER]})

    def left(name: str, link: str) -> set[str]:
        return {entry["dst"] for entry in neighbours(world, name, "reachable", link)}

    assert left(first, "eth0") == left(world.host, MASTER) == {"10.0.1.21"}
    assert left(second, "eth0") == left(world.host, "eth0") == {"10.0.1.20", "10.0.1.21"}


async def test_nothing_has_to_be_there(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """Hundreds of addresses that nobody knows, missing links and namespaces: all the rest is forgotten, also twice."""
    pod = world.pod()
    await datapath.attach(wanting(pod, addresses=STAYS))
    world.remove(gone := world.pod())
    addresses = [ip_address("10.0.1.20") + index for index in range(200)]
    addresses += [ip_address("fd00:1::20") + index for index in range(200)]
    for address in (addresses[0], addresses[-1]):
        world.execute(pod, *known(str(address), "eth0"))
    links = {"": ["nope", MASTER], str(world.path(gone)): ["eth0"], str(world.path(pod)): ["nope", "eth0"]}

    await datapath.forget(addresses, links)
    await datapath.forget(addresses, links)

    assert neighbours(world, pod, "all") == []


def neighbours(world: NodeWorld, name: str, state: str, link: str = "eth0") -> list[dict[str, str]]:
    """Of both families, without those that the kernel needs for its own questions (groups, routers by link-local)."""
    found: list[dict[str, str]] = world.show(name, "neigh", "show", "dev", link, "nud", state)
    return [
        entry for entry in found if not (address := ip_address(entry["dst"])).is_multicast and not address.is_link_local
    ]


def known(address: str, link: str) -> tuple[str, ...]:
    """The command that makes an entry."""
    return ("ip", "neigh", "add", address, "lladdr", "02:00:00:00:00:99", "dev", link, "nud", "reachable")


async def detached(datapath: Datapath, want: Want) -> None:
    addresses = tuple(address.ip for address in want.addresses)
    await datapath.detach(
        Detach(container_id=want.container_id, ifname=want.ifname, netns=want.netns, addresses=addresses)
    )


def elsewhere(world: NodeWorld, address: IPInterface) -> None:
    """On another machine of the network."""
    flags = ("nodad",) if address.version == 6 else ()
    world.execute(world.network, "ip", "addr", "add", str(address), "dev", "p1", *flags)
