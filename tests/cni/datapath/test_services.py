"""Services as kube-proxy makes them (an nft DNAT rule in the host), seen from pods and from outside."""

from collections.abc import Callable

import pytest

from support.netns_node import NODE_ADDRESS, REMOTE, NodeWorld, until
from underlay.cni.datapath.attach import Want
from underlay.cni.datapath.shell import Datapath

pytestmark = pytest.mark.netns

Wanting = Callable[..., Want]
SERVICE = "10.96.0.20"

PROXY = """
table ip proxy {{
  chain services {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr {address} tcp dport 80 dnat to {backend}:8080
  }}
}}
"""


@pytest.fixture(autouse=True)
def strict_host(world: NodeWorld) -> None:
    """The host filters reverse paths strictly, as hardened ones do."""
    world.execute(world.host, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")


def balance(world: NodeWorld, address: str, backend: str) -> None:
    """What kube-proxy would do for a Service (or NodePort) with one backend; it masquerades nothing."""
    world.execute(world.host, "nft", "-f", "-", text=PROXY.format(address=address, backend=backend))


async def test_service_with_backend_elsewhere(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """The backend on another machine sees the node's address, so its reply comes back the way it went."""
    pod = world.pod()
    await datapath.attach(wanting(pod))
    balance(world, SERVICE, REMOTE)

    server = await world.listen(world.network, 8080)
    try:
        assert await world.call(pod, SERVICE, 80) == NODE_ADDRESS
    finally:
        await server.close()


async def test_service_with_backend_on_the_node(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """The backend on this node sees the calling pod itself, and its reply is translated back."""
    client, backend = world.pod(), world.pod()
    await datapath.attach(wanting(client, "10.0.1.10"))
    await datapath.attach(wanting(backend, "10.0.1.11"))
    balance(world, SERVICE, "10.0.1.11")

    server = await world.listen(backend, 8080)
    try:
        assert await world.call(client, SERVICE, 80) == "10.0.1.10"
    finally:
        await server.close()


async def test_node_port_keeps_the_client(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """A client elsewhere that calls the node is seen by the pod as itself, and gets its reply from the node."""
    pod = world.pod()
    await datapath.attach(wanting(pod))
    balance(world, NODE_ADDRESS, "10.0.1.10")

    server = await world.listen(pod, 8080)
    try:
        assert await world.call(world.network, NODE_ADDRESS, 80, source=REMOTE) == REMOTE
    finally:
        await server.close()


async def test_without_the_mark_the_reply_is_lost(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """It is the pod's connection mark that brings the reply back: without it the same call fails."""
    pod = world.pod()
    await datapath.attach(wanting(pod))
    balance(world, NODE_ADDRESS, "10.0.1.10")
    world.execute(pod, "nft", "delete", "table", "inet", "underlay")

    server = await world.listen(pod, 8080)
    try:
        with pytest.raises(OSError, match=r"timed out|reset"):
            await world.call(world.network, NODE_ADDRESS, 80, source=REMOTE, patience_seconds=0.5)
    finally:
        await server.close()


async def test_masquerading_is_put_back(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """After a firewall or kube-proxy has flushed the whole ruleset, a backend elsewhere sees the node's address again;
    what others put there stays as it is.
    """
    pod = world.pod()
    await datapath.attach(wanting(pod))
    for flushed in (("flush", "ruleset"), ("flush", "table", "inet", "underlay")):
        world.execute(world.host, "nft", *flushed)
        balance(world, SERVICE, REMOTE)
        proxy = world.execute(world.host, "nft", "-a", "list", "table", "ip", "proxy")

        await until(lambda: "masquerade" in world.execute(world.host, "nft", "list", "ruleset"))

        assert world.execute(world.host, "nft", "-a", "list", "table", "ip", "proxy") == proxy
        server = await world.listen(world.network, 8080)
        try:
            assert await world.call(pod, SERVICE, 80) == NODE_ADDRESS
        finally:
            await server.close()


async def test_starting_again_changes_nothing(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """A restarted agent renews the host's table and rules without doubling them, and pods keep working."""
    pod = world.pod()
    await datapath.attach(wanting(pod))
    rules = world.show(world.host, "rule", "show")
    again = Datapath(world.path(world.host))

    await again.start()
    await again.close()

    assert world.show(world.host, "rule", "show") == rules
    assert world.execute(world.host, "nft", "list", "ruleset").count("masquerade") == 1
    assert world.pings(pod, NODE_ADDRESS)
