"""What interfaces live in: EC2's replies on subnets, route tables, security groups and CIDR reservations as values.
Pure.
"""

from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network, ip_network

from underlay.core.cloud.model import Egress, Reservation, Subnet, Use
from underlay.core.identity import ReservationId, SubnetId
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


class _Route(Reply, frozen=True, kw_only=True):
    destination_cidr_block: str = ""
    gateway_id: str = ""
    nat_gateway_id: str = ""
    state: str = "active"


class _Association(Reply, frozen=True, kw_only=True):
    subnet_id: str = ""
    main: bool = False


class RouteTable(Reply, frozen=True, kw_only=True):
    """RouteTable."""

    vpc_id: str
    routes: tuple[_Route, ...] = ()
    associations: tuple[_Association, ...] = ()


class RouteTablePage(Page, frozen=True, kw_only=True):
    """DescribeRouteTables."""

    route_tables: list[RouteTable]


class _Group(Reply, frozen=True, kw_only=True):
    group_id: str


class GroupPage(Page, frozen=True, kw_only=True):
    """DescribeSecurityGroups."""

    security_groups: list[_Group]


class ReservationReply(Reply, frozen=True, kw_only=True):
    """SubnetCidrReservation. ``reservation_type``: ``prefix`` or ``explicit``."""

    subnet_cidr_reservation_id: str
    subnet_id: str
    cidr: str
    reservation_type: str
    tags: tuple[Tag, ...] = ()

    def __post_init__(self) -> None:
        ip_network(self.cidr)  # its ValueError is a malformed reply


class ReservationPage(Page, frozen=True, kw_only=True):
    """GetSubnetCidrReservations."""

    subnet_ipv4_cidr_reservations: tuple[ReservationReply, ...] = ()
    subnet_ipv6_cidr_reservations: tuple[ReservationReply, ...] = ()


class ReservationMade(Reply, frozen=True, kw_only=True):
    """CreateSubnetCidrReservation."""

    subnet_cidr_reservation: ReservationReply


RESERVATION_TYPES = {Use.PREFIX: "prefix", Use.FIXED: "explicit"}


def subnet(reply: SubnetReply, egress: Egress | None) -> Subnet:
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
        egress=egress,
        tags={tag.key: tag.value for tag in reply.tags},
    )


def egress(tables: Collection[RouteTable], subnet: str, vpc: str) -> Egress | None:
    """By the subnet's own route table, else by its VPC's main one (VPC User Guide, "Route tables"); None: neither is
    among ``tables``.
    """
    own = (table for table in tables if any(item.subnet_id == subnet for item in table.associations))
    main = (table for table in tables if table.vpc_id == vpc and any(item.main for item in table.associations))
    table = next(own, None) or next(main, None)
    if table is None:
        return None
    for route in table.routes:
        if route.destination_cidr_block == "0.0.0.0/0" and route.state == "active":
            if route.nat_gateway_id:
                return Egress.NAT
            return Egress.INTERNET_GATEWAY if route.gateway_id.startswith("igw-") else Egress.OTHER
    return Egress.NONE


def reservation(reply: ReservationReply) -> Reservation:
    """A type this version does not know keeps its block from others, as ``FIXED`` does."""
    return Reservation(
        id=ReservationId(reply.subnet_cidr_reservation_id),
        subnet=SubnetId(reply.subnet_id),
        cidr=ip_network(reply.cidr),
        use=Use.PREFIX if reply.reservation_type == RESERVATION_TYPES[Use.PREFIX] else Use.FIXED,
        tags={tag.key: tag.value for tag in reply.tags},
    )
