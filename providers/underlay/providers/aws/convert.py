"""EC2's replies as values. Pure.

The Structs name the fields that are read; a reply that lacks one is refused with the field's path (``msgspec``), not
guessed.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, TypeVar

import msgspec

from underlay.core.cloud.model import (
    Instance,
    InstanceState,
    InterfaceState,
    IPAddress,
    IPNetwork,
    Limits,
    NetworkInterface,
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


_ORDINARY = frozenset({"interface", "efa"})
"""Interface types that a user makes and changes; every other is made or run by a service of AWS."""
HANDS_OFF = ("node.k8s.amazonaws.com/no_manage", "true")
"""The tag by which EKS's own tools, too, leave an interface alone."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A part of a reply; fields not named are ignored."""


class Tag(Reply, frozen=True, kw_only=True):
    """Tag."""

    key: str
    value: str = ""


class _PrivateAddress(Reply, frozen=True, kw_only=True):
    private_ip_address: IPv4Address
    primary: bool = False


class _Prefix(Reply, frozen=True, kw_only=True):
    ipv4_prefix: IPv4Network


class _Ipv6Address(Reply, frozen=True, kw_only=True):
    ipv6_address: IPv6Address
    is_primary_ipv6: bool = False


class _Ipv6Prefix(Reply, frozen=True, kw_only=True):
    ipv6_prefix: IPv6Network


class _Group(Reply, frozen=True, kw_only=True):
    group_id: str


class EniAttachment(Reply, frozen=True, kw_only=True):
    """NetworkInterfaceAttachment."""

    attachment_id: str
    device_index: int
    instance_id: str = ""
    instance_owner_id: str = ""
    network_card_index: int = 0
    status: str = "attached"
    delete_on_termination: bool = False


class _Operator(Reply, frozen=True, kw_only=True):
    managed: bool = False


class Eni(Reply, frozen=True, kw_only=True):
    """NetworkInterface."""

    network_interface_id: str
    subnet_id: str
    mac_address: str
    owner_id: str = ""
    interface_type: str = "interface"
    requester_managed: bool = False
    operator: _Operator = _Operator()
    private_ip_address: IPv4Address | None = None
    private_ip_addresses: list[_PrivateAddress] = []
    ipv4_prefixes: list[_Prefix] = []
    ipv6_addresses: list[_Ipv6Address] = []
    ipv6_prefixes: list[_Ipv6Prefix] = []
    groups: list[_Group] = []
    tag_set: list[Tag] = []
    attachment: EniAttachment | None = None


class _State(Reply, frozen=True, kw_only=True):
    name: str


class _Placement(Reply, frozen=True, kw_only=True):
    availability_zone: str


class Machine(Reply, frozen=True, kw_only=True):
    """Instance."""

    instance_id: str
    instance_type: str
    state: _State
    placement: _Placement
    vpc_id: str = ""


class _Card(Reply, frozen=True, kw_only=True):
    network_card_index: int
    maximum_network_interfaces: int


class _NetworkInfo(Reply, frozen=True, kw_only=True):
    maximum_network_interfaces: int
    ipv4_addresses_per_interface: int
    ipv6_addresses_per_interface: int = 0
    network_cards: list[_Card] = []


class TypeReply(Reply, frozen=True, kw_only=True):
    """InstanceTypeInfo."""

    instance_type: str
    bare_metal: bool = False
    hypervisor: str = ""
    network_info: _NetworkInfo


class Nothing(Reply, frozen=True, kw_only=True):
    """A reply of which nothing is read."""


class CreateReply(Reply, frozen=True, kw_only=True):
    """CreateNetworkInterface."""

    network_interface: Eni


class Assigned(Reply, frozen=True, kw_only=True):
    """What was added."""

    @property
    def items(self) -> frozenset[IPAddress | IPNetwork]:
        """Addresses and prefixes together."""
        raise NotImplementedError


class AssignedIpv4(Assigned, frozen=True, kw_only=True):
    """AssignPrivateIpAddresses."""

    assigned_private_ip_addresses: list[_PrivateAddress] = []
    assigned_ipv4_prefixes: list[_Prefix] = []

    @property
    def items(self) -> frozenset[IPAddress | IPNetwork]:
        """Addresses and prefixes together."""
        prefixes = {item.ipv4_prefix for item in self.assigned_ipv4_prefixes}
        return frozenset({item.private_ip_address for item in self.assigned_private_ip_addresses} | prefixes)


