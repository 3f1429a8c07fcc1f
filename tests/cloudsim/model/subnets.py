"""Subnets: a block of IPv4 addresses in one zone, and a /64 of IPv6 addresses if the VPC has any."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from cloudsim.model import vpcs
from cloudsim.model.bitmap import BLOCK, Bitmap
from cloudsim.model.errors import Refused, invalid_value, not_found
from cloudsim.model.space6 import Space6

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud

PREFIX_LENGTH = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """``free`` is EC2's AvailableIpAddressCount."""

    id: str
    vpc: str
    zone: str
    cidr: IPv4Network
    free: int
    cidr6: IPv6Network | None = None

    @property
    def gateway(self) -> IPv4Address:
        """The VPC router: the network's first host address."""
        return self.cidr[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of a subnet's addresses: named ones, ``exact`` and ``blocks``, and others of EC2's choice."""

    exact: Sequence[IPv4Address] = ()
    count: int = 0
    blocks: Sequence[IPv4Network] = ()
    block_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What EC2 chose."""

    addresses: tuple[IPv4Address, ...]
    blocks: tuple[IPv4Network, ...]


def create(cloud: "Cloud", vpc: str, cidr: str, zone: str, cidr6: IPv6Network | None = None) -> Subnet:
    """EC2 CreateSubnet: inside the VPC, beside the other subnets."""
    home = vpcs.require(cloud, vpc)
    block = vpcs.parse_block(cidr, "InvalidSubnet.Range")
    if not block.subnet_of(home.cidr):
        raise Refused("InvalidSubnet.Range", f"The CIDR '{cidr}' is invalid.")
    if any(other.vpc == vpc and other.cidr.overlaps(block) for other in cloud.subnets.values()):
        raise Refused("InvalidSubnet.Conflict", f"The CIDR '{cidr}' conflicts with another subnet")
    if cidr6 is not None:
        _check_cidr6(cloud, home, cidr6)
    id_ = cloud.new_id("subnet")
    bitmap = Bitmap(block)
    cloud.bitmaps[id_] = bitmap
    if cidr6 is not None:
        cloud.spaces6[id_] = Space6(cidr6)
    subnet = Subnet(id=id_, vpc=vpc, zone=zone, cidr=block, free=bitmap.free, cidr6=cidr6)
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


def parse_prefix(text: str) -> IPv4Network:
    try:
        prefix = IPv4Network(text)
    except ValueError as error:
        raise invalid_value(f"invalid value for parameter Ipv4Prefix: {text}") from error
    if prefix.prefixlen != PREFIX_LENGTH:
        raise invalid_value(f"Value ({text}) for parameter Ipv4Prefix is invalid. The prefix length must be /28.")
    return prefix


def take(cloud: "Cloud", subnet: Subnet, share: Share) -> Taken:
    """Take all of ``share``, or refuse and change nothing. That named addresses are free was checked before."""
    trial = cloud.bitmaps[subnet.id].copy()
    for address in share.exact:
        trial.take(address)
    for block in share.blocks:
        _check_block(trial, subnet, block)
        for address in block:
            trial.take(address)
    if share.block_count * BLOCK > trial.free:
        raise invalid_value("There aren't sufficient free Ipv4 addresses or prefixes")
    blocks = trial.choose_blocks(share.block_count, cloud.chance, cloud.now()) if share.block_count else []
    if blocks is None:
        raise Refused(
            "InsufficientCidrBlocks",
            "The specified subnet does not have enough free cidr blocks to satisfy the request.",
        )
    if share.count > trial.open:
        raise Refused(
            "InsufficientFreeAddressesInSubnet",
            "The specified subnet does not have enough free addresses to satisfy the request.",
        )
    addresses = trial.choose(share.count, cloud.chance, cloud.now()) if share.count else []
    cloud.bitmaps[subnet.id] = trial
    _refresh(cloud, subnet.id)
    return Taken(addresses=tuple(addresses), blocks=tuple(blocks))


def release(cloud: "Cloud", subnet: str, addresses: Iterable[IPv4Address], blocks: Iterable[IPv4Network] = ()) -> None:
    bitmap = cloud.bitmaps[subnet]
    for address in (*addresses, *(address for block in blocks for address in block)):
        bitmap.release(address, cloud.now())
    _refresh(cloud, subnet)


def _check_block(bitmap: Bitmap, subnet: Subnet, block: IPv4Network) -> None:
    if not block.subnet_of(subnet.cidr):
        raise invalid_value(f"Prefix {block} does not fall within the subnet's address range")
    if bitmap.is_reserved(block[0]) or bitmap.is_reserved(block[-1]):
        raise invalid_value(f"Prefix {block} overlaps the subnet's reserved address range")
    if not bitmap.is_block_free(block):
        raise Refused("InvalidIPAddress.InUse", f"The specified prefix {block} is already in use.")


def _check_cidr6(cloud: "Cloud", home: vpcs.Vpc, cidr6: IPv6Network) -> None:
    if cidr6.prefixlen != 64 or home.cidr6 is None or not cidr6.subnet_of(home.cidr6):
        raise Refused("InvalidSubnet.Range", f"The IPv6 CIDR '{cidr6}' is invalid.")
    if any(other.vpc == home.id and other.cidr6 == cidr6 for other in cloud.subnets.values()):
        raise Refused("InvalidSubnet.Conflict", f"The IPv6 CIDR '{cidr6}' conflicts with another subnet")


def _refresh(cloud: "Cloud", subnet: str) -> None:
    record = require(cloud, subnet)
    cloud.subnets.put(subnet, replace(record, free=cloud.bitmaps[subnet].free), cloud.now())
