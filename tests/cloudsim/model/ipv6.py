"""IPv6 of an interface: single addresses and /80 prefixes, assigned and unassigned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from cloudsim.model.errors import Refused, invalid_value
from cloudsim.model.space6 import BLOCK_LENGTH, Space6

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud
    from cloudsim.model.subnets import Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted6:
    """Named addresses and prefixes, and counts of others of EC2's choice."""

    addresses: tuple[IPv6Address, ...] = ()
    count: int = 0
    prefixes: tuple[IPv6Network, ...] = ()
    prefix_count: int = 0

    @property
    def slots(self) -> int:
        return len(self.addresses) + self.count + len(self.prefixes) + self.prefix_count


def assign(cloud: "Cloud", interface: str, wanted: Wanted6) -> tuple[tuple[IPv6Address, ...], tuple[IPv6Network, ...]]:
    """EC2 AssignIpv6Addresses. → the new addresses and the new prefixes."""
    from cloudsim.model import interfaces, slots, subnets  # noqa: PLC0415 an interface is made with IPv6

    eni = interfaces.require(cloud, interface)
    subnet = subnets.require(cloud, eni.subnet)
    slots.check(
        cloud,
        eni,
        ipv6=len(wanted.addresses) + wanted.count,
        prefixes6=len(wanted.prefixes) + wanted.prefix_count,
    )
    check(cloud, subnet, wanted)

    addresses, prefixes = take(cloud, subnet, wanted)
    changed = replace(eni, addresses6=(*eni.addresses6, *addresses), prefixes6=(*eni.prefixes6, *prefixes))
    cloud.interfaces.put(eni.id, changed, cloud.now())
    return addresses, prefixes


def unassign(cloud: "Cloud", interface: str, addresses: Sequence[IPv6Address], prefixes: Sequence[IPv6Network]) -> None:
    """EC2 UnassignIpv6Addresses: all or none."""
    from cloudsim.model import interfaces  # noqa: PLC0415 likewise

    eni = interfaces.require(cloud, interface)
    if any(address not in eni.addresses6 for address in addresses):
        raise invalid_value(f"Some of the specified addresses are not assigned to interface {interface}")
    if any(prefix not in eni.prefixes6 for prefix in prefixes):
        raise invalid_value(f"Some of the specified prefixes are not assigned to interface {interface}")
    release(cloud, eni.subnet, set(addresses), set(prefixes))
    changed = replace(
        eni,
        addresses6=tuple(address for address in eni.addresses6 if address not in addresses),
        prefixes6=tuple(prefix for prefix in eni.prefixes6 if prefix not in prefixes),
    )
    cloud.interfaces.put(eni.id, changed, cloud.now())


def check(cloud: "Cloud", subnet: "Subnet", wanted: Wanted6) -> None:
    """Refuses what ``take`` could not do."""
    if not wanted.slots:
        return
    space = _space(cloud, subnet)
    for address in wanted.addresses:
        if subnet.cidr6 is None or address not in subnet.cidr6:
            raise invalid_value(f"Address {address} does not fall within the subnet's address range")
        if space.is_reserved(address):
            raise invalid_value(f"Address {address} is in subnet's reserved address range")
        if space.is_taken(address):
            raise Refused("InvalidIPAddress.InUse", f"The specified address {address} is already in use.")
    for prefix in wanted.prefixes:
        if subnet.cidr6 is None or not prefix.subnet_of(subnet.cidr6):
            raise invalid_value(f"Prefix {prefix} does not fall within the subnet's address range")
        if not space.is_block_free(prefix):
            raise Refused("InvalidIPAddress.InUse", f"The specified prefix {prefix} is already in use.")


def take(cloud: "Cloud", subnet: "Subnet", wanted: Wanted6) -> tuple[tuple[IPv6Address, ...], tuple[IPv6Network, ...]]:
    """What ``check`` has let pass. Prefixes of EC2's choice are the only thing that may still run out."""
    if not wanted.slots:
        return (), ()
    space = _space(cloud, subnet)
    prefixes = space.choose_blocks(wanted.prefix_count, cloud.chance)
    if prefixes is None:
        raise Refused(
            "InsufficientCidrBlocks",
            "The specified subnet does not have enough free cidr blocks to satisfy the request.",
        )
    addresses = tuple(dict.fromkeys(wanted.addresses))
    for address in addresses:
        space.take(address)
    for prefix in dict.fromkeys(wanted.prefixes):
        space.take_block(prefix)
    chosen = space.choose(wanted.count, cloud.chance)
    return (*addresses, *chosen), (*dict.fromkeys(wanted.prefixes), *prefixes)


def release(
    cloud: "Cloud",
    subnet: str,
    addresses: Sequence[IPv6Address] | set[IPv6Address],
    prefixes: Sequence[IPv6Network] | set[IPv6Network],
) -> None:
    if not addresses and not prefixes:
        return
    space = cloud.spaces6[subnet]
    for address in addresses:
        space.release(address)
    for prefix in prefixes:
        space.release_block(prefix)


def parse_address(text: str) -> IPv6Address:
    try:
        return IPv6Address(text)
    except ValueError as error:
        raise invalid_value(f"invalid value for parameter address: {text}") from error


def parse_prefix(text: str) -> IPv6Network:
    try:
        prefix = IPv6Network(text)
    except ValueError as error:
        raise invalid_value(f"invalid value for parameter Ipv6Prefix: {text}") from error
    if prefix.prefixlen != BLOCK_LENGTH:
        raise invalid_value(f"Value ({text}) for parameter Ipv6Prefix is invalid. The prefix length must be /80.")
    return prefix


def _space(cloud: "Cloud", subnet: "Subnet") -> Space6:
    if subnet.id not in cloud.spaces6:
        raise invalid_value(f"The subnet '{subnet.id}' does not have an IPv6 CIDR block associated with it.")
    return cloud.spaces6[subnet.id]
