"""VPCs: a block of addresses that subnets share out. A new one has a default security group and a main route table."""

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError
from typing import TYPE_CHECKING

from cloudsim.model import routes, security_groups
from cloudsim.model.errors import Refused, not_found

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud


@dataclass(frozen=True, slots=True, kw_only=True)
class Vpc:
    id: str
    cidr: IPv4Network
    default_group: str
    cidr6: IPv6Network | None = None


def create(cloud: "Cloud", cidr: str, cidr6: IPv6Network | None = None) -> Vpc:
    """EC2 CreateVpc: a block between /16 and /28, and a /56 if it has IPv6."""
    block = parse_block(cidr, "InvalidVpc.Range")
    if cidr6 is not None and cidr6.prefixlen != 56:
        raise Refused("InvalidVpc.Range", f"The IPv6 CIDR '{cidr6}' is invalid.")
    id_ = cloud.new_id("vpc")
    group = security_groups.create(cloud, id_, "default", "default VPC security group")
    vpc = Vpc(id=id_, cidr=block, default_group=group.id, cidr6=cidr6)
    cloud.vpcs.put(id_, vpc, cloud.now())
    routes.create(cloud, id_, (), "", is_main=True)
    return vpc


def parse_block(cidr: str, code: str) -> IPv4Network:
    """``cidr`` as a network between /16 and /28, refused with ``code`` otherwise."""
    try:
        block = IPv4Network(cidr)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise Refused("InvalidParameterValue", f"Value ({cidr}) for parameter cidrBlock is invalid. {error}") from error
    if not 16 <= block.prefixlen <= 28:
        raise Refused(code, f"The CIDR '{cidr}' is invalid.")
    return block


def parse_block6(text: str) -> IPv6Network:
    try:
        return IPv6Network(text)
    except ValueError as error:
        raise Refused("InvalidParameterValue", f"invalid value for parameter ipv6-cidr-block: {text}") from error


def next_block6(cloud: "Cloud", vpc: str) -> IPv6Network:
    """A /64 of the VPC that no subnet has yet."""
    home = require(cloud, vpc)
    if home.cidr6 is None:
        raise Refused("InvalidParameterValue", f"The VPC '{vpc}' has no IPv6 CIDR block associated with it.")
    taken = {subnet.cidr6 for subnet in cloud.subnets.values() if subnet.vpc == vpc}
    return next(block for block in home.cidr6.subnets(new_prefix=64) if block not in taken)


def require(cloud: "Cloud", vpc: str) -> Vpc:
    found = cloud.vpcs.get(vpc)
    if found is None:
        raise not_found("InvalidVpcID", "vpc", [vpc])
    return found
