"""What the VPC must contain for a set of attached interfaces, and the commands that lead from one set to the next.
Pure.

Every interface is a veth pair: one end in the VPC (``Interface.link``), the other in its instance. The VPC routes: a
host route and a permanent neighbour entry per assigned address, and one route per prefix through ``NEXT_HOP``, the
permanent neighbour that stands for the interface; so it never has to ask anyone. Only ``allowed`` senders get in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import product

import msgspec

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

GROUP = 77
"""Link group of the VPC's veth ends, so that all can be deleted by one request."""

ROUTER6 = IPv6Address("fe80:ec2::1")
"""The router of every subnet (AWS, "IPv6 subnet default gateway router multiple addresses", November 2022)."""
ROUTER_MAC = "0e:c2:00:00:00:01"
"""Of the VPC's end of every link: each is a network of its own."""
NEXT_HOP = IPv6Address("fe80:ec2::ffff")
"""On each link: the interface. Never on the wire."""

RULES = """\
table ip vpc {
  map unassigned_source { type ifname : counter; }
  map foreign_mac { type ifname : counter; }
  set own { type ifname . ether_addr; }
  set allowed { type ifname . ether_addr . ipv4_addr; flags interval; }
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
  set allowed { type ifname . ether_addr . ipv4_addr; flags interval; }
  chain ingress {
    type filter hook input priority 0; policy accept;
    iifname . arp saddr ether . arp saddr ip @allowed accept
    iifname . arp saddr ether @own arp saddr ip 0.0.0.0 drop
    iifname . arp saddr ether @own counter name iifname map @unassigned_source drop
    counter name iifname map @foreign_mac drop
    drop
  }
}
table ip6 vpc {
  map unassigned_source { type ifname : counter; }
  map foreign_mac { type ifname : counter; }
  set own { type ifname . ether_addr; }
  set allowed { type ifname . ether_addr . ipv6_addr; flags interval; }
  chain ingress {
    type filter hook prerouting priority raw; policy accept;
    iifname "lo" accept
    ip6 daddr ff00::/8 drop
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert, nd-redirect } drop
    iifname . ether saddr . ip6 saddr @allowed accept
    iifname . ether saddr @own ip6 saddr { ::, fe80::/10 } drop
    iifname . ether saddr @own counter name iifname map @unassigned_source drop
    counter name iifname map @foreign_mac drop
    drop
  }
  chain egress {
    type filter hook output priority 0; policy accept;
    oifname "lo" accept
    ip6 daddr ff00::/8 drop
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert, nd-redirect } drop
  }
}
"""
"""The whole filter; links come and go as set elements.

A probe (sender 0.0.0.0) is normal and gets no answer: nothing to count. So are what IPv6 sends to groups and from
link-local addresses: nothing of it is delivered. Solicitations are answered by ``neighbours``, past the filter.
"""

TABLES = ("ip vpc", "arp vpc", "ip6 vpc")
REASONS = ("unassigned_source", "foreign_mac")


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """One attached interface as the simulator describes it. ``netns`` is the path of its instance's network
    namespace. Addresses in ``prefixes`` are not among the single ones.
    """

    instance: str
    netns: str
    device_index: int
    mac: str
    subnet_cidr: IPv4Network
    gateway: IPv4Address
    addresses: tuple[IPv4Address, ...]
    prefixes: tuple[IPv4Network, ...] = ()
    subnet_cidr6: IPv6Network | None = None
    addresses6: tuple[IPv6Address, ...] = ()
    prefixes6: tuple[IPv6Network, ...] = ()
    mtu: int = 9001

    @property
    def gateways(self) -> tuple[Address, ...]:
        """The router's addresses in the subnet. Of IPv6 it has the first, beside ``ROUTER6``."""
        return (self.gateway, *((self.subnet_cidr6[1],) if self.subnet_cidr6 else ()))

    @property
    def singles(self) -> tuple[Address, ...]:
        return (*self.addresses, *self.addresses6)

    @property
    def blocks(self) -> tuple[Network, ...]:
        return (*self.prefixes, *self.prefixes6)

    def has(self, address: Address) -> bool:
        """Whether the address is assigned to this interface, singly or in a prefix."""
        return address in self.singles or any(address in block for block in self.blocks)

    @property
    def link(self) -> str:
        """Name inside the instance; a guest that numbers PCI slots from 5, as Nitro instances do."""
        return f"ens{5 + self.device_index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A frame source that may enter the VPC by ``link``: one address, or all of a prefix."""

    link: str
    mac: str
    address: Address | Network

    @property
    def host_network(self) -> str:
        """As ``ip`` and ``nft`` write where it is delivered."""
        if isinstance(self.address, IPv4Network | IPv6Network):
            return str(self.address)
        return f"{self.address}/{self.address.max_prefixlen}"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The contents of the VPC. ``links``: its ends of the interfaces. ``own``: (link, MAC) that belong together.

    ``owners``: where each address is delivered, and the only source it may come from; ``blocks`` the same for prefixes,
    where a single address in one goes before it. ``subnets6``: the IPv6 subnet of a link that has one.
    """

    links: frozenset[str]
    own: frozenset[tuple[str, str]]
    owners: Mapping[Address, Sender]
    blocks: Mapping[Network, Sender]
    gateways: frozenset[Address]
    subnets6: Mapping[str, IPv6Network]

    def owner(self, address: Address) -> Sender | None:
        """Where an address is delivered."""
        if address in self.owners:
            return self.owners[address]
        return next((sender for block, sender in self.blocks.items() if address in block), None)


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


def view(interfaces: Mapping[str, Interface], macs: Mapping[str, Mapping[Address, str]]) -> View:
    """``macs``: per interface, addresses whose sender has a MAC of its own (macvlan), in place of the interface's."""
    owners: dict[Address, Sender] = {}
    blocks: dict[Network, Sender] = {}
    for eni, interface in interfaces.items():
        link, own = vpc_link(eni), macs.get(eni, {})
        told = [address for address, mac in own.items() if interface.has(address) and mac != interface.mac]
        for address in dict.fromkeys((*interface.singles, *told)):
            owners[address] = Sender(link=link, mac=own.get(address, interface.mac), address=address)
        for block in interface.blocks:
            blocks[block] = Sender(link=link, mac=interface.mac, address=block)
    return View(
        links=frozenset(map(vpc_link, interfaces)),
        own=frozenset((vpc_link(eni), interface.mac) for eni, interface in interfaces.items())
        | frozenset((sender.link, sender.mac) for sender in owners.values()),
        owners=owners,
        blocks=blocks,
        gateways=frozenset(gateway for interface in interfaces.values() for gateway in interface.gateways),
        subnets6={vpc_link(eni): item.subnet_cidr6 for eni, item in interfaces.items() if item.subnet_cidr6},
    )


