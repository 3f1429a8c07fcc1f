"""What the VPC must contain for a set of attached interfaces, and the commands that lead from one set to the next.
Pure.

Every interface is a veth pair: one end in the VPC (``Interface.link``), the other in its instance. The VPC routes: a
/32 route and a permanent neighbour entry per assigned address, so that it never has to ask anyone. Only ``allowed``
senders get in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

import msgspec

GROUP = 77
"""Link group of the VPC's veth ends, so that all can be deleted by one request."""

RULES = """\
table ip vpc {
  map unassigned_source { type ifname : counter; }
  map foreign_mac { type ifname : counter; }
  set own { type ifname . ether_addr; }
  set allowed { type ifname . ether_addr . ipv4_addr; }
  chain ingress {
    type filter hook prerouting priority raw; policy accept;
    iifname "lo" accept
    iifname . ether saddr . ip saddr @allowed accept
    iifname . ether saddr @own counter name iifname map @unassigned_source drop
    counter name iifname map @foreign_mac drop
    drop
  }
}
table arp vpc {
  map unassigned_source { type ifname : counter; }
  map foreign_mac { type ifname : counter; }
  set own { type ifname . ether_addr; }
  set allowed { type ifname . ether_addr . ipv4_addr; }
  chain ingress {
    type filter hook input priority 0; policy accept;
    iifname . arp saddr ether . arp saddr ip @allowed accept
    iifname . arp saddr ether @own arp saddr ip 0.0.0.0 drop
    iifname . arp saddr ether @own counter name iifname map @unassigned_source drop
    counter name iifname map @foreign_mac drop
    drop
  }
}
"""
"""The whole filter; links come and go as set elements. A probe (sender 0.0.0.0) is normal and gets no answer: nothing
to count.
"""

TABLES = ("ip vpc", "arp vpc")
REASONS = ("unassigned_source", "foreign_mac")


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """One attached interface as the simulator describes it. ``netns`` is the path of its instance's network
    namespace.
    """

    instance: str
    netns: str
    device_index: int
    mac: str
    subnet_cidr: IPv4Network
    gateway: IPv4Address
    addresses: tuple[IPv4Address, ...]
    mtu: int = 9001

    @property
    def link(self) -> str:
        """Name inside the instance; a guest that numbers PCI slots from 5, as Nitro instances do."""
        return f"ens{5 + self.device_index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A frame source that may enter the VPC by ``link``."""

    link: str
    mac: str
    address: IPv4Address


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The contents of the VPC. ``links``: its ends of the interfaces. ``own``: (link, MAC) that belong together.

    ``owners``: where each address is delivered, and the only source it may come from.
    """

    links: frozenset[str]
    own: frozenset[tuple[str, str]]
    owners: Mapping[IPv4Address, Sender]
    gateways: frozenset[IPv4Address]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Lines for ``ip -batch`` and ``nft -f``. ``forget`` may fail: a link that vanished with its instance took its
    routes along.
    """

    forget: tuple[str, ...]
    learn: tuple[str, ...]
    filter: tuple[str, ...]


def vpc_link(eni: str) -> str:
    """The VPC's end of an interface: the last 12 characters of its id, since a link's name has at most 15."""
    return "v-" + eni.removeprefix("eni-")[-12:]


def view(interfaces: Mapping[str, Interface], macs: Mapping[str, Mapping[IPv4Address, str]]) -> View:
    """``macs``: per interface, addresses whose sender has a MAC of its own (macvlan), in place of the interface's."""
    owners = {
        address: Sender(link=vpc_link(eni), mac=macs.get(eni, {}).get(address, interface.mac), address=address)
        for eni, interface in interfaces.items()
        for address in interface.addresses
    }
    return View(
        links=frozenset(map(vpc_link, interfaces)),
        own=frozenset((vpc_link(eni), interface.mac) for eni, interface in interfaces.items())
        | frozenset((sender.link, sender.mac) for sender in owners.values()),
        owners=owners,
        gateways=frozenset(interface.gateway for interface in interfaces.values()),
    )


def without(interface: Interface, addresses: Iterable[IPv4Address]) -> Interface:
    """The interface after ``addresses`` went to another one."""
    gone = frozenset(addresses)
    return msgspec.structs.replace(interface, addresses=tuple(a for a in interface.addresses if a not in gone))


def difference(before: View, after: View) -> Commands:
    """Commands that turn ``before`` into ``after``. Links must be made before and are removed after them."""
    gone = [sender for address, sender in before.owners.items() if after.owners.get(address) != sender]
    new = [sender for address, sender in after.owners.items() if before.owners.get(address) != sender]
    moved = {sender.address for sender in new}
    forget = [f"address del {gateway}/32 dev lo" for gateway in sorted(before.gateways - after.gateways)]
    for sender in gone:
        forget.append(f"neigh del {sender.address} dev {sender.link}")
        if sender.address not in moved:
            forget.append(f"route del {sender.address}/32 dev {sender.link}")
    learn = [f"address replace {gateway}/32 dev lo" for gateway in sorted(after.gateways - before.gateways)]
    for sender in new:
        learn.append(f"neigh replace {sender.address} lladdr {sender.mac} dev {sender.link} nud permanent")
        learn.append(f"route replace {sender.address}/32 dev {sender.link}")
    return Commands(forget=tuple(forget), learn=tuple(learn), filter=tuple(_filter(before, after, gone, new)))


def _filter(before: View, after: View, gone: list[Sender], new: list[Sender]) -> Iterable[str]:
    for table in TABLES:
        for link, mac in before.own - after.own:
            yield f'delete element {table} own {{ "{link}" . {mac} }}'
        for sender in gone:
            yield f"delete element {table} allowed {{ {_element(sender)} }}"
        for link in before.links - after.links:
            for reason in REASONS:
                yield f'delete element {table} {reason} {{ "{link}" }}'
                yield f"delete counter {table} {counter(link, reason)}"
        for link in after.links - before.links:
            for reason in REASONS:
                yield f"add counter {table} {counter(link, reason)}"
                yield f'add element {table} {reason} {{ "{link}" : "{counter(link, reason)}" }}'
        for link, mac in after.own - before.own:
            yield f'add element {table} own {{ "{link}" . {mac} }}'
        for sender in new:
            yield f"add element {table} allowed {{ {_element(sender)} }}"


def counter(link: str, reason: str) -> str:
    """Name of the counter of frames from ``link`` dropped for ``reason``; nft names begin with a letter and may hold
    ``-``.
    """
    return f"{reason}-{link}"


def _element(sender: Sender) -> str:
    return f'"{sender.link}" . {sender.mac} . {sender.address}'
