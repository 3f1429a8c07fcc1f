"""Kernel objects as frozen values. Pure.

The same types say what is wished (``plan``) and what is there (``netlink.observe``), so a difference is a comparison.
They are msgspec Structs because a pod's ADD makes a few dozen of them: a frozen dataclass costs ten times as much.
Links are named, not numbered, everywhere but in ``Link`` itself; ``wire`` knows the numbers when it encodes.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Literal

import msgspec

from underlay.core.identity import Mac

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network

OUR_GROUP = 0x756E
"""Link group of every link we make, in the host and in pods: the mark of ownership, matched by the host's nft rule."""
DOOMED_GROUP = 0x756F
"""Links are moved here to be removed in one request: the kernel waits for RCU once per request, not per link."""

TABLE_MAIN = 254
TABLE_HOST_TO_PODS = 500
"""Host: one route per pod address. Spiderpool's number."""
TABLE_VETH_REPLIES = 100
"""Pod: default through veth0, for replies to what came through veth0. Spiderpool's number."""
RULE_PRIORITY = 1000
VETH_MARK = 0x1
"""Pod: connection mark and packet mark of what came through veth0. Spiderpool's number."""
POD_VETH = "veth0"

PROTO_BOOT = 3
"""What ``ip route`` uses, so that our routes list as anyone's."""

SlaveKind = Literal["ipvlan", "macvlan"]
LinkKind = Literal["ipvlan", "macvlan", "veth", ""]
Scope = Literal["global", "link"]


class Peer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The other end of a veth, in the host's namespace; made together with the first end."""

    name: str
    index: int
    mac: Mac


class Link(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A network interface. ``index`` is chosen by us at creation, so nothing has to be looked up afterwards.

    ``master`` is the index of a slave's master, in the host's namespace. ``mac`` None: ipvlan has its master's.
    A link with ``peer`` brings a second link into the host's namespace; that one carries ``made_with_peer`` and is not
    created by itself.
    """

    name: str
    index: int
    kind: LinkKind = ""
    mac: Mac | None = None
    mtu: int | None = None
    up: bool = True
    group: int = OUR_GROUP
    master: int = 0
    peer: Peer | None = None
    made_with_peer: bool = False


class Addr(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An address on a link, with its prefix length."""

    link: str
    address: IPInterface


class Route(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``on_link``: the gateway is a neighbour although no address of the link covers it.

    ``protocol``: who made it (RTPROT_*); the kernel removes a route only for one who knows.
    """

    link: str
    to: IPNetwork
    via: IPAddress | None = None
    source: IPAddress | None = None
    table: int = TABLE_MAIN
    scope: Scope = "global"
    on_link: bool = False
    replace: bool = False
    protocol: int = PROTO_BOOT


class Rule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A routing policy rule. ``mark`` 0 matches everything."""

    family: Literal[4, 6]
    priority: int
    table: int
    mark: int = 0


class Neigh(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A permanent neighbour entry."""

    link: str
    address: IPAddress
    mac: Mac


class Sysctl(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``net.<protocol>.conf.<link>.<key>``; ``link`` may be ``all`` or ``default``.

    Those of IPv4 on one link travel in the netlink batch; all others are files under /proc/sys.
    """

    protocol: Literal["ipv4", "ipv6"]
    link: str
    key: str
    value: int


class NftTable(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A whole constant table of ours, told apart by its name (see ``nft``)."""

    name: str


class Namespace(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one network namespace holds or shall hold, each kind in the order in which it is to be made."""

    sysctls: tuple[Sysctl, ...] = ()
    links: tuple[Link, ...] = ()
    addrs: tuple[Addr, ...] = ()
    neighs: tuple[Neigh, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    nft: tuple[NftTable, ...] = ()


EMPTY = Namespace()
