"""What interfaces live in: subnets with their way out, security groups, CIDR reservations."""

import asyncio
from collections.abc import Mapping, Sequence

from underlay.core.cloud import tags
from underlay.core.cloud.errors import CloudError, NotFound, Rejected
from underlay.core.cloud.model import IPNetwork, Owner, Reservation, Subnet, SubnetQuery, Use
from underlay.core.runtime.clock import Clock
from underlay.providers.aws import convert, errors, networks
from underlay.providers.aws.calls import Ec2

_ROUTES_FRESH_SECONDS = 600.0
_ROUTES_FAILED_SECONDS = 60.0
# Where packets go is only told to people: nobody who wants subnets waits long for it.
_ROUTES_WAIT_SECONDS = 2.0
_ROUTES_PAGE = 100
_LAG_ATTEMPTS = 5
_LAG_FIRST_PAUSE_SECONDS = 0.25


class Subnets:
    """Reads subnets; their route tables are read seldom, and left unknown where they cannot be."""

    def __init__(self, ec2: Ec2, clock: Clock) -> None:
        self._ec2 = ec2
        self._clock = clock
        self._routes: dict[str, tuple[networks.RouteTable, ...]] = {}
        self._routes_until: dict[str, float] = {}

    async def get(self, query: SubnetQuery) -> Sequence[Subnet]:
        """``ProviderDriver.subnets``."""
        filters = {f"tag:{key}": [value] for key, value in query.tags.items()}
        if query.ids:
            filters["subnet-id"] = list(query.ids)
        if query.network:
            filters["vpc-id"] = [query.network]
        if query.zone:
            filters["availability-zone"] = [query.zone]
        pages = await self._ec2.pages("DescribeSubnets", networks.SubnetPage, filters)
        replies = sorted((item for page in pages for item in page.subnets), key=lambda item: item.subnet_id)
        if missing := sorted(set(query.ids) - {item.subnet_id for item in replies}):
            message = f"{', '.join(missing)} {'does' if len(missing) == 1 else 'do'} not exist or not match the query"
            raise errors.not_found("DescribeSubnets", "InvalidSubnetID.NotFound", message)
        for vpc in sorted({item.vpc_id for item in replies}):
            await self._read_routes(vpc)
        return [
            networks.subnet(item, networks.egress(self._routes.get(item.vpc_id, ()), item.subnet_id, item.vpc_id))
            for item in replies
        ]

    async def _read_routes(self, vpc: str) -> None:
        now = self._clock.monotonic()
        if now < self._routes_until.get(vpc, now):
            return
        # Also keeps others from asking while this one waits.
        self._routes_until[vpc] = now + _ROUTES_FAILED_SECONDS
        try:
            async with asyncio.timeout(_ROUTES_WAIT_SECONDS):
                pages = await self._ec2.pages(
                    "DescribeRouteTables", networks.RouteTablePage, {"vpc-id": [vpc]}, page_size=_ROUTES_PAGE
                )
        except (CloudError, TimeoutError):
            return  # the gate has counted it and tells of a missing permission
        self._routes[vpc] = tuple(table for page in pages for table in page.route_tables)
        self._routes_until[vpc] = now + _ROUTES_FRESH_SECONDS


async def security_groups(ec2: Ec2, network: str, labels: Mapping[str, str]) -> tuple[str, ...]:
    """``ProviderDriver.security_groups``."""
    filters = {"vpc-id": [network], **{f"tag:{key}": [value] for key, value in labels.items()}}
    pages = await ec2.pages("DescribeSecurityGroups", networks.GroupPage, filters)
    return tuple(sorted(group.group_id for page in pages for group in page.security_groups))


async def reserve(ec2: Ec2, clock: Clock, subnet: str, cidr: IPNetwork, use: Use, owner: Owner) -> Reservation:
    """``ProviderDriver.reserve``. There is no client token: a block that is reserved already is refused as overlapping,
    and then looked for.
    """
    labels = [{"Key": key, "Value": value} for key, value in sorted(tags.of_owner(owner).items())]
    try:
        made = await ec2.call(
            "CreateSubnetCidrReservation",
            networks.ReservationMade,
            SubnetId=subnet,
            Cidr=str(cidr),
            ReservationType=networks.RESERVATION_TYPES[use],
            Description=f"underlay: {use}",
            TagSpecifications=[{"ResourceType": "subnet-cidr-reservation", "Tags": labels}],
        )
    except Rejected as error:
        if errors.is_overlap(error) and (found := await _overlapping(ec2, clock, subnet, cidr)):
            if (found.cidr, found.use) == (cidr, use):
                return found
            error.message += f": {found.id} keeps {found.cidr} for {found.use}"
        raise
    return networks.reservation(made.subnet_cidr_reservation)


async def _overlapping(ec2: Ec2, clock: Clock, subnet: str, cidr: IPNetwork) -> Reservation | None:
    """What EC2 says there is; reads may not show it yet."""
    for attempt in range(_LAG_ATTEMPTS):
        for item in await reservations(ec2, subnet):
            # Two blocks overlap only if one contains the other.
            if item.cidr.version == cidr.version and (item.cidr[0] in cidr or cidr[0] in item.cidr):
                return item
        await clock.sleep(_LAG_FIRST_PAUSE_SECONDS * 2**attempt)
    return None


async def reservations(ec2: Ec2, subnet: str) -> Sequence[Reservation]:
    """``ProviderDriver.reservations``."""
    pages = await ec2.pages("GetSubnetCidrReservations", networks.ReservationPage, {}, SubnetId=subnet)
    replies = [
        item for page in pages for item in (*page.subnet_ipv4_cidr_reservations, *page.subnet_ipv6_cidr_reservations)
    ]
    return sorted(map(networks.reservation, replies), key=lambda item: (item.cidr.version, item.cidr))


async def unreserve(ec2: Ec2, reservation: str) -> None:
    """``ProviderDriver.unreserve``."""
    try:
        await ec2.call("DeleteSubnetCidrReservation", convert.Nothing, SubnetCidrReservationId=reservation)
    except NotFound:
        return
