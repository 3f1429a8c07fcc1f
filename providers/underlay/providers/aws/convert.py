"""EC2's replies as values. Pure.

The Structs name the fields that are read; a reply that lacks one is refused with the field's path (``msgspec``), not
guessed.
"""

from ipaddress import IPv4Address, IPv4Network
from typing import Any, TypeVar

import msgspec

from underlay.core.cloud.model import (
    Instance,
    InstanceState,
    InterfaceState,
    Limits,
    NetworkInterface,
    Subnet,
)
from underlay.core.identity import InstanceId, InterfaceId, Mac, SubnetId

R = TypeVar("R", bound=msgspec.Struct)

_ATTACHMENT = {
    "attaching": InterfaceState.ATTACHING,
    "attached": InterfaceState.IN_USE,
    "detaching": InterfaceState.DETACHING,
    "detached": InterfaceState.AVAILABLE,
}
_INSTANCE = {
    "pending": InstanceState.PENDING,
    "running": InstanceState.RUNNING,
    "stopping": InstanceState.STOPPING,
    "shutting-down": InstanceState.STOPPING,
    "stopped": InstanceState.STOPPED,
    "terminated": InstanceState.GONE,
}


class _Reply(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A part of a reply; fields not named are ignored."""


class _Tag(_Reply, frozen=True, kw_only=True):
    key: str
    value: str = ""


class _PrivateAddress(_Reply, frozen=True, kw_only=True):
    private_ip_address: IPv4Address
    primary: bool = False


class _Prefix(_Reply, frozen=True, kw_only=True):
    ipv4_prefix: IPv4Network


class _Group(_Reply, frozen=True, kw_only=True):
    group_id: str


class EniAttachment(_Reply, frozen=True, kw_only=True):
    """NetworkInterfaceAttachment."""

    attachment_id: str
    device_index: int
    instance_id: str = ""
    network_card_index: int = 0
    status: str = "attached"
    delete_on_termination: bool = False


class Eni(_Reply, frozen=True, kw_only=True):
    """NetworkInterface."""

    network_interface_id: str
    subnet_id: str
    mac_address: str
    private_ip_address: IPv4Address
    private_ip_addresses: list[_PrivateAddress] = []
    ipv4_prefixes: list[_Prefix] = []
    groups: list[_Group] = []
    tag_set: list[_Tag] = []
    attachment: EniAttachment | None = None


class _State(_Reply, frozen=True, kw_only=True):
    name: str


class _Placement(_Reply, frozen=True, kw_only=True):
    availability_zone: str


class Machine(_Reply, frozen=True, kw_only=True):
    """Instance."""

    instance_id: str
    instance_type: str
    state: _State
    placement: _Placement
    vpc_id: str = ""


class SubnetReply(_Reply, frozen=True, kw_only=True):
    """Subnet."""

    subnet_id: str
    vpc_id: str
    availability_zone: str
    cidr_block: IPv4Network
    available_ip_address_count: int
    tags: list[_Tag] = []


class _Card(_Reply, frozen=True, kw_only=True):
    network_card_index: int
    maximum_network_interfaces: int


class _NetworkInfo(_Reply, frozen=True, kw_only=True):
    maximum_network_interfaces: int
    ipv4_addresses_per_interface: int
    ipv6_addresses_per_interface: int = 0
    default_network_card_index: int = 0
    network_cards: list[_Card] = []


class TypeReply(_Reply, frozen=True, kw_only=True):
    """InstanceTypeInfo."""

    instance_type: str
    network_info: _NetworkInfo


class Nothing(_Reply, frozen=True, kw_only=True):
    """A reply of which nothing is read."""


class CreateReply(_Reply, frozen=True, kw_only=True):
    """CreateNetworkInterface."""

    network_interface: Eni


class AssignReply(_Reply, frozen=True, kw_only=True):
    """AssignPrivateIpAddresses."""

    assigned_private_ip_addresses: list[_PrivateAddress]


class TypesReply(_Reply, frozen=True, kw_only=True):
    """DescribeInstanceTypes."""

    instance_types: list[TypeReply]


class Page(_Reply, frozen=True, kw_only=True):
    """What every paged reply has besides its items."""

    next_token: str = ""


class EniPage(Page, frozen=True, kw_only=True):
    """DescribeNetworkInterfaces."""

    network_interfaces: list[Eni]


class SubnetPage(Page, frozen=True, kw_only=True):
    """DescribeSubnets."""

    subnets: list[SubnetReply]


class Reservation(_Reply, frozen=True, kw_only=True):
    """Instances started together."""

    instances: list[Machine]


class ReservationPage(Page, frozen=True, kw_only=True):
    """DescribeInstances."""

    reservations: list[Reservation]


def parse(reply: object, kind: type[R]) -> R:
    """``reply`` of the SDK as ``kind``. Raises ``msgspec.ValidationError`` naming the path of what is missing or
    wrong.
    """
    return msgspec.convert(reply, kind, dec_hook=_network_value)


def interface(eni: Eni) -> NetworkInterface:
    """The secondary addresses are those not marked primary."""
    attachment = eni.attachment
    return NetworkInterface(
        id=InterfaceId(eni.network_interface_id),
        instance=InstanceId(attachment.instance_id) if attachment and attachment.instance_id else None,
        subnet=SubnetId(eni.subnet_id),
        mac=Mac(eni.mac_address.lower()),
        # Each network card has a device index 0 of its own; the instance's first interface is that of card 0.
        primary=attachment is not None and attachment.device_index == 0 and attachment.network_card_index == 0,
        device_index=attachment.device_index if attachment else None,
        state=state(eni),
        primary_address=eni.private_ip_address,
        addresses=frozenset(item.private_ip_address for item in eni.private_ip_addresses if not item.primary),
        prefixes=frozenset(item.ipv4_prefix for item in eni.ipv4_prefixes),
        security_groups=tuple(group.group_id for group in eni.groups),
        tags={tag.key: tag.value for tag in eni.tag_set},
    )


def state(eni: Eni) -> InterfaceState:
    """By the attachment: EC2 calls an interface in-use as soon as attaching begins. An unknown word is a change under
    way.
    """
    if eni.attachment is None:
        return InterfaceState.AVAILABLE
    return _ATTACHMENT.get(eni.attachment.status, InterfaceState.ATTACHING)


def instance(machine: Machine, enis: list[Eni]) -> Instance:
    """A machine with its interfaces, lowest device index first."""
    interfaces = [interface(eni) for eni in enis]
    return Instance(
        id=InstanceId(machine.instance_id),
        type=machine.instance_type,
        zone=machine.placement.availability_zone,
        network=machine.vpc_id,
        state=_INSTANCE.get(machine.state.name, InstanceState.UNKNOWN),
        interfaces=tuple(sorted(interfaces, key=lambda item: (item.device_index or 0, item.id))),
    )


def subnet(reply: SubnetReply) -> Subnet:
    """The gateway is the first host address of the block (VPC User Guide, "Subnet CIDR reserved addresses")."""
    return Subnet(
        id=SubnetId(reply.subnet_id),
        zone=reply.availability_zone,
        network=reply.vpc_id,
        cidrs=(reply.cidr_block,),
        gateways=(reply.cidr_block.network_address + 1,),
        free=reply.available_ip_address_count,
        tags={tag.key: tag.value for tag in reply.tags},
    )


def limits(reply: TypeReply) -> Limits:
    """Interfaces are attached to the default network card only, so it is that card's number that counts."""
    network = reply.network_info
    cards = {card.network_card_index: card.maximum_network_interfaces for card in network.network_cards}
    return Limits(
        interfaces=cards.get(network.default_network_card_index, network.maximum_network_interfaces),
        ipv4_per_interface=network.ipv4_addresses_per_interface,
        ipv6_per_interface=network.ipv6_addresses_per_interface,
    )


def _network_value(kind: type, value: Any) -> Any:  # noqa: ANN401 (the hook's type)
    if kind in (IPv4Address, IPv4Network):
        return kind(value)
    raise NotImplementedError(kind)
