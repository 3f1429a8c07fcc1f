"""What the host needs beside the pods: once for all of them, and per master. In a thread of ``namespaces``."""

import errno
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from underlay.cni.datapath import coordinator, netlink, nft
from underlay.cni.datapath.channel import Channel
from underlay.cni.datapath.errors import KernelRefused, MasterMissing
from underlay.cni.datapath.model import IPAddress, Link, Sysctl
from underlay.cni.datapath.namespaces import write_sysctl
from underlay.cni.datapath.plan import Create, SetUp
from underlay.cni.datapath.wire import encode

_SILENT: tuple[tuple[Literal["ipv4", "ipv6"], str, int], ...] = (
    ("ipv6", "accept_ra", 0),  # no router gives the host an address there
    ("ipv4", "arp_ignore", 1),  # it does not answer for the addresses of other interfaces
    ("ipv4", "arp_announce", 2),  # nor names them when it asks
)


def prepare_host(host: Channel) -> None:
    """The nft table, the rules that lead to table 500, forwarding. Doing it again changes nothing."""
    nft.install_host_table()
    for failure in host.apply(encode([Create(rule) for rule in coordinator.HOST_RULES], indexes={})):
        if failure.errno != errno.EAFNOSUPPORT:  # a kernel without IPv6
            rule = coordinator.HOST_RULES[failure.position]
            raise KernelRefused(failure.errno, f"create {rule}", failure.reason)
    # Written only if need be: the kernel resets other settings with it.
    if Path("/proc/sys/net/ipv4/conf/all/forwarding").read_text().strip() == "0":
        write_sysctl(Sysctl(protocol="ipv4", link="all", key="forwarding", value=1))


def prepare_master(host: Channel, name: str, node_addresses: Collection[IPAddress]) -> None:
    """Up; and silent for the host itself, unless it has one of ``node_addresses``. No address is touched."""
    found = next((link for link in netlink.host_links() if link.name == name), None)
    if found is None:
        raise MasterMissing(name)
    if not any(address.ip in node_addresses for address in found.addresses):
        for protocol, key, value in _SILENT:
            write_sysctl(Sysctl(protocol=protocol, link=name, key=key, value=value))
    if not found.up:
        for failure in host.apply(encode([SetUp(Link(name=name, index=found.index))], indexes={name: found.index})):
            raise KernelRefused(failure.errno, f"set master {name} up", failure.reason)
