"""A pod and the cloud's own services: it reaches resolver, time and its own credentials, never the node's.

The network answers for all of them on every link, as a cloud does, and counts what arrives for the metadata service.
"""

import contextlib
import json
import re
import socket
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from functools import partial
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from support.netns_node import GATEWAY, MASTER, NODE_ADDRESS, Listener, NodeWorld, inside, run, until
from underlay.cni.datapath.attach import Want
from underlay.cni.datapath.calls import NodeFacts
from underlay.cni.datapath.shell import Datapath

pytestmark = pytest.mark.netns

METADATA, RESOLVER, TIME, IDENTITY = "169.254.169.254", "169.254.169.253", "169.254.169.123", "169.254.170.23"
METADATA6 = "fd00:ec2::254"
WITHHELD = tuple(map(ip_address, (METADATA, METADATA6)))
NODE6, POD6 = "fd00:1::10", "fd00:2::10"
PATIENCE_SECONDS = 0.4
ARRIVING = """
table inet seen {
  counter metadata { }
  chain arriving { type filter hook prerouting priority raw; policy accept;
    ip daddr 169.254.169.254 counter name metadata
    ip6 daddr fd00:ec2::254 counter name metadata
  }
}
"""
SERVICE = "10.96.0.30"
PROXY = f"""
table ip proxy {{
  chain services {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr {SERVICE} tcp dport 80 dnat to {METADATA}:80
  }}
}}
"""

DATAGRAM = struct.pack("!HHHH", 1000, 80, 8, 0)

Wanting = Callable[..., Want]
Way = Callable[[NodeWorld, str], Awaitable[object]]
both_kinds = pytest.mark.parametrize("kind", ["macvlan", pytest.param("ipvlan", marks=pytest.mark.kernel)])


