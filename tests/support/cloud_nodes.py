"""Two nodes on the simulated VPC in kernel namespaces, each with a datapath: for tests of both address families.

subnet    10.20.0.0/24 and 2001:db8:20::/64, router 10.20.0.1 and fe80:ec2::1
node n    ens5  10.20.0.<200+n>, 2001:db8:20::c<8+n>   the node's InternalIPs; the router brings its IPv6 default route
          ens6  no address                             master of the pods; at the cloud it has 10.20.0.<32n>/28 and
                                                       2001:db8:20:0:<n>::/80
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface, ip_network
from itertools import count
from pathlib import Path
from typing import Any

from cloudsim.fabric.model import Interface
from cloudsim.fabric.vpc import Vpc
from support.netns_node import Listener, inside
from underlay.cni.datapath.attach import Want
from underlay.cni.datapath.calls import Detach, NodeFacts
from underlay.cni.datapath.model import SlaveKind
from underlay.cni.datapath.shell import Datapath

PRIMARY, MASTER = "ens5", "ens6"
GATEWAY, ROUTER = IPv4Address("10.20.0.1"), IPv6Address("fe80:ec2::1")
SERVICES = (ip_network("10.96.0.0/16"), ip_network("fd96::/112"))

_SUBNET, _SUBNET6 = IPv4Network("10.20.0.0/24"), IPv6Network("2001:db8:20::/64")
_worlds = count()


async def execute(*command: str, text: str | None = None) -> str:
    """Run a program without holding the loop, on which the VPC answers; what it says on failure is in the exception."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate(text.encode() if text else None)
    if process.returncode:
        raise AssertionError(f"{' '.join(command)}: {out.decode()}")
    return out.decode()


async def within(namespace: str, *command: str, text: str | None = None) -> str:
    """Run a program in a namespace."""
    return await execute("ip", "netns", "exec", namespace, *command, text=text)


async def show(namespace: str, *what: str) -> Any:  # noqa: ANN401 - iproute2's JSON
    """What ``ip -json`` tells of a namespace."""
    return [found for found in json.loads(await execute("ip", "-n", namespace, "-d", "-j", *what) or "[]") if found]


async def listen(namespace: str, port: int) -> Listener:
    """A TCP server of both families in the namespace, that answers with the address it was called from."""

    def listening() -> socket.socket:
        made = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        made.setblocking(False)
        return made

    return await Listener.start(await inside(namespace, listening))


async def call(namespace: str, address: object, port: int, *, patience_seconds: float = 20) -> str:
    """Connect from the namespace; the address that the server saw."""

    def connect() -> str:
        with socket.create_connection((str(address), port), timeout=patience_seconds) as connection:
            return connection.makefile().read()

    seen = ip_address(await inside(namespace, connect))
    mapped = seen.ipv4_mapped if isinstance(seen, IPv6Address) else None
    return str(mapped or seen)


@dataclass(frozen=True, kw_only=True)
class CloudPod:
    """A pod and what it was given."""

    name: str
    want: Want

    @property
    def addresses(self) -> tuple[str, ...]:
        """IPv4 before IPv6."""
        return tuple(str(address.ip) for address in self.want.addresses)


