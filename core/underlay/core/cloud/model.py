"""What a cloud has, in neutral words. Frozen values; no back-pointers, no ``extra``. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from underlay.core.identity import InstanceId, InterfaceId, Mac, SubnetId

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


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

    ``addresses`` are the secondary ones; ``primary_address`` never is a pod's. ``device_index`` None: not attached.
    ``tags`` as the cloud returns them.
    """

    id: InterfaceId
    instance: InstanceId | None
    subnet: SubnetId
    mac: Mac
    primary: bool
    device_index: int | None
    state: InterfaceState
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """``free`` None: the cloud does not say. ``gateways`` per family as the cloud routes (AWS: first host address)."""

    id: SubnetId
    zone: str
    network: str
    cidrs: tuple[IPNetwork, ...]
    gateways: tuple[IPAddress, ...]
    free: int | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an instance type allows. Addresses per interface include the primary one."""

    interfaces: int
    ipv4_per_interface: int
    ipv6_per_interface: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Which verbs a driver can carry out; numbers live in ``Limits``."""

    interfaces: bool
    addresses: bool
    prefixes: bool = False
    ipv6: bool = False
    move_address: bool = False


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
    """An interface to make, attach and fill with ``count`` secondary addresses.

    The same ``token`` makes a repeated call find the first's.
    """

    token: str
    instance: InstanceId
    device_index: int
    subnet: SubnetId
    security_groups: tuple[str, ...]
    count: int
    owner: Owner
    description: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRequest:
    """``count`` addresses of the cloud's choice, or exactly ``addresses``."""

    count: int = 0
    addresses: frozenset[IPAddress] = frozenset()
    reassign: bool = False