class AssignedIpv6(Assigned, frozen=True, kw_only=True):
    """AssignIpv6Addresses."""

    assigned_ipv6_addresses: list[IPv6Address] = []
    assigned_ipv6_prefixes: list[IPv6Network] = []

    @property
    def items(self) -> frozenset[IPAddress | IPNetwork]:
        """Addresses and prefixes together."""
        return frozenset({*self.assigned_ipv6_addresses, *self.assigned_ipv6_prefixes})


class TypesReply(Reply, frozen=True, kw_only=True):
    """DescribeInstanceTypes."""

    instance_types: list[TypeReply]


class Page(Reply, frozen=True, kw_only=True):
    """What every paged reply has besides its items."""

    next_token: str = ""


class EniPage(Page, frozen=True, kw_only=True):
    """DescribeNetworkInterfaces."""

    network_interfaces: list[Eni]


class Reservation(Reply, frozen=True, kw_only=True):
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
    """The secondary addresses are those not marked primary, of either family."""
    attachment = eni.attachment
    return NetworkInterface(
        id=InterfaceId(eni.network_interface_id),
        instance=InstanceId(attachment.instance_id) if attachment and attachment.instance_id else None,
        subnet=SubnetId(eni.subnet_id),
        mac=Mac(eni.mac_address.lower()),
        # Each network card counts device indexes of its own; the instance's first interface is on card 0.
        primary=attachment is not None and attachment.device_index == 0 and attachment.network_card_index == 0,
        device_index=attachment.device_index if attachment else None,
        network_card=attachment.network_card_index if attachment else 0,
        state=state(eni),
        ends_with_instance=attachment is None or attachment.delete_on_termination,
        special=_is_special(eni),
        primary_address=_primary_address(eni),
        addresses=_secondary(eni),
        prefixes=frozenset[IPNetwork](
            {item.ipv4_prefix for item in eni.ipv4_prefixes} | {item.ipv6_prefix for item in eni.ipv6_prefixes}
        ),
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
    """A machine with its interfaces, by network card and device index."""
    interfaces = [interface(eni) for eni in enis]
    return Instance(
        id=InstanceId(machine.instance_id),
        type=machine.instance_type,
        zone=machine.placement.availability_zone,
        network=machine.vpc_id,
        state=_INSTANCE.get(machine.state.name, InstanceState.UNKNOWN),
        interfaces=tuple(sorted(interfaces, key=lambda item: (item.network_card, item.device_index or 0, item.id))),
    )


def limits(reply: TypeReply) -> Limits:
    """Prefixes need Nitro or bare metal (EC2 User Guide, "Prefix delegation")."""
    network = reply.network_info
    cards = sorted(network.network_cards, key=lambda card: card.network_card_index)
    return Limits(
        interfaces=network.maximum_network_interfaces,
        ipv4_per_interface=network.ipv4_addresses_per_interface,
        ipv6_per_interface=network.ipv6_addresses_per_interface,
        prefixes=reply.bare_metal or reply.hypervisor == "nitro",
        cards=tuple(card.maximum_network_interfaces for card in cards) if len(cards) > 1 else (),
    )


def _is_special(eni: Eni) -> bool:
    attachment = eni.attachment
    # An interface that a service attached to a machine of its own, such as a load balancer's.
    elsewhere = attachment is not None and attachment.instance_owner_id not in ("", eni.owner_id)
    unmanaged = any((tag.key, tag.value) == HANDS_OFF for tag in eni.tag_set)
    run_by_aws = eni.requester_managed or eni.operator.managed or eni.interface_type not in _ORDINARY
    return run_by_aws or elsewhere or unmanaged


def _primary_address(eni: Eni) -> IPAddress:
    if eni.private_ip_address is not None:
        return eni.private_ip_address
    first = sorted(eni.ipv6_addresses, key=lambda item: not item.is_primary_ipv6)
    if not first:
        raise msgspec.ValidationError(f"{eni.network_interface_id} has no address at all")
    return first[0].ipv6_address


def _secondary(eni: Eni) -> frozenset[IPAddress]:
    primary = _primary_address(eni)
    ipv4 = {item.private_ip_address for item in eni.private_ip_addresses if not item.primary}
    ipv6 = {item.ipv6_address for item in eni.ipv6_addresses if not item.is_primary_ipv6}
    return frozenset[IPAddress](ipv4 | ipv6) - {primary}


def _network_value(kind: type, value: Any) -> Any:  # noqa: ANN401 (the hook's type)
    if kind in (IPv4Address, IPv4Network, IPv6Address, IPv6Network):
        return kind(value)
    raise NotImplementedError(kind)
