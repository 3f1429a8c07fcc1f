"""What interfaces live in: EC2's replies on subnets as values. Pure."""

from ipaddress import IPv4Network, IPv6Network

from underlay.core.cloud.model import Subnet
from underlay.core.identity import SubnetId
from underlay.providers.aws.convert import Page, Reply, Tag


class _BlockState(Reply, frozen=True, kw_only=True):
    state: str


class _Ipv6Block(Reply, frozen=True, kw_only=True):
    ipv6_cidr_block: IPv6Network
    ipv6_cidr_block_state: _BlockState


class SubnetReply(Reply, frozen=True, kw_only=True):
    """Subnet. One without IPv4 (``Ipv6Native``) has no ``cidr_block``."""

    subnet_id: str
    vpc_id: str
    availability_zone: str
    available_ip_address_count: int
    cidr_block: IPv4Network | None = None
    ipv6_cidr_block_association_set: tuple[_Ipv6Block, ...] = ()
    tags: tuple[Tag, ...] = ()


class SubnetPage(Page, frozen=True, kw_only=True):
    """DescribeSubnets."""

    subnets: list[SubnetReply]


def subnet(reply: SubnetReply) -> Subnet:
    """The IPv4 gateway is the first host address (VPC User Guide, "Subnet CIDR reserved addresses"). That of IPv6 is a
    link-local address that only router advertisements tell.
    """
    ipv4 = [reply.cidr_block] if reply.cidr_block is not None else []
    ipv6 = [
        block.ipv6_cidr_block
        for block in reply.ipv6_cidr_block_association_set
        if block.ipv6_cidr_block_state.state == "associated"
    ]
    return Subnet(
        id=SubnetId(reply.subnet_id),
        zone=reply.availability_zone,
        network=reply.vpc_id,
        cidrs=(*ipv4, *ipv6),
        gateways=(*(block.network_address + 1 for block in ipv4), *(None for _ in ipv6)),
        free=reply.available_ip_address_count,
        tags={tag.key: tag.value for tag in reply.tags},
    )
