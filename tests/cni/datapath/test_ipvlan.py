"""ipvlan on a real kernel: one MAC for all, and an address that another pod still has."""

import asyncio
import subprocess
from collections.abc import Callable

import pytest

from support.netns_node import GATEWAY, MASTER, NODE_ADDRESS, REMOTE, NodeWorld
from underlay.cni.datapath.attach import Want
from underlay.cni.datapath.calls import Detach
from underlay.cni.datapath.errors import AddressBusy, KindConflict
from underlay.cni.datapath.shell import Datapath

pytestmark = [pytest.mark.netns, pytest.mark.kernel]

Wanting = Callable[..., Want]


@pytest.fixture(autouse=True)
def kernel_has_ipvlan(world: NodeWorld) -> None:
    """Asks by making one."""
    command = ("ip", "-n", world.host, "link", "add", "link", MASTER, "name", "probe0", "type", "ipvlan", "mode", "l2")
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this kernel has no ipvlan")
    world.execute(world.host, "ip", "link", "del", "probe0")


async def test_pod_reaches_gateway_and_node(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """An ipvlan pod talks to its gateway from its own address and the master's MAC, and with its node both ways."""
    pod = world.pod()

    attached = await datapath.attach(wanting(pod, kind="ipvlan"))

    (master,) = world.show(world.host, "link", "show", MASTER)
    (slave,) = world.show(pod, "link", "show", "eth0")
    assert attached.interfaces[0].mac == slave["address"] == master["address"]
    assert slave["linkinfo"]["info_data"]["mode"] == "l2"
    assert world.pings(pod, GATEWAY)
    assert world.pings(pod, NODE_ADDRESS)
    assert world.pings(world.host, "10.0.1.10")
    server = await world.listen(world.network, 8080)
    try:
        assert await world.call(pod, REMOTE, 8080) == "10.0.1.10"
    finally:
        await server.close()


async def test_pods_of_a_node_reach_each_other(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """Two ipvlan pods on one master talk directly."""
    first, second = world.pod(), world.pod()
    await datapath.attach(wanting(first, "10.0.1.10", kind="ipvlan"))
    await datapath.attach(wanting(second, "10.0.1.11", kind="ipvlan"))

    server = await world.listen(second, 8080)
    try:
        assert await world.call(first, "10.0.1.11", 8080) == "10.0.1.10"
    finally:
        await server.close()


async def test_address_is_free_when_del_answers(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """The next pod gets the address while the first one's link still exists."""
    want = wanting(first := world.pod(), kind="ipvlan")
    await datapath.attach(want)
    await datapath.detach(_leaving(want))
    second = world.pod()

    await datapath.attach(wanting(second, kind="ipvlan"))

    assert "eth0" in world.links(first)
    assert world.pings(second, GATEWAY)


async def test_busy_address_is_waited_for(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """An ADD of an address that another pod still has succeeds as soon as that one gives it back."""
    want = wanting(world.pod(), kind="ipvlan")
    await datapath.attach(want)
    patient = Datapath(world.path(world.host), address_wait_seconds=60)
    second = world.pod()
    try:
        waiting = asyncio.create_task(patient.attach(wanting(second, kind="ipvlan")))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert done == set()

        await datapath.detach(_leaving(want))

        await waiting
        assert world.pings(second, GATEWAY)
    finally:
        await patient.close()


async def test_busy_address_is_refused_in_the_end(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """An address that stays busy is named after the wait, and nothing is left of the attempt."""
    await datapath.attach(wanting(world.pod(), kind="ipvlan"))
    second = world.pod()

    with pytest.raises(AddressBusy, match=r"10\.0\.1\.10"):
        await datapath.attach(wanting(second, kind="ipvlan"))

    assert world.links(second) == {"lo"}


async def test_one_master_has_one_kind(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """A macvlan pod on a master with ipvlan pods is refused by name."""
    await datapath.attach(wanting(world.pod(), "10.0.1.10", kind="ipvlan"))

    with pytest.raises(KindConflict, match=MASTER):
        await datapath.attach(wanting(world.pod(), "10.0.1.11"))


def _leaving(want: Want) -> Detach:
    return Detach(
        container_id=want.container_id,
        ifname=want.ifname,
        netns=want.netns,
        addresses=tuple(address.ip for address in want.addresses),
    )
