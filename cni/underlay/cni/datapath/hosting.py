"""What the host needs beside the pods: once for all of them, and per master. In a thread of ``namespaces``."""

import contextlib
import errno
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from underlay.cni.datapath import coordinator, egress, netlink, nft, withholding
from underlay.cni.datapath.channel import Channel
from underlay.cni.datapath.errors import KernelRefused, MasterMissing
from underlay.cni.datapath.model import IPAddress, Link, Sysctl
from underlay.cni.datapath.namespaces import write_sysctl
from underlay.cni.datapath.plan import Create, Remove, SetUp
from underlay.cni.datapath.wire import encode

_IPV6 = Path("/proc/sys/net/ipv6/conf")

_SILENT: tuple[tuple[Literal["ipv4", "ipv6"], str, int], ...] = (
    ("ipv6", "accept_ra", 0),  # no router gives the host an address there
    ("ipv4", "arp_ignore", 1),  # it does not answer for the addresses of other interfaces
    ("ipv4", "arp_announce", 2),  # nor names them when it asks
)


def prepare_host(host: Channel) -> None:
    """The rules that lead to table 500, forwarding. Doing it again changes nothing."""
    for failure in host.apply(encode([Create(rule) for rule in coordinator.HOST_RULES], indexes={})):
        if failure.errno != errno.EAFNOSUPPORT:  # a kernel without IPv6
            rule = coordinator.HOST_RULES[failure.position]
            raise KernelRefused(failure.errno, f"create {rule}", failure.reason)
    # Written only if need be: the kernel resets other settings with it.
    if Path("/proc/sys/net/ipv4/conf/all/forwarding").read_text().strip() == "0":
        write_sysctl(Sysctl(protocol="ipv4", link="all", key="forwarding", value=1))


def forward_ipv6() -> None:
    """Let the host forward IPv6, and go on to hear the routers it has heard so far.

    A link with ``accept_ra`` 1 hears no router any more once it forwards, and the kernel removes the default route it
    had learnt: such a link gets 2, which means to hear them all the same (Documentation/networking/ip-sysctl). What
    listens by itself, as systemd-networkd does, has set 0 and is not concerned.
    """
    if _ipv6("all", "forwarding") in ("1", ""):
        return
    for link in sorted(folder.name for folder in _IPV6.iterdir()):
        if link not in ("all", "default", "lo") and _ipv6(link, "accept_ra") == "1":
            write_sysctl(Sysctl(protocol="ipv6", link=link, key="accept_ra", value=2))
    write_sysctl(Sysctl(protocol="ipv6", link="all", key="forwarding", value=1))


def _ipv6(link: str, key: str) -> str:
    """A setting; empty without IPv6, or without the link by now."""
    try:
        return (_IPV6 / link / key).read_text().strip()
    except FileNotFoundError:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """What was put into the ruleset; and the masters on which neither nft nor tc can filter, each with the reason."""

    handles: nft.Handles
    unfiltered: Mapping[str, str]


def withhold(host: Channel, services: Collection[IPAddress], masters: Collection[str], mark: int) -> Withheld:
    """Keep pods from ``services`` on every way, and from nothing else; what is not there of ``masters`` is left out.

    Doing it again changes nothing.
    """
    there = {link.name: link.index for link in netlink.host_links() if link.name in masters}
    if not services:
        _give_back(host, there.values())
        return Withheld(handles=frozenset(), unfiltered={})
    through = withholding.through_host(services, there, mark)
    try:
        return Withheld(handles=nft.change(through + withholding.past_host(services, there, mark)), unfiltered={})
    except KernelRefused as refused:
        handles = nft.change(through)
        failures = {name: egress.install(host, index, services, mark) for name, index in there.items()}
        unfiltered = {
            name: f"nft: {refused.reason}; tc: {failure.reason or os.strerror(failure.errno)}"
            for name, failure in failures.items()
            if failure is not None
        }
        return Withheld(handles=handles, unfiltered=unfiltered)


def _give_back(host: Channel, masters: Iterable[int]) -> None:
    nft.change(withholding.nothing("inet"))
    with contextlib.suppress(KernelRefused):  # a kernel without the netdev family
        nft.change(withholding.nothing("netdev"))
    for index in masters:
        egress.remove(host, index)


def prepare_master(host: Channel, name: str, node_addresses: Collection[IPAddress]) -> None:
    """Up; and silent for the host itself, unless it has one of ``node_addresses``. No address is touched.

    Routes that a router has announced there go: the host would send by them, from an address that is not the link's.
    """
    found = next((link for link in netlink.host_links() if link.name == name), None)
    if found is None:
        raise MasterMissing(name)
    if not any(address.ip in node_addresses for address in found.addresses):
        for protocol, key, value in _SILENT:
            write_sysctl(Sysctl(protocol=protocol, link=name, key=key, value=value))
        announced = netlink.announced_routes(name)
        host.apply(encode([Remove(route) for route in announced], indexes={name: found.index}))
    if not found.up:
        for failure in host.apply(encode([SetUp(Link(name=name, index=found.index))], indexes={name: found.index})):
            raise KernelRefused(failure.errno, f"set master {name} up", failure.reason)
