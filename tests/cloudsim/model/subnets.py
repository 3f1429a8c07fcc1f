"""Subnets and the bitmap of their addresses.

EC2 keeps five addresses of every subnet: the first four (network, router, DNS, reserved for the future) and the last.
Addresses of its own choice are scattered; one that was just freed is chosen again only when nothing else is left.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from random import Random
from typing import TYPE_CHECKING

from cloudsim.model import vpcs
from cloudsim.model.errors import Refused, invalid_value, not_found

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud

RESERVED_FIRST = 4
RESERVED_LAST = 1
REST_SECONDS = 60.0
"""How long a freed address is left alone while others are free."""
_PROBES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """``free`` is EC2's AvailableIpAddressCount."""

    id: str
    vpc: str
    zone: str
    cidr: IPv4Network
    free: int

    @property
    def gateway(self) -> IPv4Address:
        """The VPC router: the network's first host address."""
        return self.cidr[1]


class Bitmap:
    """Which addresses of a subnet are taken. One bit each, by offset from the network address."""

    def __init__(self, cidr: IPv4Network) -> None:
        self._first = int(cidr.network_address)
        self._size = cidr.num_addresses
        self._taken = bytearray((self._size + 7) // 8)
        self._freed: dict[int, float] = {}
        self.free = self._size
        for offset in (*range(RESERVED_FIRST), self._size - RESERVED_LAST):
            self._set(offset)

    def is_taken(self, address: IPv4Address) -> bool:
        return self._has(int(address) - self._first)

    def is_reserved(self, address: IPv4Address) -> bool:
        offset = int(address) - self._first
        return offset < RESERVED_FIRST or offset >= self._size - RESERVED_LAST

    def take(self, address: IPv4Address) -> None:
        offset = int(address) - self._first
        self._set(offset)
        self._freed.pop(offset, None)

    def release(self, address: IPv4Address, now: float) -> None:
        offset = int(address) - self._first
        self._taken[offset >> 3] &= ~(1 << (offset & 7)) & 0xFF
        self.free += 1
        self._freed[offset] = now

    def choose(self, count: int, chance: Random, now: float) -> list[IPv4Address]:
        """``count`` free addresses, taken. The caller has looked at ``free``."""
        self._freed = {offset: at for offset, at in self._freed.items() if now - at < REST_SECONDS}
        chosen = []
        for _ in range(count):
            offset = self._one(chance)
            self._set(offset)
            self._freed.pop(offset, None)
            chosen.append(IPv4Address(self._first + offset))
        return chosen

    def _one(self, chance: Random) -> int:
        for _ in range(_PROBES):
            offset = chance.randrange(self._size)
            if not self._has(offset) and offset not in self._freed:
                return offset
        rested = [offset for offset in range(self._size) if not self._has(offset) and offset not in self._freed]
        return chance.choice(rested) if rested else min(self._freed, key=self._freed.__getitem__)

    def _has(self, offset: int) -> bool:
        return bool(self._taken[offset >> 3] & (1 << (offset & 7)))

    def _set(self, offset: int) -> None:
        self._taken[offset >> 3] |= 1 << (offset & 7)
        self.free -= 1


def create(cloud: "Cloud", vpc: str, cidr: str, zone: str) -> Subnet:
    """EC2 CreateSubnet: inside the VPC, beside the other subnets."""
    home = vpcs.require(cloud, vpc)
    block = vpcs.parse_block(cidr, "InvalidSubnet.Range")
    if not block.subnet_of(home.cidr):
        raise Refused("InvalidSubnet.Range", f"The CIDR '{cidr}' is invalid.")
    if any(other.vpc == vpc and other.cidr.overlaps(block) for other in cloud.subnets.values()):
        raise Refused("InvalidSubnet.Conflict", f"The CIDR '{cidr}' conflicts with another subnet")
    id_ = cloud.new_id("subnet")
    bitmap = Bitmap(block)
    cloud.bitmaps[id_] = bitmap
    subnet = Subnet(id=id_, vpc=vpc, zone=zone, cidr=block, free=bitmap.free)
    cloud.subnets.put(id_, subnet, cloud.now())
    return subnet


def require(cloud: "Cloud", subnet: str) -> Subnet:
    found = cloud.subnets.get(subnet)
    if found is None:
        raise not_found("InvalidSubnetID", "subnet", [subnet])
    return found


def parse_address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except (AddressValueError, ValueError) as error:
        raise invalid_value(f"invalid value for parameter address: {text}") from error


def check_inside(cloud: "Cloud", subnet: Subnet, address: IPv4Address) -> None:
    """Refuses an address that an interface in ``subnet`` can never have."""
    if address not in subnet.cidr:
        raise invalid_value(f"Address {address} does not fall within the subnet's address range")
    if cloud.bitmaps[subnet.id].is_reserved(address):
        raise invalid_value(f"Address {address} is in subnet's reserved address range")


def check_room(cloud: "Cloud", subnet: Subnet, count: int) -> None:
    if count > cloud.bitmaps[subnet.id].free:
        raise Refused(
            "InsufficientFreeAddressesInSubnet",
            "The specified subnet does not have enough free addresses to satisfy the request.",
        )


def take(cloud: "Cloud", subnet: Subnet, exact: Iterable[IPv4Address], count: int) -> list[IPv4Address]:
    """Take the ``exact`` addresses and ``count`` others. Everything was checked before."""
    bitmap = cloud.bitmaps[subnet.id]
    taken = list(exact)
    for address in taken:
        bitmap.take(address)
    chosen = taken + bitmap.choose(count, cloud.chance, cloud.now())
    _refresh(cloud, subnet.id)
    return chosen


def release(cloud: "Cloud", subnet: str, addresses: Iterable[IPv4Address]) -> None:
    bitmap = cloud.bitmaps[subnet]
    for address in addresses:
        bitmap.release(address, cloud.now())
    _refresh(cloud, subnet)


def _refresh(cloud: "Cloud", subnet: str) -> None:
    record = require(cloud, subnet)
    cloud.subnets.put(subnet, replace(record, free=cloud.bitmaps[subnet].free), cloud.now())