@dataclass(kw_only=True)
class CloudNode:
    """One node. ``name`` is its namespace."""

    number: int
    name: str
    datapath: Datapath
    vpc: Vpc
    made: list[str]
    pods: int = 0
    macs: dict[IPv4Address | IPv6Address, str] = field(default_factory=dict)

    @property
    def addresses(self) -> tuple[str, str]:
        """InternalIPs, IPv4 before IPv6."""
        return str(_SUBNET[200 + self.number]), str(_SUBNET6[200 + self.number])

    async def attached(self, kind: SlaveKind, *, families: tuple[int, ...] = (4, 6), prepare: str = "") -> CloudPod:
        """A new pod; ``prepare``: a sysctl set in its namespace before."""
        self.pods += 1
        name = f"{self.name}p{self.pods}"
        await _namespace(name, self.made)
        if prepare:
            await within(name, "sysctl", "-qw", prepare)
        four = ip_interface(f"{_SUBNET[32 * self.number + self.pods]}/24")
        six = ip_interface(f"2001:db8:20:0:{self.number}::{self.pods}/64")
        want = Want(
            container_id=name[::-1] + "0123456789abcdef",
            ifname="eth0",
            netns=f"/run/netns/{name}",
            kind=kind,
            master=MASTER,
            addresses=tuple(address for address in (four, six) if address.version in families),
            gateways=tuple(gateway for gateway in (GATEWAY, ROUTER) if gateway.version in families),
        )
        attached = await self.datapath.attach(want)
        if kind == "macvlan":
            self.macs |= {address.ip: str(attached.interfaces[0].mac) for address in want.addresses}
            await self.vpc.put_macs(_eni(self.number, 1), self.macs)
        return CloudPod(name=name, want=want)

    async def detach(self, pod: CloudPod) -> None:
        """What a DEL asks of the datapath."""
        await self.datapath.detach(
            Detach(
                container_id=pod.want.container_id,
                ifname="eth0",
                netns=pod.want.netns,
                addresses=tuple(address.ip for address in pod.want.addresses),
            )
        )


@contextlib.asynccontextmanager
async def two_nodes() -> AsyncIterator[tuple[CloudNode, CloudNode]]:
    """Started, masters prepared, with the nodes' own default routes in place."""
    prefix = f"uc{os.getpid()}n{next(_worlds)}"
    vpc = Vpc(prefix)
    made: list[str] = []
    try:
        await vpc.start()
        first = await _node(1, prefix, vpc, made)
        second = await _node(2, prefix, vpc, made)
        yield first, second
        for node in (first, second):
            await node.datapath.close()
    finally:
        await vpc.close()
        there = (await execute("ip", "netns")).split()
        for name in dict.fromkeys(reversed(made)):
            if name in there:
                await execute("ip", "netns", "del", name)


async def until(holds: Callable[[], Awaitable[bool]], *, seconds: float = 30) -> None:
    """Look until it holds."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.05)


async def _node(number: int, prefix: str, vpc: Vpc, made: list[str]) -> CloudNode:
    name = f"{prefix}h{number}"
    await _namespace(name, made)
    for index in (0, 1):
        await vpc.put(_eni(number, index), _interface(number, index, name))
    facts = NodeFacts(
        addresses=(_SUBNET[200 + number], _SUBNET6[200 + number]),
        service_cidrs=SERVICES,
    )
    datapath = Datapath(Path("/run/netns", name), node=facts, address_wait_seconds=0.5)
    await datapath.start()

    async def has_default_route() -> bool:
        return bool(await show(name, "-6", "route", "show", "default", "dev", PRIMARY))

    await until(has_default_route)
    await datapath.prepare_master(MASTER)
    return CloudNode(number=number, name=name, datapath=datapath, vpc=vpc, made=made)


def _interface(number: int, index: int, namespace: str) -> Interface:
    return Interface(
        instance=f"i-{number}",
        netns=f"/run/netns/{namespace}",
        device_index=index,
        mac=f"02:00:00:00:0{number}:0{index}",
        subnet_cidr=_SUBNET,
        gateway=GATEWAY,
        addresses=(_SUBNET[200 + number] if index == 0 else _SUBNET[210 + number],),
        prefixes=(IPv4Network((_SUBNET[32 * number], 28)),) if index else (),
        subnet_cidr6=_SUBNET6,
        addresses6=() if index else (_SUBNET6[200 + number],),
        prefixes6=(IPv6Network(f"2001:db8:20:0:{number}::/80"),) if index else (),
        mtu=1500,
    )


def _eni(number: int, index: int) -> str:
    return f"eni-{number}{index}"


async def _namespace(name: str, made: list[str]) -> None:
    await execute("ip", "netns", "add", name)
    made.append(name)
    await execute("ip", "-n", name, "link", "set", "lo", "up")
