"""The VPC's network namespace: makes links, executes the commands of ``model``, reads the counters.

Commands run as ``ip -batch`` and ``nft -f``, a few milliseconds each, so that the process needs no netlink library:
the fabric may run in the kernel lab, where every import is slow.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from cloudsim.fabric import model
from cloudsim.fabric.model import Address, Interface
from cloudsim.fabric.responder import Responder

NETNS_FOLDER = Path("/run/netns")

_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/proxy_arp": "1",  # never answers for what is routed to where the question came from
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",  # pods would believe them and bypass the VPC
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/accept_dad": "0",
}


class Refused(Exception):
    """The kernel did not do what was asked; ``text`` is what ip or nft said."""

    def __init__(self, command: str, text: str) -> None:
        self.command = command
        self.text = text
        super().__init__(f"{command}: {text}")


class Vpc:
    """One VPC. Calls are serialised: a view is compared with the one before it."""

    def __init__(self, name: str) -> None:
        self.namespace = f"{name}-vpc"
        self.interfaces: dict[str, Interface] = {}
        self._macs: dict[str, dict[Address, str]] = {}
        self._responder: Responder | None = None
        self._view = model.view({}, {})
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Make the namespace; one left by a killed process of the same name is replaced."""
        if (NETNS_FOLDER / self.namespace).exists():
            await _run("ip", "netns", "del", self.namespace)
        await _run("ip", "netns", "add", self.namespace)
        settings = [f"{key}={value}" for key, value in _SYSCTLS.items()]
        await _run("ip", "netns", "exec", self.namespace, "sysctl", "-q", "-w", *settings)
        await self._ip(["link set lo up", "route add blackhole default", "route add blackhole ::/0"])
        await self._nft(model.RULES.splitlines())
        self._responder = Responder(NETNS_FOLDER / self.namespace, lambda: self._view)

    async def close(self) -> None:
        """Remove all links, in one request, then the namespace."""
        if self._responder is not None:
            self._responder.close()
        async with self._turn:
            with contextlib.suppress(Refused):
                await self._ip([f"link del group {model.GROUP}"])
            with contextlib.suppress(Refused):
                await _run("ip", "netns", "del", self.namespace)

    async def put(self, eni: str, wanted: Interface) -> None:
        """Attach the interface or update it. Addresses that another interface had are taken from it, as a
        reassignment does.
        """
        async with self._turn:
            known = self.interfaces.get(eni)
            if known is not None and _hardware(known) != _hardware(wanted):
                await self._drop(eni)
                known = None
            if known is None:
                await self._plug(eni, wanted)
            after = {
                other: model.without(interface, wanted) for other, interface in self.interfaces.items() if other != eni
            }
            try:
                await self._turn_into({**after, eni: wanted}, self._macs)
            except Refused:
                if known is None:
                    await self._unplug(eni)
                raise

    async def put_macs(self, eni: str, macs: Mapping[Address, str]) -> None:
        """Replace the MACs of the interface's addresses that have one of their own. ``KeyError``: unknown interface."""
        async with self._turn:
            if eni not in self.interfaces:
                raise KeyError(eni)
            await self._turn_into(self.interfaces, {**self._macs, eni: dict(macs)})

    async def patch_macs(self, macs: Mapping[Address, str | None]) -> None:
        """Have some addresses sent with a MAC of their own, or (None) with their interface's again.

        ``KeyError``: no interface has the address.
        """
        async with self._turn:
            after = {eni: dict(known) for eni, known in self._macs.items()}
            for address, mac in macs.items():
                known = after.setdefault(self._interface_of(address), {})
                known.pop(address, None)
                if mac is not None:
                    known[address] = mac
            await self._turn_into(self.interfaces, after)

    async def delete(self, eni: str) -> None:
        """Detach the interface; nothing happens if it is not there."""
        async with self._turn:
            await self._drop(eni)

    async def drops(self) -> dict[str, dict[str, int]]:
        """Frames dropped since the interface was attached, per interface and reason."""
        packets: dict[str, int] = {}
        for table in model.TABLES:
            text = await self._in_vpc("nft", "-j", "list", "counters", "table", *table.split())
            for entry in json.loads(text)["nftables"]:
                if found := entry.get("counter"):
                    packets[found["name"]] = packets.get(found["name"], 0) + int(found["packets"])
        return {
            eni: {reason: packets.get(model.counter(model.vpc_link(eni), reason), 0) for reason in model.REASONS}
            for eni in self.interfaces
        }

    async def _plug(self, eni: str, interface: Interface) -> None:
        """A cloud's new interface appears in the guest down and bare; only the first one is configured by the image."""
        link = model.vpc_link(eni)
        ours = f"address {model.ROUTER_MAC} mtu {interface.mtu} group {model.GROUP}"
        peer = f"name {interface.link} address {interface.mac} mtu {interface.mtu} netns {interface.netns}"
        await self._ip(
            [
                f"link add name {link} {ours} type veth peer {peer}",
                f"link set {link} addrgenmode none",
                f"link set {link} up",
                f"address add {model.ROUTER6}/64 dev {link} nodad",
                f"neigh replace {model.NEXT_HOP} lladdr {interface.mac} dev {link} nud permanent",
                f"ntable change name arp_cache dev {link} proxy_delay 0",  # otherwise an answer waits up to 0.8 s
            ]
        )
        if interface.device_index == 0:
            primary = f"{interface.addresses[0]}/{interface.subnet_cidr.prefixlen}"
            lines = [
                f"address add {primary} dev {interface.link}",
                # As DHCPv6 brings it; the default route is what the router's advertisement makes of it.
                *(f"address add {address}/128 dev {interface.link} nodad" for address in interface.addresses6[:1]),
                f"link set {interface.link} up",
                f"route replace default via {interface.gateway} dev {interface.link}",
            ]
            try:
                await _run("nsenter", f"--net={interface.netns}", "ip", "-batch", "-", text="\n".join(lines))
            except Refused:
                await self._unplug(eni)
                raise

    async def _unplug(self, eni: str) -> None:
        with contextlib.suppress(Refused):  # it may have vanished with its instance's namespace
            await self._ip([f"link del {model.vpc_link(eni)}"])

    async def _drop(self, eni: str) -> None:
        if eni not in self.interfaces:
            return
        rest = {other: interface for other, interface in self.interfaces.items() if other != eni}
        await self._turn_into(rest, {other: macs for other, macs in self._macs.items() if other != eni})
        await self._unplug(eni)

    async def _turn_into(self, interfaces: Mapping[str, Interface], macs: Mapping[str, Mapping[Address, str]]) -> None:
        after = model.view(interfaces, macs)
        commands = model.difference(self._view, after)
        if commands.forget:
            with contextlib.suppress(Refused):
                await self._ip(commands.forget, "-force")
        await asyncio.gather(self._ip(commands.learn), self._nft(commands.filter))
        self.interfaces = dict(interfaces)
        self._macs = {eni: dict(known) for eni, known in macs.items()}
        self._view = after

    def _interface_of(self, address: Address) -> str:
        found = next((eni for eni, interface in self.interfaces.items() if interface.has(address)), None)
        if found is None:
            raise KeyError(address)
        return found

    async def _ip(self, lines: Iterable[str], *options: str) -> None:
        if text := "\n".join(lines):
            await _run("ip", "-n", self.namespace, *options, "-batch", "-", text=text + "\n")

    async def _nft(self, lines: Iterable[str]) -> None:
        if text := "\n".join(lines):
            await self._in_vpc("nft", "-f", "-", text=text + "\n")

    async def _in_vpc(self, *command: str, text: str = "") -> str:
        return await _run("nsenter", f"--net={NETNS_FOLDER / self.namespace}", *command, text=text)


def _hardware(interface: Interface) -> tuple[object, ...]:
    return (interface.netns, interface.device_index, interface.mac, interface.mtu)


async def _run(*command: str, text: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(text.encode())
    if process.returncode:
        raise Refused(" ".join(command), err.decode().strip())
    return out.decode()
