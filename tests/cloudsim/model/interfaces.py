"""Network interfaces: made, changed, deleted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from cloudsim.model import security_groups, subnets, tags, vpcs
from cloudsim.model.attachments import Attachment
from cloudsim.model.errors import Refused, not_found

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInterface:
    """``addresses``: the primary first, then the secondary ones in the order of their assignment."""

    id: str
    vpc: str
    subnet: str
    zone: str
    mac: str
    description: str
    groups: tuple[str, ...]
    addresses: tuple[IPv4Address, ...]
    attachment: Attachment | None = None
    source_dest_check: bool = True

    @property
    def primary(self) -> IPv4Address:
        return self.addresses[0]

    @property
    def status(self) -> str:
        return "in-use" if self.attachment else "available"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What CreateNetworkInterface asks for. ``secondary_count`` and ``secondary`` exclude each other."""

    subnet: str
    description: str = ""
    groups: tuple[str, ...] = ()
    primary: IPv4Address | None = None
    secondary: tuple[IPv4Address, ...] = ()
    secondary_count: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


def create(cloud: "Cloud", wanted: Wanted) -> NetworkInterface:
    """EC2 CreateNetworkInterface. Not attached, it may have as many addresses as the largest instance type allows."""
    subnet = subnets.require(cloud, wanted.subnet)
    groups = security_groups.choose(cloud, vpcs.require(cloud, subnet.vpc), wanted.groups)
    tags.check(wanted.tags)
    exact = (() if wanted.primary is None else (wanted.primary,)) + wanted.secondary
    for address in exact:
        subnets.check_inside(cloud, subnet, address)
        if cloud.bitmaps[subnet.id].is_taken(address):
            raise Refused("InvalidIPAddress.InUse", "The specified address is already in use.")
    if len(set(exact)) != len(exact):
        raise Refused("InvalidParameterValue", "Duplicate private IP address specified")
    count = (wanted.primary is None) + wanted.secondary_count
    if len(exact) + count > max(type_.ipv4 for type_ in cloud.types.values()):
        raise Refused("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
    subnets.check_room(cloud, subnet, len(exact) + count)

    taken = subnets.take(cloud, subnet, exact, count)
    if wanted.primary is None:  # EC2's choice comes after the explicit ones; the primary leads
        taken = [taken[len(exact)], *taken[: len(exact)], *taken[len(exact) + 1 :]]
    interface = NetworkInterface(
        id=cloud.new_id("eni"),
        vpc=subnet.vpc,
        subnet=subnet.id,
        zone=subnet.zone,
        mac=cloud.new_mac(),
        description=wanted.description,
        groups=groups,
        addresses=tuple(taken),
    )
    cloud.interfaces.put(interface.id, interface, cloud.now())
    for address in taken:
        cloud.holder[interface.vpc, address] = interface.id
    if wanted.tags:
        cloud.tags.put(interface.id, dict(wanted.tags), cloud.now())
    return interface


def delete(cloud: "Cloud", interface: str) -> None:
    """EC2 DeleteNetworkInterface."""
    eni = require(cloud, interface)
    if eni.attachment is not None:
        raise Refused("InvalidNetworkInterface.InUse", f"Network interface '{interface}' is currently in use.")
    subnets.release(cloud, eni.subnet, eni.addresses)
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
