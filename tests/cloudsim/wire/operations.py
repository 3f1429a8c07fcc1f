"""The actions this simulator has, by EC2's names."""

from collections.abc import Callable, Mapping

from cloudsim.model.cloud import Cloud
from cloudsim.wire import describes, mutations
from cloudsim.wire.describes import Body
from cloudsim.wire.mutations import Done
from cloudsim.wire.query import Params

READS: Mapping[str, Callable[[Cloud, Params, float], Body]] = {
    "DescribeInstances": describes.instances,
    "DescribeInstanceTypes": describes.instance_type_list,
    "DescribeNetworkInterfaces": describes.network_interfaces,
    "DescribeSecurityGroups": describes.security_groups,
    "DescribeSubnets": describes.subnets,
    "DescribeTags": describes.tag_list,
}

WRITES: Mapping[str, Callable[[Cloud, Params], Done]] = {
    "AssignPrivateIpAddresses": mutations.assign_private_ip_addresses,
    "AttachNetworkInterface": mutations.attach_network_interface,
    "CreateNetworkInterface": mutations.create_network_interface,
    "CreateTags": mutations.create_tags,
    "DeleteNetworkInterface": mutations.delete_network_interface,
    "DeleteTags": mutations.delete_tags,
    "DetachNetworkInterface": mutations.detach_network_interface,
    "ModifyNetworkInterfaceAttribute": mutations.modify_network_interface_attribute,
    "UnassignPrivateIpAddresses": mutations.unassign_private_ip_addresses,
}
