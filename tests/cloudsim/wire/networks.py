"""Reading operations on what interfaces live in: VPCs, subnets, route tables, security groups, instance types."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from cloudsim.model import instance_types
from cloudsim.model.cloud import Cloud
from cloudsim.model.errors import Refused
from cloudsim.model.instance_types import InstanceType
from cloudsim.model.routes import RouteTable
from cloudsim.model.security_groups import SecurityGroup
from cloudsim.model.subnets import Subnet
from cloudsim.model.vpcs import Vpc
from cloudsim.wire import network_shapes as shapes
from cloudsim.wire.filters import Fields, cut, matching, read_filters, read_page
from cloudsim.wire.lookup import Body, named, tags_at, truth
from cloudsim.wire.query import Params

TYPES_PAGE = 100
"""DescribeInstanceTypes answers so many at most, asked for pages or not."""


def vpcs(cloud: Cloud, params: Params, moment: float) -> Body:
    ids = params.texts("VpcId")
    filters = read_filters(params)
    page = read_page(params, most=1000)
    params.finish()
    tags = tags_at(cloud, moment)
    chosen = named(cloud.vpcs, moment, ids, "InvalidVpcID", "vpc")
    shown, token = cut(matching(chosen, filters, {**_VPC_FIELDS, **_owner(cloud)}, tags), page, lambda home: home.id)
    return {"vpcSet": [shapes.vpc(home, tags(home), cloud.account) for home in shown], "nextToken": token}


def subnets(cloud: Cloud, params: Params, moment: float) -> Body:
    ids = params.texts("SubnetId")
    filters = read_filters(params)
    page = read_page(params, most=1000)
    params.finish()
    tags = tags_at(cloud, moment)
    chosen = named(cloud.subnets, moment, ids, "InvalidSubnetID", "subnet")
    shown, token = cut(matching(chosen, filters, {**_SUBNET_FIELDS, **_owner(cloud)}, tags), page, lambda net: net.id)
    return {
        "subnetSet": [shapes.subnet(net, tags(net), cloud.region, cloud.account) for net in shown],
        "nextToken": token,
    }


def route_tables(cloud: Cloud, params: Params, moment: float) -> Body:
    ids = params.texts("RouteTableId")
    filters = read_filters(params)
    page = read_page(params, most=100)
    params.finish()
    tags = tags_at(cloud, moment)
    chosen = named(cloud.route_tables, moment, ids, "InvalidRouteTableID", "routeTable")
    found = matching(chosen, filters, {**_ROUTE_TABLE_FIELDS, **_owner(cloud)}, tags)
    shown, token = cut(found, page, lambda table: table.id)
    homes = cloud.vpcs.as_of(moment)
    return {
        "routeTableSet": [
            shapes.route_table(table, homes[table.vpc], tags(table), cloud.account)
            for table in shown
            if table.vpc in homes
        ],
        "nextToken": token,
    }


def security_groups(cloud: Cloud, params: Params, moment: float) -> Body:
    ids = params.texts("GroupId")
    names = params.texts("GroupName")
    filters = read_filters(params)
    page = read_page(params, most=1000)
    params.finish()
    if names:
        raise Refused(
            "VPCIdNotSpecified",
            "No default VPC for this user: groups of a VPC are found by id or by the filter group-name",
        )
    there = cloud.security_groups.as_of(moment)
    for id_ in ids:
        if id_ not in there:
            raise Refused("InvalidGroup.NotFound", f"The security group '{id_}' does not exist")
    chosen = [there[id_] for id_ in ids] if ids else there.values()
    tags = tags_at(cloud, moment)
    shown, token = cut(
        matching(chosen, filters, {**_GROUP_FIELDS, **_owner(cloud)}, tags), page, lambda group: group.id
    )
    return {
        "securityGroupInfo": [
            shapes.security_group(group, tags(group), cloud.region, cloud.account) for group in shown
        ],
        "nextToken": token,
    }


def instance_type_list(cloud: Cloud, params: Params, moment: float) -> Body:
    del moment  # instance types do not change
    names = params.texts("InstanceType")
    filters = read_filters(params)
    page = read_page(params, most=TYPES_PAGE, named=names, named_as="instanceTypes")
    params.finish()
    if len(names) > TYPES_PAGE:
        raise Refused("InvalidParameterValue", f"At most {TYPES_PAGE} instance types can be named in one request.")
    chosen: Iterable[InstanceType] = cloud.types.values()
    if names:
        chosen = [instance_types.require(cloud.types, name) for name in dict.fromkeys(names)]
    found = matching(chosen, filters, _TYPE_FIELDS)
    shown, token = cut(found, replace(page, size=page.size or TYPES_PAGE), lambda type_: type_.name)
    return {"instanceTypeSet": [shapes.instance_type(type_) for type_ in shown], "nextToken": token}


def _owner(cloud: Cloud) -> dict[str, Callable[[object], Iterable[str]]]:
    return {"owner-id": lambda _: (cloud.account,)}


_VPC_FIELDS: Fields[Vpc] = {
    "vpc-id": lambda home: (home.id,),
    "cidr": lambda home: (str(home.cidr),),
    "cidr-block-association.cidr-block": lambda home: (str(home.cidr),),
    "ipv6-cidr-block-association.ipv6-cidr-block": lambda home: (str(home.cidr6),) if home.cidr6 else (),
    "state": lambda _: ("available",),
    "is-default": lambda _: ("false",),
}

_SUBNET_FIELDS: Fields[Subnet] = {
    "subnet-id": lambda net: (net.id,),
    "vpc-id": lambda net: (net.vpc,),
    "availability-zone": lambda net: (net.zone,),
    "availabilityZone": lambda net: (net.zone,),
    "cidr-block": lambda net: (str(net.cidr),),
    "cidr": lambda net: (str(net.cidr),),
    "cidrBlock": lambda net: (str(net.cidr),),
    "ipv6-cidr-block-association.ipv6-cidr-block": lambda net: (str(net.cidr6),) if net.cidr6 else (),
    "state": lambda _: ("available",),
    "default-for-az": lambda _: ("false",),
    "map-public-ip-on-launch": lambda _: ("false",),
    "available-ip-address-count": lambda net: (str(net.free),),
}

_ROUTE_TABLE_FIELDS: Fields[RouteTable] = {
    "route-table-id": lambda table: (table.id,),
    "vpc-id": lambda table: (table.vpc,),
    "association.subnet-id": lambda table: (subnet for _, subnet in table.associations if subnet),
    "association.main": lambda table: (truth(not subnet) for _, subnet in table.associations),
    "association.route-table-association-id": lambda table: (id_ for id_, _ in table.associations),
    "association.route-table-id": lambda table: (table.id for _ in table.associations),
    "route.destination-cidr-block": lambda table: ("0.0.0.0/0",) if table.default else (),
    "route.gateway-id": lambda table: ("local", table.default) if table.default.startswith("igw-") else ("local",),
    "route.nat-gateway-id": lambda table: (table.default,) if table.default.startswith("nat-") else (),
    "route.state": lambda _: ("active",),
}

_GROUP_FIELDS: Fields[SecurityGroup] = {
    "group-id": lambda group: (group.id,),
    "group-name": lambda group: (group.name,),
    "vpc-id": lambda group: (group.vpc,),
    "description": lambda group: (group.description,),
}

_TYPE_FIELDS: Fields[InstanceType] = {
    "instance-type": lambda type_: (type_.name,),
    "hypervisor": lambda type_: (type_.hypervisor,) if type_.hypervisor else (),
    "bare-metal": lambda type_: (truth(type_.bare_metal),),
    "current-generation": lambda type_: (truth(type_.current),),
    "processor-info.supported-architecture": lambda type_: (type_.architecture,),
    "network-info.maximum-network-interfaces": lambda type_: (str(type_.interfaces),),
    "network-info.maximum-network-cards": lambda type_: (str(len(type_.cards)),),
    "network-info.ipv4-addresses-per-interface": lambda type_: (str(type_.ipv4),),
    "network-info.ipv6-addresses-per-interface": lambda type_: (str(type_.ipv6),),
    "network-info.ipv6-supported": lambda type_: (truth(type_.ipv6 > 0),),
    "network-info.efa-supported": lambda type_: (truth(type_.efa > 0),),
    "network-info.ena-support": lambda type_: (type_.ena,),
    "vcpu-info.default-vcpus": lambda type_: (str(type_.vcpus),),
    "memory-info.size-in-mib": lambda type_: (str(type_.memory_mib),),
}
