"""Reading operations. Each looks at the account as it was at ``moment``."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from cloudsim.model import instance_types
from cloudsim.model.cloud import ACCOUNT, Cloud
from cloudsim.model.errors import Refused, not_found
from cloudsim.model.instance_types import InstanceType
from cloudsim.model.instances import STATE_CODES, Instance
from cloudsim.model.interfaces import NetworkInterface
from cloudsim.model.security_groups import SecurityGroup
from cloudsim.model.subnets import Subnet
from cloudsim.model.table import Table
from cloudsim.model.tags import Tags, resource_type
from cloudsim.wire import shapes
from cloudsim.wire.filters import Fields, cut, matching, read_filters, read_page
from cloudsim.wire.query import Params
from cloudsim.wire.xml import Node

T = TypeVar("T")
Body = Mapping[str, Node]


def network_interfaces(cloud: Cloud, params: Params, moment: float) -> Body:
    ids = params.texts("NetworkInterfaceId")
    filters = read_filters(params)
    page = read_page(params, most=1000, named=ids, named_as="networkInterfaceIds")
    params.finish()
    groups = cloud.security_groups.as_of(moment)
    chosen = _named(cloud.interfaces, moment, ids, "InvalidNetworkInterfaceID", "networkInterface")
    found = matching(chosen, filters, _INTERFACE_FIELDS, _tags(cloud, moment))
    shown, token = cut(found, page, lambda eni: eni.id)
    return {
        "networkInterfaceSet": [
            shapes.network_interface(eni, groups, cloud.tags.at(eni.id, moment) or {}) for eni in shown
        ],
        "nextToken": token,
    }


def instances(cloud: Cloud, params: Params, moment: float) -> Body:
    ids = params.texts("InstanceId")
    filters = read_filters(params)
    page = read_page(params, most=1000, named=ids, named_as="instancesSet")
    params.finish()
    groups = cloud.security_groups.as_of(moment)
    chosen = _named(cloud.instances, moment, ids, "InvalidInstanceID", "instance")
    found = matching(chosen, filters, _INSTANCE_FIELDS, _tags(cloud, moment))
    shown, token = cut(found, page, lambda machine: machine.reservation)
    attached: dict[str, list[NetworkInterface]] = {}
    for eni in cloud.interfaces.as_of(moment).values():
        if eni.attachment:
            attached.setdefault(eni.attachment.instance, []).append(eni)
    return {
        "reservationSet": [
            shapes.instance(
                machine,
                sorted(
                    attached.get(machine.id, ()), key=lambda eni: eni.attachment.device_index if eni.attachment else 0
                ),
                groups,
                cloud.tags.at(machine.id, moment) or {},
            )
            for machine in shown
        ],
        "nextToken": token,
    }


def instance_type_list(cloud: Cloud, params: Params, moment: float) -> Body:
    del moment  # instance types do not change
    names = params.texts("InstanceType")
    filters = read_filters(params)
    page = read_page(params, most=100, named=names, named_as="instanceTypes")
    params.finish()
    chosen: Iterable[InstanceType] = cloud.types.values()
    if names:
        chosen = [instance_types.require(cloud.types, name) for name in dict.fromkeys(names)]
    shown, token = cut(matching(chosen, filters, _TYPE_FIELDS), page, lambda type_: type_.name)
    return {"instanceTypeSet": [shapes.instance_type(type_) for type_ in shown], "nextToken": token}


def subnets(cloud: Cloud, params: Params, moment: float) -> Body:
    ids = params.texts("SubnetId")
    filters = read_filters(params)
    page = read_page(params, most=1000)
    params.finish()
    chosen = _named(cloud.subnets, moment, ids, "InvalidSubnetID", "subnet")
    found = matching(chosen, filters, _SUBNET_FIELDS, _tags(cloud, moment))
    shown, token = cut(found, page, lambda net: net.id)
    return {
        "subnetSet": [shapes.subnet(net, cloud.tags.at(net.id, moment) or {}, cloud.region) for net in shown],
        "nextToken": token,
    }


def security_groups(cloud: Cloud, params: Params, moment: float) -> Body:
    ids = params.texts("GroupId")
    filters = read_filters(params)
    page = read_page(params, most=1000)
    params.finish()
    there = cloud.security_groups.as_of(moment)
    for id_ in ids:
        if id_ not in there:
            raise Refused("InvalidGroup.NotFound", f"The security group '{id_}' does not exist")
    chosen = [there[id_] for id_ in ids] if ids else there.values()
    found = matching(chosen, filters, _GROUP_FIELDS, _tags(cloud, moment))
    shown, token = cut(found, page, lambda group: group.id)
    return {
        "securityGroupInfo": [
            shapes.security_group(group, cloud.tags.at(group.id, moment) or {}, cloud.region) for group in shown
        ],
        "nextToken": token,
    }


def tag_list(cloud: Cloud, params: Params, moment: float) -> Body:
    filters = read_filters(params)
    page = read_page(params, most=1000)
    params.finish()
    every = [(id_, key, value) for id_, tags in cloud.tags.as_of(moment).items() for key, value in tags.items()]
    found = matching(every, filters, _TAG_FIELDS, lambda tag: {tag[1]: tag[2]})
    shown, token = cut(found, page, lambda tag: f"{tag[0]} {tag[1]}")
    return {
        "tagSet": [
            {"resourceId": id_, "resourceType": resource_type(id_), "key": key, "value": value}
            for id_, key, value in shown
        ],
        "nextToken": token,
    }


class _Identified(Protocol):
    @property
    def id(self) -> str: ...


def _named(table: Table[T], moment: float, ids: tuple[str, ...], code: str, label: str) -> Iterable[T]:
    """All, or those with ``ids``: one that is not there fails the whole request."""
    if not ids:
        return table.as_of(moment).values()
    found = {id_: table.at(id_, moment) for id_ in ids}
    missing = [id_ for id_, record in found.items() if record is None]
    if missing:
        raise not_found(code, label, missing)
    return [record for record in found.values() if record is not None]


def _tags(cloud: Cloud, moment: float) -> Callable[[_Identified], Tags]:
    return lambda record: cloud.tags.at(record.id, moment) or {}


def _bool(value: bool) -> str:  # noqa: FBT001 a value, not a switch
    return "true" if value else "false"


_INTERFACE_FIELDS: Fields[NetworkInterface] = {
    "network-interface-id": lambda eni: (eni.id,),
    "subnet-id": lambda eni: (eni.subnet,),
    "vpc-id": lambda eni: (eni.vpc,),
    "availability-zone": lambda eni: (eni.zone,),
    "description": lambda eni: (eni.description,),
    "mac-address": lambda eni: (eni.mac,),
    "owner-id": lambda _: (ACCOUNT,),
    "status": lambda eni: (eni.status,),
    "interface-type": lambda _: ("interface",),
    "source-dest-check": lambda eni: (_bool(eni.source_dest_check),),
    "group-id": lambda eni: eni.groups,
    "private-ip-address": lambda eni: (str(address) for address in eni.addresses),
    "addresses.private-ip-address": lambda eni: (str(address) for address in eni.addresses),
    "attachment.attachment-id": lambda eni: (eni.attachment.id,) if eni.attachment else (),
    "attachment.instance-id": lambda eni: (eni.attachment.instance,) if eni.attachment else (),
    "attachment.device-index": lambda eni: (str(eni.attachment.device_index),) if eni.attachment else (),
    "attachment.status": lambda eni: (eni.attachment.state.value,) if eni.attachment else (),
    "attachment.delete-on-termination": lambda eni: (
        (_bool(eni.attachment.delete_on_termination),) if eni.attachment else ()
    ),
}

_INSTANCE_FIELDS: Fields[Instance] = {
    "instance-id": lambda machine: (machine.id,),
    "instance-type": lambda machine: (machine.type,),
    "instance-state-name": lambda machine: (machine.state.value,),
    "instance-state-code": lambda machine: (str(STATE_CODES[machine.state]),),
    "availability-zone": lambda machine: (machine.zone,),
    "subnet-id": lambda machine: (machine.subnet,),
    "vpc-id": lambda machine: (machine.vpc,),
    "private-ip-address": lambda machine: (machine.private_ip,),
}

_TYPE_FIELDS: Fields[InstanceType] = {
    "instance-type": lambda type_: (type_.name,),
    "hypervisor": lambda type_: (type_.hypervisor,),
    "bare-metal": lambda type_: (_bool(type_.bare_metal),),
    "network-info.maximum-network-interfaces": lambda type_: (str(type_.interfaces),),
    "network-info.ipv4-addresses-per-interface": lambda type_: (str(type_.ipv4),),
}

_SUBNET_FIELDS: Fields[Subnet] = {
    "subnet-id": lambda net: (net.id,),
    "vpc-id": lambda net: (net.vpc,),
    "availability-zone": lambda net: (net.zone,),
    "availabilityZone": lambda net: (net.zone,),
    "cidr-block": lambda net: (str(net.cidr),),
    "cidr": lambda net: (str(net.cidr),),
    "cidrBlock": lambda net: (str(net.cidr),),
    "state": lambda _: ("available",),
    "owner-id": lambda _: (ACCOUNT,),
    "available-ip-address-count": lambda net: (str(net.free),),
}

_GROUP_FIELDS: Fields[SecurityGroup] = {
    "group-id": lambda group: (group.id,),
    "group-name": lambda group: (group.name,),
    "vpc-id": lambda group: (group.vpc,),
    "description": lambda group: (group.description,),
    "owner-id": lambda _: (ACCOUNT,),
}

_TAG_FIELDS: Fields[tuple[str, str, str]] = {
    "resource-id": lambda tag: (tag[0],),
    "resource-type": lambda tag: (resource_type(tag[0]),),
    "key": lambda tag: (tag[1],),
    "value": lambda tag: (tag[2],),
}
