"""What a cloud has, in neutral words. Frozen values; no back-pointers, no ``extra``. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

from underlay.core.identity import InstanceId, InterfaceId, Mac, ReservationId, SubnetId

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class Kind(StrEnum):
    """What can be asked for and takes one place of an interface's limit: an address, or a prefix of many."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    IPV4_PREFIX = "ipv4Prefix"
    IPV6_PREFIX = "ipv6Prefix"

    @property
    def family(self) -> int:
        """4 or 6."""
        return 4 if self in (Kind.IPV4, Kind.IPV4_PREFIX) else 6

    @property
    def is_prefix(self) -> bool:
        """Asked for as a block."""
        return self in (Kind.IPV4_PREFIX, Kind.IPV6_PREFIX)

    @property
    def size(self) -> int:
        """Addresses that one of it gives to pods."""
        return {Kind.IPV4_PREFIX: 16, Kind.IPV6_PREFIX: SERVED_OF_IPV6_PREFIX}.get(self, 1)


SERVED_OF_IPV6_PREFIX = 1024
"""Pods get the first so many addresses of an IPv6 prefix: more than a node has pods, and few enough to list."""


def kind_of(item: IPAddress | IPNetwork) -> Kind:
    """What an address or a prefix is asked for as."""
    if isinstance(item, IPv4Network | IPv6Network):
        return Kind.IPV4_PREFIX if item.version == 4 else Kind.IPV6_PREFIX
    return Kind.IPV4 if item.version == 4 else Kind.IPV6


class InterfaceState(StrEnum):
    """``IN_USE`` is the only state in which an interface carries traffic."""

    AVAILABLE = "available"
    ATTACHING = "attaching"
    IN_USE = "in-use"
    DETACHING = "detaching"


class InstanceState(StrEnum):
    """``UNKNOWN`` is what a cloud says that Underlay has no word for: nothing is decided on it."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    GONE = "terminated"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInterface:
    """An interface and what is assigned to it.

    ``addresses`` are the secondary ones of both families; ``primary_address`` never is a pod's. ``device_index`` None:
    not attached; it counts per ``network_card``. ``ends_with_instance``: the cloud deletes it with its instance, or it
    is not attached. ``special``: a service of the cloud made it or runs it (a trunk,
    requester-managed), nobody else may change it. ``tags`` as the cloud returns them.
    """

    id: InterfaceId
    instance: InstanceId | None
    subnet: SubnetId
    mac: Mac
    primary: bool
    device_index: int | None
    network_card: int = 0
    state: InterfaceState
    ends_with_instance: bool = True
    special: bool = False
    primary_address: IPAddress
    addresses: frozenset[IPAddress] = frozenset()
    prefixes: frozenset[IPNetwork] = frozenset()
    security_groups: tuple[str, ...] = ()
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A machine and its interfaces, from one consistent read."""

    id: InstanceId
    type: str
    zone: str
    network: str
    state: InstanceState
    interfaces: tuple[NetworkInterface, ...]


class Egress(StrEnum):
    """Where IPv4 packets to the internet go from a subnet. Through ``INTERNET_GATEWAY`` only those of addresses that
    have a public one get anywhere; secondary addresses have none.
    """

    NONE = "none"
    NAT = "nat"
    INTERNET_GATEWAY = "internet-gateway"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """``free`` None: the cloud does not say. ``gateways``: one for each of ``cidrs``, None where only router
    advertisements tell it. ``egress`` None: not known.
    """

    id: SubnetId
    zone: str
    network: str
    cidrs: tuple[IPNetwork, ...]
    gateways: tuple[IPAddress | None, ...]
    free: int | None
    egress: Egress | None = None
    tags: Mapping[str, str]


class Use(StrEnum):
    """What a block of a subnet is kept for: whole prefixes, or addresses that are asked for by name."""

    PREFIX = "prefix"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A block out of which the cloud gives nothing of its own choice but, for ``PREFIX``, prefixes."""

    id: ReservationId
    subnet: SubnetId
    cidr: IPNetwork
    use: Use
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an instance type allows. Addresses per interface include the primary one; a prefix takes the place of an
    address.

    ``prefixes``: the type can have them. ``cards``: interfaces per network card, by the card's index; empty: one card
    that takes them all.
    """

    interfaces: int
    ipv4_per_interface: int
    ipv6_per_interface: int
    prefixes: bool = False
    cards: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudService:
    """A service of the cloud's own that every machine reaches at a fixed address, past all routing of the network.

    ``metadata`` answers to the machine's identity and hands out its credentials; ``pod-identity`` lives on the machine
    and hands out a pod's own.
    """

    address: IPAddress
    purpose: Literal["metadata", "dns", "time", "pod-identity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Which verbs a driver can carry out; numbers live in ``Limits``."""

    interfaces: bool
    addresses: bool
    prefixes: bool = False
    ipv6: bool = False
    move_address: bool = False
    security_groups: bool = False
    reservations: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who made an interface: the cluster (UID of namespace kube-system) and the node (UID of its Node object)."""

    cluster: str
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetQuery:
    """Subnets by id, or all of ``network`` and ``zone`` with all ``tags``."""

    ids: tuple[SubnetId, ...] = ()
    network: str = ""
    zone: str = ""
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceRequest:
    """An interface to make, attach and fill.

    ``wanted`` says how many of each kind, of the cloud's choice (at most one kind of a family); ``addresses`` are
    secondary ones by name. The same ``token`` makes a repeated call find the first's.
    """

    token: str
    instance: InstanceId
    device_index: int
    network_card: int = 0
    subnet: SubnetId
    security_groups: tuple[str, ...]
    wanted: Mapping[Kind, int]
    addresses: frozenset[IPAddress] = frozenset()
    owner: Owner
    description: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRequest:
    """``count`` of ``kind`` of the cloud's choice, or exactly ``addresses`` (single ones of one family).

    ``reassign``: take ``addresses`` from whichever interface of the subnet has them. Never do two have one at a time;
    where the cloud cannot move it in one step, there is a moment in which nobody has it.
    """

    kind: Kind = Kind.IPV4
    count: int = 0
    addresses: frozenset[IPAddress] = frozenset()
    reassign: bool = False
