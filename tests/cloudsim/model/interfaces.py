"""Network interfaces: made, changed, deleted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from cloudsim.model import ipv6, security_groups, slots, subnets, tags, vpcs
from cloudsim.model.attachments import Attachment
from cloudsim.model.errors import Refused, not_found
from cloudsim.model.ipv6 import Wanted6

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInterface:
    """``addresses``: the primary first, then the secondary ones in the order of their assignment.

    ``prefixes`` are /28, ``prefixes6`` /80; their addresses are not among the single ones. ``type``: EC2's
    InterfaceType. ``requester_managed``: made by an AWS service.
    """

    id: str
    vpc: str
    subnet: str
    zone: str
    mac: str
    description: str
    groups: tuple[str, ...]
    addresses: tuple[IPv4Address, ...]
    prefixes: tuple[IPv4Network, ...] = ()
    addresses6: tuple[IPv6Address, ...] = ()
    prefixes6: tuple[IPv6Network, ...] = ()
    attachment: Attachment | None = None
    source_dest_check: bool = True
    type: str = "interface"
    requester_managed: bool = False

    @property
    def primary(self) -> IPv4Address:
        return self.addresses[0]

    @property
    def slots(self) -> int:
        """Taken of the IPv4 addresses that the instance type allows an interface."""
        return len(self.addresses) + len(self.prefixes)

    @property
    def slots6(self) -> int:
        return len(self.addresses6) + len(self.prefixes6)

    @property
    def status(self) -> str:
        return "in-use" if self.attachment else "available"


TYPES = ("interface", "efa", "efa-only", "trunk")
"""EC2 CreateNetworkInterface, InterfaceType: the supported values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What CreateNetworkInterface asks for.

    Of ``secondary``, ``secondary_count``, ``prefixes`` and ``prefix_count`` one is given at most; of the IPv6 ones too.
    """

    subnet: str
    description: str = ""
    groups: tuple[str, ...] = ()
    primary: IPv4Address | None = None
    secondary: tuple[IPv4Address, ...] = ()
    secondary_count: int = 0
    prefixes: tuple[IPv4Network, ...] = ()
    prefix_count: int = 0
    ipv6: Wanted6 = field(default_factory=Wanted6)
    tags: Mapping[str, str] = field(default_factory=dict)
    type: str = "interface"


def create(cloud: "Cloud", wanted: Wanted) -> NetworkInterface:
    """EC2 CreateNetworkInterface. Not attached, it may have as many addresses as the largest instance type allows."""
    subnet = subnets.require(cloud, wanted.subnet)
    groups = security_groups.choose(cloud, vpcs.require(cloud, subnet.vpc), wanted.groups)
    tags.check(wanted.tags)
    if wanted.type not in TYPES:
        raise Refused("InvalidParameterValue", f"Value ({wanted.type}) for parameter InterfaceType is invalid.")
    exact = (() if wanted.primary is None else (wanted.primary,)) + wanted.secondary
    for address in exact:
        subnets.check_inside(cloud, subnet, address)
        if cloud.bitmaps[subnet.id].is_taken(address):
            raise Refused("InvalidIPAddress.InUse", "The specified address is already in use.")
    if len(set(exact)) != len(exact):
        raise Refused("InvalidParameterValue", "Duplicate private IP address specified")
    count = (wanted.primary is None) + wanted.secondary_count
    slots.fits(cloud.most_ipv4, len(exact) + count + len(wanted.prefixes) + wanted.prefix_count)
    slots.fits(cloud.most_ipv6, wanted.ipv6.slots)
    ipv6.check(cloud, subnet, wanted.ipv6)

    share = subnets.Share(exact=exact, count=count, blocks=wanted.prefixes, block_count=wanted.prefix_count)
    chosen = subnets.take(cloud, subnet, share)
    addresses6, prefixes6 = ipv6.take(cloud, subnet, wanted.ipv6)
    # EC2's choice of a primary comes before the named ones; other choices come after them.
    primary, others = (exact[:1], chosen.addresses) if wanted.primary else (chosen.addresses[:1], chosen.addresses[1:])
    interface = NetworkInterface(
        id=cloud.new_id("eni"),
        vpc=subnet.vpc,
        subnet=subnet.id,
        zone=subnet.zone,
        mac=cloud.new_mac(),
        description=wanted.description,
        groups=groups,
        addresses=(*primary, *wanted.secondary, *others),
        prefixes=(*wanted.prefixes, *chosen.blocks),
        addresses6=addresses6,
        prefixes6=prefixes6,
        type=wanted.type,
    )
    cloud.interfaces.put(interface.id, interface, cloud.now())
    for address in interface.addresses:
        cloud.holder[interface.vpc, address] = interface.id
    if wanted.tags:
        cloud.tags.put(interface.id, dict(wanted.tags), cloud.now())
    return interface


def delete(cloud: "Cloud", interface: str) -> None:
    """EC2 DeleteNetworkInterface."""
    eni = require(cloud, interface)
    if eni.attachment is not None or any(interface in held.ends for held in cloud.trunk_associations.values()):
        raise Refused("InvalidNetworkInterface.InUse", f"Network interface '{interface}' is currently in use.")
    subnets.release(cloud, eni.subnet, eni.addresses, eni.prefixes)
    ipv6.release(cloud, eni.subnet, eni.addresses6, eni.prefixes6)
    for address in eni.addresses:
        del cloud.holder[eni.vpc, address]
    cloud.interfaces.remove(interface, cloud.now())
    if cloud.tags.get(interface) is not None:
        cloud.tags.remove(interface, cloud.now())


def set_groups(cloud: "Cloud", interface: str, groups: tuple[str, ...]) -> None:
    """EC2 ModifyNetworkInterfaceAttribute, Groups: the whole new set."""
    eni = require(cloud, interface)
    chosen = security_groups.choose(cloud, vpcs.require(cloud, eni.vpc), groups)
    cloud.interfaces.put(interface, replace(eni, groups=chosen), cloud.now())


def set_description(cloud: "Cloud", interface: str, description: str) -> None:
    cloud.interfaces.put(interface, replace(require(cloud, interface), description=description), cloud.now())


def set_source_dest_check(cloud: "Cloud", interface: str, *, wanted: bool) -> None:
    cloud.interfaces.put(interface, replace(require(cloud, interface), source_dest_check=wanted), cloud.now())


def require(cloud: "Cloud", interface: str) -> NetworkInterface:
    found = cloud.interfaces.get(interface)
    if found is None:
        raise not_found("InvalidNetworkInterfaceID", "networkInterface", [interface])
    return found
