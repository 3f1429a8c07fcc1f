"""Secondary private addresses of an interface: assigned, moved, unassigned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from cloudsim.model import instance_types, instances, interfaces, subnets
from cloudsim.model.errors import Refused, invalid_value

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """``addresses`` are the new ones only. ``donors`` are the interfaces that addresses were moved away from."""

    addresses: tuple[IPv4Address, ...]
    donors: tuple[str, ...] = ()


def assign(cloud: "Cloud", interface: str, count: int) -> Assigned:
    """EC2 AssignPrivateIpAddresses, ``count`` addresses of EC2's choice."""
    eni = interfaces.require(cloud, interface)
    if count < 1:
        raise invalid_value(f"Value ({count}) for parameter secondaryPrivateIpAddressCount is invalid.")
    _check_limit(cloud, eni, count)
    subnet = subnets.require(cloud, eni.subnet)
    subnets.check_room(cloud, subnet, count)

    new = subnets.take(cloud, subnet, (), count)
    _put(cloud, eni, (*eni.addresses, *new))
    return Assigned(addresses=tuple(new))


def assign_exactly(cloud: "Cloud", interface: str, wanted: Sequence[IPv4Address], *, reassign: bool) -> Assigned:
    """EC2 AssignPrivateIpAddresses, named addresses. With ``reassign`` they are taken from whose secondary they are."""
    eni = interfaces.require(cloud, interface)
    subnet = subnets.require(cloud, eni.subnet)
    new = list(dict.fromkeys(wanted))
    for address in new:
        subnets.check_inside(cloud, subnet, address)
    held = {address: cloud.holder[eni.vpc, address] for address in new if (eni.vpc, address) in cloud.holder}
    if held and not reassign:
        names = ", ".join(str(address) for address in held)
        raise invalid_value(f"[{names}] assigned, but move is not allowed.")
    for address, owner in held.items():
        if interfaces.require(cloud, owner).primary == address:
            raise invalid_value(f"[{address}] is the primary address of interface {owner} and cannot be moved.")
    coming = [address for address in new if held.get(address) != interface]
    _check_limit(cloud, eni, len(coming))

    donors = tuple(dict.fromkeys(owner for owner in held.values() if owner != interface))
    for donor in donors:
        from_ = interfaces.require(cloud, donor)
        _put(cloud, from_, tuple(address for address in from_.addresses if address not in held))
    subnets.take(cloud, subnet, [address for address in coming if address not in held], 0)
    _put(cloud, eni, (*eni.addresses, *coming))
    return Assigned(addresses=tuple(new), donors=donors)


def unassign(cloud: "Cloud", interface: str, unwanted: Sequence[IPv4Address]) -> None:
    """EC2 UnassignPrivateIpAddresses: all or none."""
    eni = interfaces.require(cloud, interface)
    if any(address not in eni.addresses for address in unwanted):
        raise invalid_value(f"Some of the specified addresses are not assigned to interface {interface}")
    if eni.primary in unwanted:
        raise invalid_value(
            f"Value ({eni.primary}) for parameter privateIpAddress is invalid. "
            "The primary IP address of an interface cannot be unassigned."
        )
    subnets.release(cloud, eni.subnet, set(unwanted))
    _put(cloud, eni, tuple(address for address in eni.addresses if address not in unwanted))


def _check_limit(cloud: "Cloud", eni: interfaces.NetworkInterface, more: int) -> None:
    if eni.attachment is None:
        limit = max(type_.ipv4 for type_ in cloud.types.values())
    else:
        machine = instances.require(cloud, eni.attachment.instance)
        limit = instance_types.require(cloud.types, machine.type).ipv4
    if len(eni.addresses) + more > limit:
        raise Refused("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")


def _put(cloud: "Cloud", eni: interfaces.NetworkInterface, addresses: tuple[IPv4Address, ...]) -> None:
    for address in set(eni.addresses) - set(addresses):
        if cloud.holder.get((eni.vpc, address)) == eni.id:
            del cloud.holder[eni.vpc, address]
    for address in addresses:
        cloud.holder[eni.vpc, address] = eni.id
    cloud.interfaces.put(eni.id, replace(eni, addresses=addresses), cloud.now())
