"""CIDR reservations of a subnet: addresses that EC2 does not choose singly.

``prefix``: EC2 takes prefixes from there. ``explicit``: EC2 takes nothing from there; whoever names an address gets it.
Addresses that are in use when the reservation is made, or when it ends, stay in use (VPC User Guide, "Subnet CIDR
reservations").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from cloudsim.model.errors import invalid_value, not_found

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud


class ReservationType(StrEnum):
    PREFIX = "prefix"
    EXPLICIT = "explicit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    id: str
    subnet: str
    cidr: IPv4Network | IPv6Network
    type: ReservationType
    description: str


def create(
    cloud: "Cloud", subnet: str, cidr: str, type_: str, *, description: str = "", tags: Mapping[str, str] | None = None
) -> Reservation:
    """EC2 CreateSubnetCidrReservation."""
    from cloudsim.model import subnets  # noqa: PLC0415 a cloud's tables know all nouns
    from cloudsim.model.tags import check  # noqa: PLC0415 likewise

    home = subnets.require(cloud, subnet)
    block = _parse(cidr)
    if type_ not in set(ReservationType):
        raise invalid_value(f"Value ({type_}) for parameter reservationType is invalid.")
    whole = home.cidr if isinstance(block, IPv4Network) else home.cidr6
    if whole is None or not _is_within(block, whole):
        raise invalid_value(f"The CIDR '{cidr}' is not within the subnet's address range.")
    if any(other.subnet == subnet and other.cidr.overlaps(block) for other in cloud.reservations.values()):
        raise invalid_value(f"Reservation CIDR {cidr} has overlap with existing reserved CIDR block")
    check(tags or {})
    reservation = Reservation(
        id=cloud.new_id("scr"), subnet=subnet, cidr=block, type=ReservationType(type_), description=description
    )
    cloud.reservations.put(reservation.id, reservation, cloud.now())
    if tags:
        cloud.tags.put(reservation.id, dict(tags), cloud.now())
    _apply(cloud, subnet)
    return reservation


def delete(cloud: "Cloud", reservation: str) -> Reservation:
    """EC2 DeleteSubnetCidrReservation."""
    gone = cloud.reservations.get(reservation)
    if gone is None:
        raise not_found("InvalidSubnetCidrReservationID", "subnet CIDR reservation", [reservation])
    cloud.reservations.remove(reservation, cloud.now())
    if cloud.tags.get(reservation) is not None:
        cloud.tags.remove(reservation, cloud.now())
    _apply(cloud, gone.subnet)
    return gone


def _apply(cloud: "Cloud", subnet: str) -> None:
    by_type: dict[ReservationType, list[IPv4Network | IPv6Network]] = {type_: [] for type_ in ReservationType}
    for reservation in cloud.reservations.values():
        if reservation.subnet == subnet:
            by_type[reservation.type].append(reservation.cidr)
    prefix, explicit = by_type[ReservationType.PREFIX], by_type[ReservationType.EXPLICIT]
    cloud.bitmaps[subnet].reserve(
        [cidr for cidr in prefix if isinstance(cidr, IPv4Network)],
        [cidr for cidr in explicit if isinstance(cidr, IPv4Network)],
    )
    if subnet in cloud.spaces6:
        cloud.spaces6[subnet].reserve(
            [cidr for cidr in prefix if isinstance(cidr, IPv6Network)],
            [cidr for cidr in explicit if isinstance(cidr, IPv6Network)],
        )


def _parse(cidr: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(cidr)
    except ValueError as error:
        raise invalid_value(f"Value ({cidr}) for parameter cidr is invalid. {error}") from error


def _is_within(block: IPv4Network | IPv6Network, whole: IPv4Network | IPv6Network) -> bool:
    return block.version == whole.version and block[0] in whole and block[-1] in whole
