"""Secondary private addresses and /28 prefixes of an interface: assigned, moved, unassigned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from cloudsim.model import interfaces, slots, subnets
from cloudsim.model.errors import invalid_value

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
    slots.check(cloud, eni, addresses=count)

    new = subnets.take(cloud, subnets.require(cloud, eni.subnet), subnets.Share(count=count)).addresses
    _put(cloud, eni, (*eni.addresses, *new))
    return Assigned(addresses=new)


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
    fresh = [address for address in coming if address not in held]
    if in_prefix := [address for address in fresh if cloud.bitmaps[subnet.id].is_taken(address)]:
        raise invalid_value(f"[{in_prefix[0]}] is within a prefix that is assigned to an interface.")
    slots.check(cloud, eni, addresses=len(coming))

    donors = tuple(dict.fromkeys(owner for owner in held.values() if owner != interface))
    for donor in donors:
        from_ = interfaces.require(cloud, donor)
        _put(cloud, from_, tuple(address for address in from_.addresses if address not in held))
    subnets.take(cloud, subnet, subnets.Share(exact=fresh))
    _put(cloud, eni, (*eni.addresses, *coming))
    return Assigned(addresses=tuple(new), donors=donors)


def assign_prefixes(
    cloud: "Cloud", interface: str, *, count: int = 0, named: Sequence[IPv4Network] = ()
) -> tuple[IPv4Network, ...]:
    """EC2 AssignPrivateIpAddresses, prefixes: ``count`` of EC2's choice, or the ``named`` ones. → the new ones."""
    eni = interfaces.require(cloud, interface)
    if not named and count < 1:
        raise invalid_value(f"Value ({count}) for parameter ipv4PrefixCount is invalid.")
    wanted = tuple(dict.fromkeys(named))
    slots.check(cloud, eni, prefixes=len(wanted) + count)

    share = subnets.Share(blocks=wanted, block_count=count)
    chosen = subnets.take(cloud, subnets.require(cloud, eni.subnet), share)
    new = (*wanted, *chosen.blocks)
    cloud.interfaces.put(eni.id, replace(eni, prefixes=(*eni.prefixes, *new)), cloud.now())
    return new


def unassign(
    cloud: "Cloud", interface: str, unwanted: Sequence[IPv4Address], prefixes: Sequence[IPv4Network] = ()
) -> None:
    """EC2 UnassignPrivateIpAddresses: all or none."""
    eni = interfaces.require(cloud, interface)
    if any(address not in eni.addresses for address in unwanted):
        raise invalid_value(f"Some of the specified addresses are not assigned to interface {interface}")
    if any(prefix not in eni.prefixes for prefix in prefixes):
        raise invalid_value(f"Some of the specified prefixes are not assigned to interface {interface}")
    if eni.primary in unwanted:
        raise invalid_value(
            f"Value ({eni.primary}) for parameter privateIpAddress is invalid. "
            "The primary IP address of an interface cannot be unassigned."
        )
    subnets.release(cloud, eni.subnet, set(unwanted), set(prefixes))
    left = replace(eni, prefixes=tuple(prefix for prefix in eni.prefixes if prefix not in prefixes))
    _put(cloud, left, tuple(address for address in eni.addresses if address not in unwanted))


def _put(cloud: "Cloud", eni: interfaces.NetworkInterface, addresses: tuple[IPv4Address, ...]) -> None:
    for address in set(eni.addresses) - set(addresses):
        if cloud.holder.get((eni.vpc, address)) == eni.id:
            del cloud.holder[eni.vpc, address]
    for address in addresses:
        cloud.holder[eni.vpc, address] = eni.id
    cloud.interfaces.put(eni.id, replace(eni, addresses=addresses), cloud.now())
