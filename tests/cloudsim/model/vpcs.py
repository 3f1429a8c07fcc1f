"""VPCs: a block of addresses that subnets share out. A new one comes with its default security group."""

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import TYPE_CHECKING

from cloudsim.model import security_groups
from cloudsim.model.errors import Refused, not_found

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud


@dataclass(frozen=True, slots=True, kw_only=True)
class Vpc:
    id: str
    cidr: IPv4Network
    default_group: str


def create(cloud: "Cloud", cidr: str) -> Vpc:
    """EC2 CreateVpc: a block between /16 and /28."""
    block = parse_block(cidr, "InvalidVpc.Range")
    id_ = cloud.new_id("vpc")
    group = security_groups.create(cloud, id_, "default", "default VPC security group")
    vpc = Vpc(id=id_, cidr=block, default_group=group.id)
    cloud.vpcs.put(id_, vpc, cloud.now())
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


def require(cloud: "Cloud", vpc: str) -> Vpc:
    found = cloud.vpcs.get(vpc)
    if found is None:
        raise not_found("InvalidVpcID", "vpc", [vpc])
    return found
