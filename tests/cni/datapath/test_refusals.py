"""What an attachment refuses, and that nothing is left of it then."""

import asyncio
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from support.netns_node import GATEWAY, MASTER, NodeWorld
from underlay.cni.datapath.attach import Want
from underlay.cni.datapath.calls import NodeFacts
from underlay.cni.datapath.coordinator import host_veth_name
from underlay.cni.datapath.errors import (
    InterfaceExists,
    KernelRefused,
    KindConflict,
    MasterMissing,
    NamespaceGone,
)
from underlay.cni.datapath.shell import Datapath
from underlay.core.errors import InvalidInput

pytestmark = pytest.mark.netns

Wanting = Callable[..., Want]


@pytest.fixture
def world() -> Iterator[NodeWorld]:
    """One in which only an attachment changes anything, since whole states are compared."""
    with NodeWorld.built(ipv6=False) as world:
        yield world


def everything(world: NodeWorld, *names: str) -> dict[str, object]:
    """All that an attachment could have left in the namespaces."""
    return {
        name: (
            sorted(world.links(name)),
            _without_flags(world.show(name, "route", "show", "table", "all")),
            world.show(name, "rule", "show"),
            world.show(name, "neigh", "show", "nud", "permanent"),
            world.execute(name, "nft", "list", "ruleset"),
        )
        for name in names
    }


def _without_flags(routes: list[dict[str, object]]) -> list[dict[str, object]]:
    """A route is flagged ``linkdown`` until the kernel has got round to the carrier of a new link."""
    return [{key: value for key, value in route.items() if key != "flags"} for route in routes]


