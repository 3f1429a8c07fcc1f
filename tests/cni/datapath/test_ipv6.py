"""IPv6 and dual stack on a real kernel, through a VPC that answers and filters as a cloud does."""

import math
from collections.abc import AsyncIterator

import pytest

from support.cloud_nodes import (
    MASTER,
    PRIMARY,
    ROUTER,
    CloudNode,
    call,
    listen,
    show,
    two_nodes,
    until,
    within,
)
from underlay.cni.datapath.model import SlaveKind

pytestmark = pytest.mark.netns

Nodes = tuple[CloudNode, CloudNode]

SERVICE, SERVICE6 = "10.96.0.20", "fd96::20"

PROXY = """
table inet proxy {{
  chain services {{
    type nat hook prerouting priority dstnat; policy accept;
    ip6 daddr {service} tcp dport 80 dnat ip6 to [{backend}]:8080
  }}
}}
"""


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    async with two_nodes() as nodes:
        yield nodes


async def test_dual_stack_pods_reach_each_other_and_their_nodes(nodes: Nodes) -> None:
    """In both families pods talk within and across nodes from their own addresses, and with their nodes both ways."""
    await dual_stack(*nodes, "macvlan")


async def test_router_is_found(nodes: Nodes) -> None:
    """A master's router is learnt by asking, also while pods are on it; the primary's is read off the kernel."""
    await nodes[0].attached("macvlan")

    await routers_found(nodes[0])


async def test_del_leaves_nothing(nodes: Nodes) -> None:
    """When DEL answers, neither family's address is in the pod, nor a way to it in the host; it succeeds again; the
    address works in the next pod.
    """
    await deleted(*nodes, "macvlan")


@pytest.mark.kernel
async def test_ipvlan(nodes: Nodes) -> None:
    """All of this holds with ipvlan, whose pods share the master's MAC."""
    await dual_stack(*nodes, "ipvlan")
    await routers_found(nodes[0])
    await deleted(*nodes, "ipvlan")


async def dual_stack(here: CloudNode, there: CloudNode, kind: SlaveKind) -> None:
    """Every way, in both families."""
    first, second, remote = await here.attached(kind), await here.attached(kind), await there.attached(kind)
    ways = (
        ("pod to pod of its node", first.name, second.addresses, first.addresses),
        ("pod to pod elsewhere", first.name, remote.addresses, first.addresses),
        ("pod to its node", first.name, here.addresses, first.addresses),
        ("pod to the other node", first.name, there.addresses, first.addresses),
        ("node to its pod", here.name, first.addresses, here.addresses),
        ("node to pod elsewhere", here.name, remote.addresses, here.addresses),
    )
    servers = [await listen(name, 8080) for name in (first.name, second.name, remote.name, here.name, there.name)]
    try:
        seen = {
            way: tuple([await call(source, address, 8080) for address in targets]) for way, source, targets, _ in ways
        }
    finally:
        for server in servers:
            await server.close()

    assert seen == {way: expected for way, _, _, expected in ways}


async def routers_found(here: CloudNode) -> None:
    """Of a further interface and of the primary."""
    asked, known = await here.datapath.router(MASTER), await here.datapath.router(PRIMARY)

    assert asked is not None
    assert known is not None
    assert (asked.address, asked.lifetime_seconds) == (ROUTER, 1800)
    assert known.address == ROUTER
    assert 0 < known.lifetime_seconds <= 1800
    assert await show(here.name, "-6", "route", "show", "default", "dev", MASTER) == []


async def deleted(here: CloudNode, there: CloudNode, kind: SlaveKind) -> None:
    """A pod comes, goes, and comes again."""
    pod, remote = await here.attached(kind), await there.attached(kind)
    held = {link.name: link.addresses for link in await here.datapath.inspect(pod.want.netns)}
    assert set(pod.want.addresses) <= set(held["eth0"])

    await here.detach(pod)
    await here.detach(pod)

    assert await within(pod.name, "ip", "addr", "show", "dev", "eth0", "scope", "global") == ""
    for what in (("route", "show", "table", "500"), ("neigh", "show", "nud", "permanent")):
        ways = [found["dst"] for family in ("-4", "-6") for found in await show(here.name, family, *what)]
        assert not set(ways) & set(pod.addresses)
    here.pods -= 1
    await within(here.name, "ip", "netns", "del", pod.name)
    again = await here.attached(kind)
    assert again.addresses == pod.addresses
    server = await listen(remote.name, 8080)
    try:
        assert await call(again.name, remote.addresses[1], 8080) == pod.addresses[1]
    finally:
        await server.close()


async def test_ipv6_only_pod(nodes: Nodes) -> None:
    """A pod without IPv4 has its way to the network and to its node, and no route of the other family."""
    here, there = nodes
    pod, remote = await here.attached("macvlan", families=(6,)), await there.attached("macvlan", families=(6,))

    servers = [await listen(name, 8080) for name in (remote.name, here.name)]
    try:
        assert await call(pod.name, remote.addresses[0], 8080) == pod.addresses[0]
        assert await call(pod.name, here.addresses[1], 8080) == pod.addresses[0]
    finally:
        for server in servers:
            await server.close()
    assert await show(pod.name, "-4", "route", "show", "table", "all", "dev", "eth0") == []


async def test_address_is_usable_at_once(nodes: Nodes) -> None:
    """When ADD answers, no address is tentative, no router can configure the pod, and IPv6 is on where it was off."""
    pod = await nodes[0].attached("macvlan", prepare="net.ipv6.conf.all.disable_ipv6=1")

    [eth0] = await show(pod.name, "-6", "addr", "show", "dev", "eth0", "scope", "global")
    found = [(item["local"], "tentative" in item) for item in eth0["addr_info"] if item]
    assert found == [(pod.addresses[1], False)]
    [default] = await show(pod.name, "-6", "route", "show", "default")
    assert (default["gateway"], default["dev"], default["protocol"]) == (str(ROUTER), "eth0", "boot")
    assert await within(pod.name, "sysctl", "-n", "net.ipv6.conf.eth0.accept_ra") == "0\n"


