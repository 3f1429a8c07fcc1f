"""The model's records under EC2's element names (EC2 API Reference, data types)."""

from collections.abc import Mapping
from ipaddress import IPv4Address

from cloudsim.model.attachments import Attachment
from cloudsim.model.cloud import ACCOUNT
from cloudsim.model.instance_types import InstanceType
from cloudsim.model.instances import STATE_CODES, Instance
from cloudsim.model.interfaces import NetworkInterface
from cloudsim.model.security_groups import SecurityGroup
from cloudsim.model.subnets import Subnet
from cloudsim.model.tags import Tags
from cloudsim.wire.xml import Node, moment

Shape = dict[str, Node]


def network_interface(eni: NetworkInterface, groups: Mapping[str, SecurityGroup], tags: Tags) -> Shape:
    """EC2 NetworkInterface."""
    return {
        "networkInterfaceId": eni.id,
        "subnetId": eni.subnet,
        "vpcId": eni.vpc,
        "availabilityZone": eni.zone,
        "description": eni.description,
        "ownerId": ACCOUNT,
        "requesterManaged": False,
        "status": eni.status,
        "macAddress": eni.mac,
        "privateIpAddress": str(eni.primary),
        "privateDnsName": _dns(eni.primary),
        "sourceDestCheck": eni.source_dest_check,
        "groupSet": _groups(eni, groups),
        "attachment": None if eni.attachment is None else {**_attachment(eni.attachment), **_holder(eni.attachment)},
        "tagSet": tag_set(tags),
        "privateIpAddressesSet": _addresses(eni),
        "ipv6AddressesSet": (),
        "interfaceType": "interface",
    }


def instance(
    machine: Instance, interfaces: list[NetworkInterface], groups: Mapping[str, SecurityGroup], tags: Tags
) -> Shape:
    """EC2 Reservation with its one Instance."""
    primary = next((eni for eni in interfaces if eni.attachment and eni.attachment.device_index == 0), None)
    return {
        "reservationId": machine.reservation,
        "ownerId": ACCOUNT,
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
                "networkInterfaceSet": [_instance_interface(eni, groups) for eni in interfaces],
            },
        ),
    }


def subnet(net: Subnet, tags: Tags, region: str) -> Shape:
    """EC2 Subnet."""
    return {
        "subnetId": net.id,
        "subnetArn": f"arn:aws:ec2:{region}:{ACCOUNT}:subnet/{net.id}",
        "state": "available",
        "ownerId": ACCOUNT,
        "vpcId": net.vpc,
        "cidrBlock": str(net.cidr),
        "ipv6CidrBlockAssociationSet": (),
        "availableIpAddressCount": net.free,
        "availabilityZone": net.zone,
        "defaultForAz": False,
        "mapPublicIpOnLaunch": False,
        "assignIpv6AddressOnCreation": False,
        "tagSet": tag_set(tags),
    }


def security_group(group: SecurityGroup, tags: Tags, region: str) -> Shape:
    """EC2 SecurityGroup, without rules."""
    return {
        "ownerId": ACCOUNT,
        "groupId": group.id,
        "securityGroupArn": f"arn:aws:ec2:{region}:{ACCOUNT}:security-group/{group.id}",
        "groupName": group.name,
        "groupDescription": group.description,
        "vpcId": group.vpc,
        "ipPermissions": (),
        "ipPermissionsEgress": (),
        "tagSet": tag_set(tags),
    }


def instance_type(type_: InstanceType) -> Shape:
    """EC2 InstanceTypeInfo, as far as networks are concerned."""
    return {
        "instanceType": type_.name,
        "currentGeneration": type_.hypervisor != "xen",
        "bareMetal": type_.bare_metal,
        "hypervisor": type_.hypervisor or None,
        "vCpuInfo": {"defaultVCpus": type_.vcpus},
        "memoryInfo": {"sizeInMiB": type_.memory_mib},
        "networkInfo": {
            "maximumNetworkInterfaces": type_.interfaces,
            "maximumNetworkCards": 1,
            "defaultNetworkCardIndex": 0,
            "networkCards": ({"networkCardIndex": 0, "maximumNetworkInterfaces": type_.interfaces},),
            "ipv4AddressesPerInterface": type_.ipv4,
            "ipv6AddressesPerInterface": type_.ipv6,
            "ipv6Supported": type_.ipv6 > 0,
            "enaSupport": "unsupported" if type_.hypervisor == "xen" else "required",
            "efaSupported": False,
        },
    }


def tag_set(tags: Tags) -> list[Node]:
    return [{"key": key, "value": value} for key, value in sorted(tags.items())]


def _instance_interface(eni: NetworkInterface, groups: Mapping[str, SecurityGroup]) -> Shape:
    return {
        "networkInterfaceId": eni.id,
        "subnetId": eni.subnet,
        "vpcId": eni.vpc,
        "description": eni.description,
        "ownerId": ACCOUNT,
        "status": eni.status,
        "macAddress": eni.mac,
        "privateIpAddress": str(eni.primary),
        "privateDnsName": _dns(eni.primary),
        "sourceDestCheck": eni.source_dest_check,
        "groupSet": _groups(eni, groups),
        "attachment": None if eni.attachment is None else _attachment(eni.attachment),
        "privateIpAddressesSet": _addresses(eni),
        "ipv6AddressesSet": (),
        "interfaceType": "interface",
    }


def _attachment(attachment: Attachment) -> Shape:
    return {
        "attachmentId": attachment.id,
        "deviceIndex": attachment.device_index,
        "networkCardIndex": 0,
        "status": attachment.state.value,
        "attachTime": moment(attachment.attach_time),
        "deleteOnTermination": attachment.delete_on_termination,
    }


def _holder(attachment: Attachment) -> Shape:
    return {"instanceId": attachment.instance, "instanceOwnerId": ACCOUNT}


def _groups(eni: NetworkInterface, groups: Mapping[str, SecurityGroup]) -> list[Node]:
    return [{"groupId": id_, "groupName": groups[id_].name if id_ in groups else ""} for id_ in eni.groups]


def _addresses(eni: NetworkInterface) -> list[Node]:
    return [
        {"privateIpAddress": str(address), "privateDnsName": _dns(address), "primary": address == eni.primary}
        for address in eni.addresses
    ]


def _dns(address: IPv4Address) -> str:
    return f"ip-{str(address).replace('.', '-')}.ec2.internal"