def without(interface: Interface, taker: Interface) -> Interface:
    """The interface after what ``taker`` has went there."""
    singles, blocks = frozenset(taker.singles), frozenset(taker.blocks)
    return msgspec.structs.replace(
        interface,
        addresses=tuple(a for a in interface.addresses if a not in singles),
        addresses6=tuple(a for a in interface.addresses6 if a not in singles),
        prefixes=tuple(p for p in interface.prefixes if p not in blocks),
        prefixes6=tuple(p for p in interface.prefixes6 if p not in blocks),
    )


def difference(before: View, after: View) -> Commands:
    """Commands that turn ``before`` into ``after``. Links must be made before and are removed after them."""
    was = {sender.address: sender for sender in (*before.owners.values(), *before.blocks.values())}
    now = {sender.address: sender for sender in (*after.owners.values(), *after.blocks.values())}
    gone = [sender for key, sender in was.items() if now.get(key) != sender]
    new = [sender for key, sender in now.items() if was.get(key) != sender]
    moved = {sender.address for sender in new}
    forget = [f"address del {_single(gateway)} dev lo" for gateway in before.gateways - after.gateways]
    for sender in gone:
        if sender.address in before.owners:
            forget.append(f"neigh del {sender.address} dev {sender.link}")
        if sender.address not in moved:
            forget.append(f"route del {sender.host_network} dev {sender.link}")
    learn = [f"address replace {_single(gateway)} dev lo" for gateway in after.gateways - before.gateways]
    for sender in new:
        if sender.address in after.owners:
            learn.append(f"neigh replace {sender.address} lladdr {sender.mac} dev {sender.link} nud permanent")
            learn.append(f"route replace {sender.host_network} dev {sender.link}")
        else:
            learn.append(f"route replace {sender.host_network} via inet6 {NEXT_HOP} dev {sender.link}")
    return Commands(forget=tuple(forget), learn=tuple(learn), filter=tuple(_filter(before, after, gone, new)))


def _filter(before: View, after: View, gone: list[Sender], new: list[Sender]) -> Iterable[str]:
    for table in TABLES:
        yield from (f'delete element {table} own {{ "{link}" . {mac} }}' for link, mac in before.own - after.own)
        yield from (f"delete element {table} allowed {{ {_element(o)} }}" for o in gone if _concerns(table, o))
        for link, reason in product(before.links - after.links, REASONS):
            yield f'delete element {table} {reason} {{ "{link}" }}'
            yield f"delete counter {table} {counter(link, reason)}"
        for link, reason in product(after.links - before.links, REASONS):
            yield f"add counter {table} {counter(link, reason)}"
            yield f'add element {table} {reason} {{ "{link}" : "{counter(link, reason)}" }}'
        yield from (f'add element {table} own {{ "{link}" . {mac} }}' for link, mac in after.own - before.own)
        yield from (f"add element {table} allowed {{ {_element(o)} }}" for o in new if _concerns(table, o))


def _concerns(table: str, sender: Sender) -> bool:
    return (sender.address.version == 6) == (table == "ip6 vpc")


def _single(address: Address) -> str:
    return f"{address}/{address.max_prefixlen}"


def counter(link: str, reason: str) -> str:
    """Name of the counter of frames from ``link`` dropped for ``reason``; nft names begin with a letter and may hold
    ``-``.
    """
    return f"{reason}-{link}"


def _element(sender: Sender) -> str:
    return f'"{sender.link}" . {sender.mac} . {sender.address}'
