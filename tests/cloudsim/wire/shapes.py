"""Instances and interfaces under EC2's element names (EC2 API Reference, data types)."""

from collections.abc import Mapping
from ipaddress import IPv4Address

from cloudsim.model.attachments import Attachment
from cloudsim.model.instances import STATE_CODES, Instance
from cloudsim.model.interfaces import NetworkInterface
from cloudsim.model.security_groups import SecurityGroup
from cloudsim.model.tags import Tags
from cloudsim.wire.xml import Node, moment

Shape = dict[str, Node]


def network_interface(eni: NetworkInterface, groups: Mapping[str, SecurityGroup], tags: Tags, owner: str) -> Shape:
    """EC2 NetworkInterface."""
    return {
        "networkInterfaceId": eni.id,
        "subnetId": eni.subnet,
        "vpcId": eni.vpc,
        "availabilityZone": eni.zone,
        "description": eni.description,
        "ownerId": owner,
        "requesterManaged": eni.requester_managed,
        "status": eni.status,
        "macAddress": eni.mac,
        "privateIpAddress": str(eni.primary),
        "privateDnsName": _dns(eni.primary),
        "sourceDestCheck": eni.source_dest_check,
        "groupSet": _groups(eni, groups),
        "attachment": None
        if eni.attachment is None
        else {**_attachment(eni.attachment), "instanceId": eni.attachment.instance, "instanceOwnerId": owner},
        "tagSet": tag_set(tags),
        **_addresses(eni),
        "interfaceType": eni.type,
    }


def instance(
    machine: Instance,
    interfaces: list[NetworkInterface],
    groups: Mapping[str, SecurityGroup],
    tags: Tags,
    owner: str,
) -> Shape:
    """EC2 Reservation with its one Instance."""
    primary = next((eni for eni in interfaces if eni.attachment and eni.attachment.device_index == 0), None)
    return {
        "reservationId": machine.reservation,
        "ownerId": owner,
        "groupSet": (),
        "instancesSet": (
            {
                "instanceId": machine.id,
                "imageId": "ami-00000000000000000",
                "instanceState": {"code": STATE_CODES[machine.state], "name": machine.state.value},
                "privateDnsName": _dns(primary.primary) if primary else "",
                "dnsName": "",
                "amiLaunchIndex": 0,
                "instanceType": machine.type,
                "launchTime": moment(machine.launch_time),
                "placement": {"availabilityZone": machine.zone, "groupName": "", "tenancy": "default"},
                "monitoring": {"state": "disabled"},
                "subnetId": machine.subnet if primary else None,
                "vpcId": machine.vpc if primary else None,
                "privateIpAddress": str(primary.primary) if primary else None,
                "sourceDestCheck": primary.source_dest_check if primary else None,
                "groupSet": _groups(primary, groups) if primary else (),
                "architecture": "x86_64",
                "rootDeviceType": "ebs",
                "virtualizationType": "hvm",
                "hypervisor": "xen",  # what EC2 says for Xen and Nitro alike
                "tagSet": tag_set(tags),
                "networkInterfaceSet": [_instance_interface(eni, groups, owner) for eni in interfaces],
            },
        ),
    }


def tag_set(tags: Tags) -> list[Node]:
    return [{"key": key, "value": value} for key, value in sorted(tags.items())]


def _instance_interface(eni: NetworkInterface, groups: Mapping[str, SecurityGroup], owner: str) -> Shape:
    return {
        "networkInterfaceId": eni.id,
        "subnetId": eni.subnet,
        "vpcId": eni.vpc,
        "description": eni.description,
        "ownerId": owner,
        "status": eni.status,
        "macAddress": eni.mac,
        "privateIpAddress": str(eni.primary),
        "privateDnsName": _dns(eni.primary),
        "sourceDestCheck": eni.source_dest_check,
        "groupSet": _groups(eni, groups),
        "attachment": None if eni.attachment is None else _attachment(eni.attachment),
        **_addresses(eni),
        "interfaceType": eni.type,
    }


def _attachment(attachment: Attachment) -> Shape:
    return {
        "attachmentId": attachment.id,
        "deviceIndex": attachment.device_index,
        "networkCardIndex": attachment.network_card,
        "status": attachment.state.value,
        "attachTime": moment(attachment.attach_time),
        "deleteOnTermination": attachment.delete_on_termination,
    }


def _groups(eni: NetworkInterface, groups: Mapping[str, SecurityGroup]) -> list[Node]:
    return [{"groupId": id_, "groupName": groups[id_].name if id_ in groups else ""} for id_ in eni.groups]


def _addresses(eni: NetworkInterface) -> Shape:
    return {
        "privateIpAddressesSet": [
            {"privateIpAddress": str(address), "privateDnsName": _dns(address), "primary": address == eni.primary}
            for address in eni.addresses
        ],
        "ipv4PrefixSet": [{"ipv4Prefix": str(prefix)} for prefix in eni.prefixes],
        "ipv6AddressesSet": [{"ipv6Address": str(address), "isPrimaryIpv6": False} for address in eni.addresses6],
        "ipv6PrefixSet": [{"ipv6Prefix": str(prefix)} for prefix in eni.prefixes6],
    }


def _dns(address: IPv4Address) -> str:
    return f"ip-{str(address).replace('.', '-')}.ec2.internal"