@pytest.fixture
async def datapath(world: NodeWorld) -> AsyncIterator[Datapath]:
    """A node of both families on a cloud, both of its links masters; metadata withheld."""
    for link in ("p0", "p1"):
        for address in (METADATA, RESOLVER, TIME):
            world.execute(world.network, "ip", "addr", "add", f"{address}/32", "dev", link)
        world.execute(world.network, "ip", "addr", "add", f"{METADATA6}/128", "dev", link, "nodad")
    world.execute(world.network, "nft", "-f", "-", text=ARRIVING)
    world.execute(world.network, "ip", "addr", "add", "fd00:1::1/64", "dev", "p0", "nodad")
    world.execute(world.network, "ip", "addr", "add", "fd00:2::1/64", "dev", "p1", "nodad")
    world.execute(world.host, "ip", "addr", "add", f"{NODE6}/64", "dev", "eth0", "nodad")
    world.execute(world.host, "ip", "route", "add", "default", "via", "fd00:1::1")
    world.execute(world.host, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    services = (*WITHHELD, *map(ip_address, (RESOLVER, TIME, IDENTITY)))
    node = NodeFacts(
        addresses=(ip_address(NODE_ADDRESS), ip_address(NODE6)),
        service_cidrs=(ip_network("10.96.0.0/16"),),
        hijack_cidrs=tuple(map(ip_network, services)),
    )
    datapath = Datapath(world.path(world.host), node=node)
    await datapath.start()
    try:
        await datapath.prepare_master(MASTER)
        await datapath.withhold(WITHHELD, {"eth0", MASTER})
        yield datapath
    finally:
        await datapath.close()


@pytest.fixture
async def metadata(world: NodeWorld) -> AsyncIterator[None]:
    """Answers in the network on port 80, in both families."""
    async with contextlib.AsyncExitStack() as stack:
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            listening = await inside(world.network, partial(_listening, family, address, 80))
            stack.push_async_callback((await Listener.start(listening)).close)
        yield


@both_kinds
@pytest.mark.usefixtures("metadata")
async def test_no_way_leads_to_the_nodes_metadata(
    world: NodeWorld, datapath: Datapath, wanting: Wanting, kind: str
) -> None:
    """Whatever a pod with every network capability tries, nothing arrives, until access is given while it runs: then
    all of it does, as routed through the node; and no longer when access is taken again.
    """
    await datapath.attach(dual(wanting, pod := world.pod(), kind=kind))
    world.execute(world.host, "nft", "-f", "-", text=PROXY)

    assert await arriving(world, pod, WAYS) == set()
    assert await world.call(world.host, METADATA, 80) == NODE_ADDRESS
    assert await world.call(pod, RESOLVER, 80) == NODE_ADDRESS

    await datapath.withhold((), {"eth0", MASTER})
    assert await world.call(pod, METADATA, 80) == NODE_ADDRESS
    host_takes = {"frame to the master", "tagged frame to the master"} if kind == "macvlan" else set()
    assert await arriving(world, pod, WAYS) == WAYS.keys() - host_takes

    await datapath.withhold(WITHHELD, {"eth0", MASTER})
    assert await arriving(world, pod, {"as routed": WAYS["as routed"], **PAST_HOST}) == set()


@both_kinds
@pytest.mark.usefixtures("metadata")
async def test_an_older_kernel_filters_with_tc(
    world: NodeWorld, datapath: Datapath, wanting: Wanting, kind: str
) -> None:
    """Where nft refuses the egress table, a tc filter on each master does the same, and the node gets through it."""
    await datapath.attach(dual(wanting, pod := world.pod(), kind=kind))
    await datapath.withhold((), ())

    with nobody_elses_table(world):
        assert await datapath.withhold(WITHHELD, {"eth0", MASTER}) == {}
        assert await arriving(world, pod, PAST_HOST) == set()
        assert await world.call(world.host, METADATA, 80) == NODE_ADDRESS
        assert await world.call(world.host, METADATA6, 80) == NODE6
        await datapath.withhold((), {"eth0", MASTER})

    assert await arriving(world, pod, PAST_HOST) == PAST_HOST.keys()


async def test_a_kernel_without_either_is_told(world: NodeWorld, datapath: Datapath) -> None:
    """Where nft and tc both refuse, the master is named with both reasons; what goes through the host is dropped."""
    await datapath.withhold((), ())
    world.execute(world.host, "tc", "qdisc", "add", "dev", MASTER, "clsact")
    other = ("egress", "protocol", "all", "prio", "1", "u32", "match", "u32", "0", "0", "classid", "1:1")
    world.execute(world.host, "tc", "filter", "add", "dev", MASTER, *other)

    with nobody_elses_table(world):
        unfiltered = await datapath.withhold(WITHHELD, {"eth0", MASTER})

    assert unfiltered.keys() == {MASTER}
    assert unfiltered[MASTER].startswith("nft: ")
    assert "; tc: " in unfiltered[MASTER]
    assert "drop" in world.execute(world.host, "nft", "list", "chain", "inet", "underlay_services", "forwarded")


@pytest.mark.usefixtures("metadata")
async def test_the_node_reaches_its_metadata(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """The node and its host-network pods do, in both families, by whichever of its links, while a pod is filtered."""
    await datapath.attach(dual(wanting, world.pod()))

    assert await world.call(world.host, METADATA, 80) == NODE_ADDRESS
    assert await world.call(world.host, METADATA6, 80) == NODE6
    world.execute(world.host, "ip", "addr", "add", "10.0.1.5/24", "dev", MASTER)
    world.execute(world.host, "ip", "route", "add", METADATA, "via", GATEWAY, "dev", MASTER)
    assert await world.call(world.host, METADATA, 80) == "10.0.1.5"


async def test_resolver_time_and_own_credentials_are_reached_through_the_node(
    world: NodeWorld, datapath: Datapath, wanting: Wanting
) -> None:
    """The network sees the node asking for resolver and time; the agent for a pod's own credentials sees the pod."""
    await datapath.attach(dual(wanting, pod := world.pod()))
    world.execute(world.host, "ip", "addr", "add", f"{IDENTITY}/32", "dev", "lo")

    for where, address, port, seen in (
        (world.network, RESOLVER, 53, NODE_ADDRESS),
        (world.network, TIME, 123, NODE_ADDRESS),
        (world.host, IDENTITY, 80, "10.0.1.10"),
    ):
        server = await world.listen(where, port)
        try:
            assert await world.call(pod, address, port) == seen
        finally:
            await server.close()


async def test_a_responder_on_the_host_is_withheld_too(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """Metadata that a process of the host answers is no pod's either; what an administrator redirects is."""
    await datapath.attach(dual(wanting, pod := world.pod()))
    world.execute(world.host, "ip", "addr", "add", f"{METADATA}/32", "dev", "lo")
    server = await world.listen(world.host, 80)
    try:
        with pytest.raises(OSError, match="timed out"):
            await world.call(pod, METADATA, 80, patience_seconds=PATIENCE_SECONDS)

        redirect = PROXY.replace(SERVICE, METADATA).replace(f"{METADATA}:80", f"{NODE_ADDRESS}:80")
        world.execute(world.host, "nft", "-f", "-", text=redirect)
        assert await world.call(pod, METADATA, 80) == "10.0.1.10"
    finally:
        await server.close()


@pytest.mark.usefixtures("metadata")
async def test_a_master_that_comes_later_is_filtered(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """The first pod on a link that nobody named is filtered there from its first packet; so is a link put back."""
    await datapath.withhold(WITHHELD, {"eth0"})
    await datapath.attach(dual(wanting, pod := world.pod()))
    assert await arriving(world, pod, PAST_HOST) == set()

    mac = world.show(world.host, "link", "show", MASTER)[0]["address"]
    world.execute(world.host, "ip", "link", "del", MASTER)
    again = ("link", "add", MASTER, "address", mac, "type", "veth", "peer", "name", "p1", "netns", world.network)
    world.execute(world.host, "ip", *again)
    for address in ("10.0.1.1/24", f"{METADATA}/32"):
        world.execute(world.network, "ip", "addr", "add", address, "dev", "p1")
    world.execute(world.network, "ip", "link", "set", "p1", "up")
    await datapath.prepare_master(MASTER)
    await datapath.attach(dual(wanting, second := world.pod(), "10.0.1.11"))
    assert await arriving(world, second, PAST_HOST) == set()


@pytest.mark.usefixtures("metadata")
@pytest.mark.parametrize(
    "undone",
    ["flush ruleset", "flush table netdev underlay_services", "delete table inet underlay_services"],
)
async def test_what_a_firewall_flushes_is_put_back(
    world: NodeWorld, datapath: Datapath, wanting: Wanting, undone: str
) -> None:
    """After a firewall has flushed all tables, or somebody one of them, metadata is withheld again at once."""
    await datapath.attach(dual(wanting, pod := world.pod()))
    before = rules(world)

    world.execute(world.host, "nft", undone)
    await until(lambda: rules(world) == before)

    assert await arriving(world, pod, {**PAST_HOST, "through veth0": WAYS["through veth0"]}) == set()
    assert await world.call(world.host, METADATA, 80) == NODE_ADDRESS


async def test_a_restarted_agent_leaves_no_gap(world: NodeWorld) -> None:
    """What an earlier agent withholds stays until the next one knows what to withhold, whatever it puts back before."""
    earlier = Datapath(world.path(world.host))
    await earlier.start()
    await earlier.withhold(WITHHELD, {"eth0", MASTER})
    await earlier.close()
    withheld = rules(world)
    again = Datapath(world.path(world.host))
    await again.start()
    try:
        world.execute(world.host, "nft", "delete", "table", "inet", "underlay")
        await until(lambda: "masquerade" in rules(world))
        assert sorted(rules(world).splitlines()) == sorted(withheld.splitlines())

        await again.withhold((), {"eth0", MASTER})
        assert METADATA not in rules(world)
    finally:
        await again.close()


def rules(world: NodeWorld) -> str:
    """The host's ruleset without counters, and without the mark, which each agent chooses."""
    return re.sub(r"0x[89a-f][0-9a-f]{7}\b", "MARK", world.execute(world.host, "nft", "-s", "list", "ruleset"))


# what a pod may try; each returns when it has tried


async def _call(world: NodeWorld, pod: str, address: str = METADATA, **how: Any) -> None:  # noqa: ANN401 - of ``call``
    with contextlib.suppress(OSError):
        await world.call(pod, address, 80, patience_seconds=PATIENCE_SECONDS, **how)


async def _bound(_: NodeWorld, pod: str, address: str = METADATA) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def connect() -> None:
        with socket.socket(family, socket.SOCK_STREAM) as calling, contextlib.suppress(OSError):
            calling.settimeout(PATIENCE_SECONDS)
            calling.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            calling.connect((address, 80))

    await inside(pod, connect)


async def _routed(world: NodeWorld, pod: str, *route: str, address: str = METADATA, source: str | None = None) -> None:
    run("ip", "-n", pod, "route", "replace", address, *route)
    try:
        await _call(world, pod, address, source=source)
    finally:  # as the agent had made it
        run(
            "ip",
            "-n",
            pod,
            "route",
            "replace",
            address,
            "via",
            NODE6 if ":" in address else NODE_ADDRESS,
            "dev",
            "veth0",
        )


async def _spoofed(world: NodeWorld, pod: str) -> None:
    """From the node's own address. (The answer would go to the node; what counts is that the request arrives.)"""
    run("ip", "-n", pod, "addr", "add", NODE_ADDRESS, "dev", "eth0")
    try:
        await _routed(world, pod, "via", GATEWAY, "dev", "eth0", source=NODE_ADDRESS)
    finally:
        run("ip", "-n", pod, "addr", "del", NODE_ADDRESS, "dev", "eth0")


async def _to_master(world: NodeWorld, pod: str, tags: bytes = b"") -> None:
    """The node as router, by its MAC: an ipvlan slave's own, which the kernel hands to the host."""
    await _framed(world, pod, world.host, MASTER, _packet(), tags=tags)


async def _lying(world: NodeWorld, pod: str) -> None:
    """A frame whose sender tells the kernel that it is no IP."""
    await _framed(world, pod, world.network, "p1", _packet(), protocol=0x88B5)


async def _tagged(world: NodeWorld, pod: str, *tags: int, packet: bytes | None = None) -> None:
    """As of VLAN 0, which is no VLAN: the receiver takes the tags off."""
    await _framed(world, pod, world.network, "p1", packet or _packet(), tags=_vlan_zero(*tags))


async def _framed(
    world: NodeWorld, pod: str, at: str, link: str, packet: bytes, *, tags: bytes = b"", protocol: int = 0x0800
) -> None:
    """To the MAC of a ``link`` in the namespace ``at``; ``protocol`` is what the sender tells the kernel."""
    to, own = (world.show(where, "link", "show", name)[0]["address"] for where, name in ((at, link), (pod, "eth0")))
    ethertype = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
    frame = bytes.fromhex((to + own).replace(":", "")) + tags + ethertype + packet

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw, contextlib.suppress(OSError):
            raw.sendto(frame, ("eth0", protocol, 0, 0, frame[:6]))

    await inside(pod, send)


def _vlan_zero(*ethertypes: int) -> bytes:
    return b"".join(struct.pack("!HH", ethertype, 0) for ethertype in ethertypes)


def _packet() -> bytes:
    """An empty UDP datagram of the pod to the metadata service."""
    header = struct.pack("!BBHHHBBH", 0x45, 0, 28, 1, 0, 64, socket.IPPROTO_UDP, 0)
    header += socket.inet_aton("10.0.1.10") + socket.inet_aton(METADATA)
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + DATAGRAM


def _packet6() -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(DATAGRAM), socket.IPPROTO_UDP, 64)
    return header + ip_address(POD6).packed + ip_address(METADATA6).packed + DATAGRAM


WAYS: dict[str, Way] = {
    "as routed": _call,
    "as routed, IPv6": lambda world, pod: _call(world, pod, METADATA6),
    "through veth0": lambda world, pod: _routed(world, pod, "via", NODE_ADDRESS, "dev", "veth0"),
    "through a Service": lambda world, pod: _call(world, pod, SERVICE),
    "via the gateway": lambda world, pod: _routed(world, pod, "via", GATEWAY, "dev", "eth0"),
    "via the gateway, IPv6": lambda world, pod: _routed(
        world, pod, "via", "fd00:2::1", "dev", "eth0", address=METADATA6
    ),
    "on link": lambda world, pod: _routed(world, pod, "dev", "eth0"),
    "on link, IPv6": lambda world, pod: _routed(world, pod, "dev", "eth0", address=METADATA6),
    "bound to the slave": _bound,
    "bound to the slave, IPv6": lambda world, pod: _bound(world, pod, METADATA6),
    "from the node's address": _spoofed,
    "frame of another protocol": _lying,
    "tagged frame": lambda world, pod: _tagged(world, pod, 0x8100),
    "frame tagged twice, IPv6": lambda world, pod: _tagged(world, pod, 0x88A8, 0x8100, packet=_packet6()),
    "frame tagged thrice": lambda world, pod: _tagged(world, pod, 0x8100, 0x8100, 0x8100),
    "frame to the master": _to_master,
    "tagged frame to the master": lambda world, pod: _to_master(world, pod, _vlan_zero(0x8100)),
}

PAST_HOST = {
    name: WAYS[name]
    for name in (
        "on link",
        "on link, IPv6",
        "frame of another protocol",
        "tagged frame",
        "frame tagged twice, IPv6",
        "frame tagged thrice",
    )
}


async def arriving(world: NodeWorld, pod: str, ways: dict[str, Way]) -> set[str]:
    """Those of the ways by which something arrives at the metadata service."""
    found = set()
    before = _arrived(world)
    for name, attempt in ways.items():
        await attempt(world, pod)
        if (now := _arrived(world)) > before:
            found.add(name)
            before = now
    return found


def _arrived(world: NodeWorld) -> int:
    listed = json.loads(world.execute(world.network, "nft", "-j", "list", "counters"))
    return sum(item["counter"]["packets"] for item in listed["nftables"] if "counter" in item)


def dual(wanting: Wanting, pod: str, address: str = "10.0.1.10", **otherwise: object) -> Want:
    """A pod of both families."""
    six = f"{POD6}/64" if address == "10.0.1.10" else "fd00:2::11/64"
    gateways: Collection[object] = (ip_address(GATEWAY), ip_address("fd00:2::1"))
    return wanting(pod, addresses=(ip_interface(f"{address}/24"), ip_interface(six)), gateways=gateways, **otherwise)


@contextlib.contextmanager
def nobody_elses_table(world: NodeWorld) -> Iterator[None]:
    """Another process owns the nft table of the egress filter, so that the kernel refuses any change to it."""
    command = ("ip", "netns", "exec", world.host, "nft", "-i")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, text=True
    ) as nft:
        assert nft.stdin is not None
        try:
            nft.stdin.write("add table netdev underlay_services { flags owner; }\n")
            nft.stdin.flush()
            while "netdev underlay_services" not in world.execute(world.host, "nft", "list", "tables"):
                assert nft.poll() is None
            yield
        finally:
            nft.stdin.close()
            nft.wait(10)


def _checksum(header: bytes) -> int:
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, 20, 2))
    return ~(total + (total >> 16)) & 0xFFFF


def _listening(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listening.bind((address, port))
    listening.listen()
    listening.setblocking(False)
    return listening
