"""Reading operations on interfaces, instances and tags. Each looks at the account as it was at ``moment``."""

from collections.abc import Callable, Iterable, Mapping

from cloudsim.model.attachments import Attachment
from cloudsim.model.cloud import Cloud
from cloudsim.model.instances import STATE_CODES, Instance
from cloudsim.model.interfaces import NetworkInterface
from cloudsim.model.security_groups import SecurityGroup
from cloudsim.model.tags import resource_type
from cloudsim.wire import shapes
from cloudsim.wire.filters import Fields, cut, matching, read_filters, read_page
from cloudsim.wire.lookup import Body, named, tags_at, truth
from cloudsim.wire.query import Params


def network_interfaces(cloud: Cloud, params: Params, moment: float) -> Body:
    ids = params.texts("NetworkInterfaceId")
    filters = read_filters(params)
    page = read_page(params, most=1000, named=ids, named_as="networkInterfaceIds")
    params.finish()
    groups = cloud.security_groups.as_of(moment)
    tags = tags_at(cloud, moment)
    chosen = named(cloud.interfaces, moment, ids, "InvalidNetworkInterfaceID", "networkInterface")
    found = matching(chosen, filters, {**_INTERFACE_FIELDS, **_of_account(cloud, groups)}, tags)
    shown, token = cut(found, page, lambda eni: eni.id)
    return {
        "networkInterfaceSet": [shapes.network_interface(eni, groups, tags(eni), cloud.account) for eni in shown],
        "nextToken": token,
    }


def instances(cloud: Cloud, params: Params, moment: float) -> Body:
    ids = params.texts("InstanceId")
    filters = read_filters(params)
    page = read_page(params, most=1000, named=ids, named_as="instancesSet")
    params.finish()
    groups = cloud.security_groups.as_of(moment)
    tags = tags_at(cloud, moment)
    chosen = named(cloud.instances, moment, ids, "InvalidInstanceID", "instance")
    attached: dict[str, list[NetworkInterface]] = {}
    for eni in cloud.interfaces.as_of(moment).values():
        if eni.attachment:
            attached.setdefault(eni.attachment.instance, []).append(eni)
    by_interface: Fields[Instance] = {
        f"network-interface.{name}": _any_of(attached, read)
        for name, read in {**_INTERFACE_FIELDS, **_of_account(cloud, groups)}.items()
    }
    found = matching(chosen, filters, {**by_interface, **_INSTANCE_FIELDS}, tags)
    shown, token = cut(found, page, lambda machine: machine.reservation)
    return {
        "reservationSet": [
            shapes.instance(
                machine, sorted(attached.get(machine.id, ()), key=_place), groups, tags(machine), cloud.account
            )
            for machine in shown
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


def _place(eni: NetworkInterface) -> tuple[int, int]:
    return (eni.attachment.network_card, eni.attachment.device_index) if eni.attachment else (0, 0)


def _of_account(
    cloud: Cloud, groups: Mapping[str, SecurityGroup]
) -> Mapping[str, Callable[[NetworkInterface], Iterable[str]]]:
    """Filters that need more than the interface."""
    return {
        "owner-id": lambda _: (cloud.account,),
        "attachment.instance-owner-id": lambda eni: (cloud.account,) if eni.attachment else (),
        "group-name": lambda eni: (groups[id_].name for id_ in eni.groups if id_ in groups),
    }


def _any_of(
    attached: Mapping[str, list[NetworkInterface]], read: Callable[[NetworkInterface], Iterable[str]]
) -> Callable[[Instance], Iterable[str]]:
    return lambda machine: (value for eni in attached.get(machine.id, ()) for value in read(eni))


def _held(read: Callable[[Attachment], str]) -> Callable[[NetworkInterface], Iterable[str]]:
    """A filter on the attachment, which not every interface has."""
    return lambda eni: (read(eni.attachment),) if eni.attachment else ()


_INTERFACE_FIELDS: Fields[NetworkInterface] = {
    "network-interface-id": lambda eni: (eni.id,),
    "subnet-id": lambda eni: (eni.subnet,),
    "vpc-id": lambda eni: (eni.vpc,),
    "availability-zone": lambda eni: (eni.zone,),
    "description": lambda eni: (eni.description,),
    "mac-address": lambda eni: (eni.mac,),
    "status": lambda eni: (eni.status,),
    "interface-type": lambda eni: (eni.type,),
    "requester-managed": lambda eni: (truth(eni.requester_managed),),
    "source-dest-check": lambda eni: (truth(eni.source_dest_check),),
    "group-id": lambda eni: eni.groups,
    "private-ip-address": lambda eni: (str(address) for address in eni.addresses),
    "addresses.private-ip-address": lambda eni: (str(address) for address in eni.addresses),
    "addresses.primary": lambda eni: (truth(address == eni.primary) for address in eni.addresses),
    "private-dns-name": lambda eni: (f"ip-{str(eni.primary).replace('.', '-')}.ec2.internal",),
    "ipv4-prefixes.ipv4-prefix": lambda eni: (str(prefix) for prefix in eni.prefixes),
    "ipv6-addresses.ipv6-address": lambda eni: (str(address) for address in eni.addresses6),
    "ipv6-prefixes.ipv6-prefix": lambda eni: (str(prefix) for prefix in eni.prefixes6),
    "attachment.attachment-id": _held(lambda held: held.id),
    "attachment.instance-id": _held(lambda held: held.instance),
    "attachment.device-index": _held(lambda held: str(held.device_index)),
    "attachment.network-card-index": _held(lambda held: str(held.network_card)),
    "attachment.status": _held(lambda held: held.state.value),
    "attachment.delete-on-termination": _held(lambda held: truth(held.delete_on_termination)),
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

_TAG_FIELDS: Fields[tuple[str, str, str]] = {
    "resource-id": lambda tag: (tag[0],),
    "resource-type": lambda tag: (resource_type(tag[0]),),
    "key": lambda tag: (tag[1],),
    "value": lambda tag: (tag[2],),
}