async def test_service_with_backend_elsewhere(nodes: Nodes) -> None:
    """A Service of IPv6: the backend on the other node sees the calling pod's node, since a cloud drops what is not
    its interface's.
    """
    here, there = nodes
    pod, backend = await here.attached("macvlan"), await there.attached("macvlan")
    await within(here.name, "nft", "-f", "-", text=PROXY.format(service=SERVICE6, backend=backend.addresses[1]))

    server = await listen(backend.name, 8080)
    try:
        assert await call(pod.name, SERVICE6, 80) == here.addresses[1]
    finally:
        await server.close()


async def test_service_with_backend_on_the_node(nodes: Nodes) -> None:
    """A backend on the pod's own node sees the pod itself, and its reply finds the way back."""
    here, _ = nodes
    pod, backend = await here.attached("macvlan"), await here.attached("macvlan")
    await within(here.name, "nft", "-f", "-", text=PROXY.format(service=SERVICE6, backend=backend.addresses[1]))

    server = await listen(backend.name, 8080)
    try:
        assert await call(pod.name, SERVICE6, 80) == pod.addresses[1]
    finally:
        await server.close()


async def test_node_port_keeps_the_client(nodes: Nodes) -> None:
    """A client elsewhere that calls the node is seen by the pod as itself, and gets its reply from the node."""
    here, there = nodes
    pod = await here.attached("macvlan")
    await within(here.name, "nft", "-f", "-", text=PROXY.format(service=here.addresses[1], backend=pod.addresses[1]))

    server = await listen(pod.name, 8080)
    try:
        assert await call(there.name, here.addresses[1], 80) == there.addresses[1]
    finally:
        await server.close()


async def test_node_keeps_its_default_route(nodes: Nodes) -> None:
    """Forwarding begins with the first IPv6 pod, and the node goes on to use and to hear its own router."""
    here, there = nodes
    before = await show(here.name, "-6", "route", "show", "default")

    await here.attached("macvlan", families=(4,))
    assert await within(here.name, "sysctl", "-n", "net.ipv6.conf.all.forwarding") == "0\n"
    await here.attached("macvlan")

    after = await show(here.name, "-6", "route", "show", "default")
    assert [(r["gateway"], r["dev"], r["protocol"]) for r in before] == [(str(ROUTER), PRIMARY, "ra")]
    assert [(r["gateway"], r["dev"], r["protocol"]) for r in after] == [(str(ROUTER), PRIMARY, "ra")]
    keys = [f"net.ipv6.conf.{name}" for name in ("all.forwarding", f"{PRIMARY}.accept_ra", f"{MASTER}.accept_ra")]
    assert (await within(here.name, "sysctl", "-n", *keys)).split() == ["1", "2", "0"]
    await within(here.name, "ip", "-6", "route", "flush", "default")
    await _solicit(here)

    async def is_back() -> bool:
        return bool(await show(here.name, "-6", "route", "show", "default", "dev", PRIMARY))

    await until(is_back)
    assert await call_refused(here.name, there.addresses[1])


async def test_routes_announced_on_a_master_go(nodes: Nodes) -> None:
    """What a router announced on a further interface before it became a master is not used by the node any more."""
    here, _ = nodes
    await within(here.name, "ip", "link", "set", MASTER, "down")
    await within(here.name, "sysctl", "-qw", f"net.ipv6.conf.{MASTER}.accept_ra=1")
    await within(here.name, "ip", "link", "set", MASTER, "up")

    async def uses_the_master() -> bool:
        return bool(await show(here.name, "-6", "route", "show", "default", "dev", MASTER))

    await until(uses_the_master)
    await here.datapath.prepare_master(MASTER)

    left = await show(here.name, "-6", "route", "show", "dev", MASTER)
    assert [route["dst"] for route in left if route["dst"] != "fe80::/64"] == []
    assert len(await show(here.name, "-6", "route", "show", "default", "dev", PRIMARY)) == 1


async def test_router_of_a_static_route_and_none_at_all(nodes: Nodes) -> None:
    """A static default route says no lifetime; a link on which nobody answers has no router, and neither one that is
    down.
    """
    here, _ = nodes
    await within(here.name, "ip", "link", "add", "side0", "type", "veth", "peer", "name", "nobody0")

    down = await here.datapath.router("side0")
    for link in ("side0", "nobody0"):
        await within(here.name, "ip", "link", "set", link, "up")
    silent = await here.datapath.router("side0")
    await within(here.name, "ip", "route", "add", "default", "via", "fe80::7", "dev", "side0", "metric", "2000")
    static = await here.datapath.router("side0")

    assert (down, silent) == (None, None)
    assert static is not None
    assert (str(static.address), static.lifetime_seconds) == ("fe80::7", math.inf)


async def call_refused(namespace: str, address: str) -> bool:
    """Whether the machine is reached: nobody listens there."""
    try:
        await call(namespace, address, 9)
    except ConnectionRefusedError:
        return True
    return False


async def _solicit(node: CloudNode) -> None:
    """Has the kernel ask for its router, as it does when IPv6 begins on a link."""
    await within(node.name, "sysctl", "-qw", f"net.ipv6.conf.{PRIMARY}.disable_ipv6=1")
    await within(node.name, "sysctl", "-qw", f"net.ipv6.conf.{PRIMARY}.disable_ipv6=0")
    await within(node.name, "ip", "addr", "add", f"{node.addresses[1]}/128", "dev", PRIMARY, "nodad")