async def test_interface_that_exists_is_not_touched(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """A name that is taken is refused by name; the link that has it stays, and nothing is added."""
    pod = world.pod()
    world.execute(pod, "ip", "link", "add", "eth0", "type", "bridge")
    before = everything(world, pod, world.host)

    with pytest.raises(InterfaceExists) as refused:
        await datapath.attach(wanting(pod))

    assert refused.value.name == "eth0"
    assert everything(world, pod, world.host) == before


async def test_second_attach_of_an_attached_interface(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """An attached interface cannot be attached again, and keeps working."""
    pod = world.pod()
    await datapath.attach(wanting(pod))
    before = everything(world, pod, world.host)

    with pytest.raises(InterfaceExists):
        await datapath.attach(wanting(pod))

    assert everything(world, pod, world.host) == before
    assert world.pings(pod, GATEWAY)


@pytest.mark.parametrize("ifname", ["veth0", "eth0"])
async def test_name_of_the_second_link_is_taken(
    world: NodeWorld, datapath: Datapath, wanting: Wanting, ifname: str
) -> None:
    """Whichever of the two links has its name taken, the other does not stay."""
    pod = world.pod()
    world.execute(pod, "ip", "link", "add", ifname, "type", "bridge")
    before = everything(world, pod, world.host)

    with pytest.raises(InterfaceExists, match=ifname):
        await datapath.attach(wanting(pod))

    assert everything(world, pod, world.host) == before


async def test_name_of_the_hosts_end_is_taken(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """A link of the host that has the name of the veth's end is named, and nothing is left."""
    pod = world.pod()
    name = host_veth_name(wanting(pod).container_id)
    world.execute(world.host, "ip", "link", "add", name, "type", "bridge")
    before = everything(world, pod, world.host)

    with pytest.raises(InterfaceExists, match=f"{name} already exists in the host"):
        await datapath.attach(wanting(pod))

    assert everything(world, pod, world.host) == before


async def test_indexes_that_are_taken(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """Where the next link indexes are in use, others are taken, and the link that has one is not touched."""
    first, second = world.pod(), world.pod()
    await datapath.attach(wanting(first, "10.0.1.10"))
    (veth,) = world.show(world.host, "link", "show", host_veth_name(wanting(first).container_id))
    taken = str(veth["ifindex"] + 3)
    world.execute(world.host, "ip", "link", "add", "name", "taken", "index", taken, "type", "bridge")

    await datapath.attach(wanting(second, "10.0.1.11"))

    assert world.pings(second, GATEWAY)
    assert world.pings(world.host, "10.0.1.11")
    (stranger,) = world.show(world.host, "link", "show", "taken")
    assert "UP" not in stranger["flags"]
    assert world.show(world.host, "neigh", "show", "dev", "taken") == []


async def test_host_namespace_that_is_none() -> None:
    """A datapath for a host that is not there says so at once."""
    with pytest.raises(NamespaceGone, match="nowhere"):
        Datapath(Path("/run/netns/nowhere"))


async def test_master_missing(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """A master that is not on the host is named, for attach and for preparing it."""
    pod = world.pod()

    with pytest.raises(MasterMissing, match="eth7"):
        await datapath.attach(wanting(pod, master="eth7"))
    with pytest.raises(MasterMissing, match="eth7"):
        await datapath.prepare_master("eth7")


async def test_master_of_another_kind(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """A master that serves something else already is refused by name, and nothing is left."""
    pod = world.pod()
    world.execute(world.host, "ip", "link", "add", "br0", "type", "bridge")
    world.execute(world.host, "ip", "link", "set", MASTER, "master", "br0")
    before = everything(world, pod, world.host)

    with pytest.raises(KindConflict) as refused:
        await datapath.attach(wanting(pod))

    assert (refused.value.master, refused.value.kind) == (MASTER, "macvlan")
    assert everything(world, pod, world.host) == before


async def test_namespace_that_is_gone_or_none(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """A path that is gone, or is no namespace, is named."""
    pod = world.pod()
    world.remove(pod)

    with pytest.raises(NamespaceGone, match=pod):
        await datapath.attach(wanting(pod))
    with pytest.raises(NamespaceGone, match="not a network namespace"):
        await datapath.attach(wanting(pod, netns="/etc/hostname"))
    with pytest.raises(NamespaceGone):
        await datapath.inspect(str(world.path(pod)))


async def test_wish_that_no_kernel_fulfils(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """An MTU above the master's is refused before the kernel is asked."""
    with pytest.raises(InvalidInput, match="1500"):
        await datapath.attach(wanting(world.pod(), mtu=9000))


@pytest.mark.parametrize(
    ("gateways", "services"),
    [
        pytest.param(("127.0.0.1",), (), id="pod batch: a default route to loopback"),
        pytest.param((GATEWAY,), ("224.0.0.0/4", "224.0.0.0/4"), id="pod batch: the same route twice"),
    ],
)
async def test_failure_in_the_middle_leaves_nothing(
    world: NodeWorld, datapath: Datapath, wanting: Wanting, gateways: tuple[str, ...], services: tuple[str, ...]
) -> None:
    """When the kernel refuses a later step, everything before and after it is undone, in pod and host."""
    pod = world.pod()
    before = everything(world, pod, world.host)
    datapath.learn(
        NodeFacts(addresses=(ip_address("10.0.0.10"),), service_cidrs=tuple(ip_network(cidr) for cidr in services))
    )

    with pytest.raises(KernelRefused, match="Route"):
        await datapath.attach(wanting(pod, gateways=tuple(ip_address(gateway) for gateway in gateways)))

    assert everything(world, pod, world.host) == before


async def test_attach_works_after_a_failure(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """A failed attachment does not stand in the way of the next one in the same namespace."""
    pod = world.pod()
    with pytest.raises(KernelRefused):
        await datapath.attach(wanting(pod, gateways=(ip_address("127.0.0.1"),)))

    await datapath.attach(wanting(pod))

    assert world.pings(pod, GATEWAY)


async def test_many_at_once(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """Attachments at the same time do not meet: all pods reach the gateway, with different MACs."""
    pods = [world.pod() for _ in range(8)]

    done = await asyncio.gather(*(datapath.attach(wanting(pod, f"10.0.1.{n}")) for n, pod in enumerate(pods, 10)))

    assert len({attached.interfaces[0].mac for attached in done}) == 8
    assert [pod for pod in pods if not world.pings(pod, GATEWAY)] == []
