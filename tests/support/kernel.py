"""A datapath with state but no kernel: what ``underlay.cni.kernel.Kernel`` promises, kept in a few dictionaries.

One ``FakeKernel`` outlives the agents that use it, as a kernel does. ``problems`` lists what a real network would
have suffered.
"""

import asyncio
import itertools
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_interface
from pathlib import Path

from underlay.cni.datapath.attach import HostLink, Want
from underlay.cni.datapath.calls import Attached, AttachedLink, Detach, NodeFacts, PodLink
from underlay.cni.datapath.errors import InterfaceExists, NamespaceGone
from underlay.cni.datapath.solicitation import Router6
from underlay.core.identity import Mac


class FakeKernel:
    def __init__(self, links: Mapping[str, str]) -> None:
        """``links``: MAC → name of links that are there but down."""
        self.host = {
            Mac(mac): HostLink(index=index, name=name, mac=Mac(mac), mtu=9001, up=False)
            for index, (mac, name) in enumerate(links.items(), 2)
        }
        self.interfaces: dict[tuple[str, str], Want] = {}
        self.neighbours: dict[tuple[str, str], set[IPv4Address | IPv6Address]] = {}
        """Of each interface; whoever is attached talks to everybody at once."""
        self.problems: list[str] = []
        self.node = NodeFacts()
        self.attaches = 0
        self.routers: dict[str, Router6] = {}
        self.questions: list[str] = []
        self.withheld: tuple[frozenset[IPv4Address | IPv6Address], frozenset[str]] = (frozenset(), frozenset())
        self.lacks_egress = False
        self.fail_next: Exception | None = None
        self.gate: asyncio.Event | None = None
        self._macs = itertools.count(1)

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def learn(self, node: NodeFacts) -> None:
        self.node = node

    async def links(self) -> Mapping[Mac, HostLink]:
        return dict(self.host)

    async def prepare_master(self, name: str) -> None:
        self.host = {
            mac: link
            if link.name != name
            else HostLink(index=link.index, name=name, mac=mac, mtu=link.mtu, up=True, addresses=link.addresses)
            for mac, link in self.host.items()
        }

    async def router(self, name: str) -> Router6 | None:
        self.questions.append(name)
        return self.routers.get(name)

    async def withhold(
        self, services: Collection[IPv4Address | IPv6Address], masters: Collection[str]
    ) -> Mapping[str, str]:
        self.withheld = frozenset(services), frozenset(masters)
        return dict.fromkeys(masters, "no such hook") if self.lacks_egress else {}

    async def attach(self, want: Want) -> Attached:
        self.attaches += 1
        if self.gate is not None:
            await self.gate.wait()
        if failure := self.fail_next:
            self.fail_next = None
            raise failure
        if not _exists(want.netns):
            raise NamespaceGone(want.netns, "no such file")
        key = want.netns, want.ifname
        if key in self.interfaces:
            raise InterfaceExists(want.ifname, want.netns)
        for other, there in self.interfaces.items():
            if taken := self._ips(there) & self._ips(want):
                self.problems.append(f"{taken} given to {key} while {other} has it")
        self.neighbours[key] = set(self.addresses())
        for known in self.neighbours.values():
            known.update(self._ips(want))
        self.interfaces[key] = want
        mac = Mac(f"02:00:00:00:00:{next(self._macs) % 256:02x}")
        return Attached(
            interfaces=(
                AttachedLink(name=want.ifname, mac=mac, mtu=9001, sandbox=want.netns),
                AttachedLink(name=f"veth{want.container_id[:11]}", mac=mac, mtu=9001, sandbox=""),
            )
        )

    async def detach(self, gone: Detach) -> None:
        if gone.netns is not None:
            self.interfaces.pop((gone.netns, gone.ifname), None)

    async def forget(
        self, addresses: Collection[IPv4Address | IPv6Address], links: Mapping[str, Collection[str]]
    ) -> None:
        for (netns, name), known in self.neighbours.items():
            if name in links.get(netns, ()):
                known.difference_update(addresses)

    async def inspect(self, netns: str) -> tuple[PodLink, ...]:
        if not _exists(netns):
            raise NamespaceGone(netns, "no such file")
        return tuple(
            PodLink(name=name, mac=Mac("02:00:00:00:00:00"), kind=want.kind, addresses=want.addresses)
            for (path, name), want in self.interfaces.items()
            if path == netns
        )

    def put_on_host(self, mac: str, address: str) -> None:
        """Something on the host takes an address."""
        link = self.host[Mac(mac)]
        self.host[link.mac] = HostLink(
            index=link.index, name=link.name, mac=link.mac, mtu=link.mtu, up=link.up, addresses=(ip_interface(address),)
        )

    def remove_namespace(self, netns: str) -> None:
        """What a runtime does after DEL: all links within vanish."""
        Path(netns).unlink(missing_ok=True)
        self.interfaces = {key: want for key, want in self.interfaces.items() if key[0] != netns}
        self.neighbours = {key: known for key, known in self.neighbours.items() if key[0] != netns}

    def addresses(self) -> dict[IPv4Address | IPv6Address, tuple[str, str]]:
        """Address → (namespace, interface)."""
        return {item.ip: key for key, want in self.interfaces.items() for item in want.addresses}

    def known(self) -> set[IPv4Address | IPv6Address]:
        """Addresses that some pod believes to be behind a MAC of this node."""
        return set().union(*self.neighbours.values())

    @staticmethod
    def _ips(want: Want) -> set[IPv4Address | IPv6Address]:
        return {item.ip for item in want.addresses}


def _exists(path: str) -> bool:
    return Path(path).exists()
