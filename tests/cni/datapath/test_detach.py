"""Detaching: what is free at once, what is left for later, and that nothing has to be there."""

from collections.abc import Callable
from ipaddress import ip_address, ip_interface

import pytest

from support.netns_node import GATEWAY, NodeWorld, until
from underlay.cni.datapath.attach import Want
from underlay.cni.datapath.calls import Detach
from underlay.cni.datapath.errors import InterfaceExists
from underlay.cni.datapath.shell import Datapath

pytestmark = pytest.mark.netns

Wanting = Callable[..., Want]


def leaving(want: Want, **otherwise: object) -> Detach:
    """The detachment of what was wished."""
    said = {
        "container_id": want.container_id,
        "ifname": want.ifname,
        "netns": want.netns,
        "addresses": tuple(address.ip for address in want.addresses),
    }
    return Detach(**(said | otherwise))  # type: ignore[arg-type]


def host_ways(world: NodeWorld) -> tuple[object, object]:
    """The host's routes and neighbours to pods."""
    return (
        world.show(world.host, "route", "show", "table", "500"),
        world.show(world.host, "neigh", "show", "nud", "permanent"),
    )


async def test_addresses_routes_and_neighbours_are_gone_at_once(
    world: NodeWorld, datapath: Datapath, wanting: Wanting
) -> None:
    """When DEL answers, the address is in no namespace and the host knows no way to it; the links may be there."""
    want = wanting(pod := world.pod())
    await datapath.attach(want)

    await datapath.detach(leaving(want))

    addresses = {a["local"] for link in world.show(pod, "addr", "show", "scope", "global") for a in link["addr_info"]}
    assert addresses == set()
    assert host_ways(world) == ([], [])
    assert "eth0" in world.links(pod)


async def test_address_can_be_given_to_the_next_pod(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """The same address works in another pod while the first one's links exist, and a late second DEL spares it."""
    first = wanting(world.pod())
    await datapath.attach(first)
    await datapath.detach(leaving(first))
    pod = world.pod()

    await datapath.attach(wanting(pod))
    await datapath.detach(leaving(first))

    assert world.pings(pod, GATEWAY)
    assert world.pings(world.host, "10.0.1.10")


async def test_twice_and_with_everything_gone(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """DEL succeeds again, after the namespace has gone, without a namespace, and for what never was."""
    want = wanting(pod := world.pod())
    await datapath.attach(want)

    await datapath.detach(leaving(want))
    await datapath.detach(leaving(want))
    world.remove(pod)
    await datapath.detach(leaving(want))
    await datapath.detach(leaving(want, netns=None))
    await datapath.detach(leaving(wanting(world.pod())))
    await datapath.detach(leaving(want, netns="/etc/hostname"))

    assert host_ways(world) == ([], [])


async def test_namespace_not_named_any_more(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """Without a namespace the host's side is still cleaned, and the host's end is removed later."""
    want = wanting(pod := world.pod())
    await datapath.attach(want)

    await datapath.detach(leaving(want, netns=None))

    assert host_ways(world) == ([], [])
    await until(lambda: "veth0" not in world.links(pod))


async def test_addresses_not_told(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """A DEL that does not know the addresses takes away those the interface has."""
    want = wanting(pod := world.pod())
    await datapath.attach(want)

    await datapath.detach(leaving(want, addresses=()))

    assert [a for link in world.show(pod, "addr", "show", "scope", "global") for a in link["addr_info"]] == []
    assert host_ways(world) == ([], [])


async def test_links_left_are_removed_later(world: NodeWorld, wanting: Wanting) -> None:
    """What the runtime does not remove with the namespace is removed after the wait, in pod and host."""
    datapath = Datapath(world.path(world.host), reap_after_seconds=0.05)
    await datapath.start()
    wants = [wanting(world.pod(), f"10.0.1.{n}") for n in (10, 11)]
    try:
        for want in wants:
            await datapath.attach(want)

        for want in wants:
            await datapath.detach(leaving(want))

        pods = [want.netns.rpartition("/")[2] for want in wants]
        await until(lambda: all(world.links(pod) == {"lo"} for pod in pods))
        assert world.links(world.host) == {"lo", "eth0", "eth1"}
    finally:
        await datapath.close()


async def test_other_namespace_under_the_same_path(world: NodeWorld, wanting: Wanting) -> None:
    """A namespace that took the place of the removed one keeps its links."""
    datapath = Datapath(world.path(world.host), reap_after_seconds=0.3)
    await datapath.start()
    want = wanting(pod := world.pod())
    try:
        await datapath.attach(want)
        await datapath.detach(leaving(want))
        world.remove(pod)
        world.renew(pod)
        await datapath.attach(wanting(pod, container_id="another0123456789"))
        other = wanting(world.pod(), "10.0.1.12")
        await datapath.attach(other)

        await datapath.detach(leaving(other))

        await until(lambda: world.links(other.netns.rpartition("/")[2]) == {"lo"})
        assert world.links(pod) == {"lo", "eth0", "veth0"}
    finally:
        await datapath.close()


async def test_attach_right_after_detach_in_the_same_namespace(
    world: NodeWorld, datapath: Datapath, wanting: Wanting
) -> None:
    """ADD after DEL in one namespace does not wait for the leftovers to be due: they make room."""
    want = wanting(pod := world.pod())
    await datapath.attach(want)
    await datapath.detach(leaving(want))

    await datapath.attach(wanting(pod, "10.0.1.20"))

    assert world.pings(pod, GATEWAY)
    assert world.pings(world.host, "10.0.1.20")


async def test_attach_right_after_a_detach_without_namespace(
    world: NodeWorld, datapath: Datapath, wanting: Wanting
) -> None:
    """The veth that such a DEL left makes room for the same container in another namespace."""
    want = wanting(world.pod())
    await datapath.attach(want)
    await datapath.detach(leaving(want, netns=None))
    pod = world.pod()

    await datapath.attach(wanting(pod, "10.0.1.20", container_id=want.container_id))

    assert world.pings(world.host, "10.0.1.20")


async def test_foreign_interface_of_the_name_is_spared(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """DEL does not touch an interface that is not ours, whatever its name."""
    pod = world.pod()
    world.execute(pod, "ip", "link", "add", "eth0", "type", "bridge")
    world.execute(pod, "ip", "addr", "add", "10.0.1.10/24", "dev", "eth0")

    await datapath.detach(leaving(wanting(pod)))

    assert [a["local"] for link in world.show(pod, "addr", "show", "eth0") for a in link["addr_info"]] == ["10.0.1.10"]
    with pytest.raises(InterfaceExists):
        await datapath.attach(wanting(pod))


async def test_further_interface_leaves_the_first_alone(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """DEL of an interface without host path does not cut the pod off its node."""
    pod = world.pod()
    await datapath.attach(wanting(pod))
    second = wanting(pod, ifname="net1", addresses=(ip_interface("10.0.1.11/24"),), gateways=(), host_path=False)
    await datapath.attach(second)

    await datapath.detach(leaving(second, host_path=False))

    assert world.pings(world.host, "10.0.1.10")
    assert ip_address("10.0.1.11") not in {
        address.ip for link in await datapath.inspect(str(world.path(pod))) for address in link.addresses
    }
