"""Route tables. Each VPC has a main one; a subnet without a table of its own uses that.

Made and changed through the control API: here only what they say of a subnet's way out is of interest.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cloudsim.model.errors import invalid_value, not_found

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud

WAYS_OUT = ("", "internet-gateway", "nat-gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """``default``: id of the gateway of 0.0.0.0/0, igw-… or nat-…, empty without any.

    ``associations``: association id → subnet; the main one's subnet is empty.
    """

    id: str
    vpc: str
    default: str
    associations: tuple[tuple[str, str], ...]


def create(cloud: "Cloud", vpc: str, subnets: tuple[str, ...], way_out: str, *, is_main: bool = False) -> RouteTable:
    """EC2 CreateRouteTable, CreateRoute and AssociateRouteTable. The subnets leave the tables they had."""
    from cloudsim.model.subnets import require as require_subnet  # noqa: PLC0415 a VPC comes with its main table

    for subnet in subnets:
        if require_subnet(cloud, subnet).vpc != vpc:
            raise invalid_value(f"Subnet '{subnet}' is not in VPC '{vpc}'")
    gateway = _gateway(cloud, way_out)
    for other in tuple(cloud.route_tables.values()):
        kept = tuple(held for held in other.associations if held[1] not in subnets)
        if kept != other.associations:
            cloud.route_tables.put(other.id, replace(other, associations=kept), cloud.now())
    members = ("",) if is_main else subnets
    table = RouteTable(
        id=cloud.new_id("rtb"),
        vpc=vpc,
        default=gateway,
        associations=tuple((cloud.new_id("rtbassoc"), subnet) for subnet in members),
    )
    cloud.route_tables.put(table.id, table, cloud.now())
    return table


def set_way_out(cloud: "Cloud", table: str, way_out: str) -> RouteTable:
    """EC2 ReplaceRoute of 0.0.0.0/0; an empty ``way_out`` deletes it."""
    held = cloud.route_tables.get(table)
    if held is None:
        raise not_found("InvalidRouteTableID", "routeTable", [table])
    changed = replace(held, default=_gateway(cloud, way_out))
    cloud.route_tables.put(table, changed, cloud.now())
    return changed


def main_of(cloud: "Cloud", vpc: str) -> RouteTable:
    return next(
        table
        for table in cloud.route_tables.values()
        if table.vpc == vpc and any(not to for _, to in table.associations)
    )


def _gateway(cloud: "Cloud", way_out: str) -> str:
    if way_out not in WAYS_OUT:
        raise invalid_value(f"default must be one of {', '.join(map(repr, WAYS_OUT))}, found {way_out!r}")
    return cloud.new_id({"internet-gateway": "igw", "nat-gateway": "nat"}[way_out]) if way_out else ""
