"""The actions this simulator has, by EC2's names."""

from collections.abc import Callable, Mapping

from cloudsim.model.cloud import Cloud
from cloudsim.wire import assignments, creation, describes, mutations, networks, settings
from cloudsim.wire.done import Done
from cloudsim.wire.lookup import Body
from cloudsim.wire.query import Params

READS: Mapping[str, Callable[[Cloud, Params, float], Body]] = {
    "DescribeInstances": describes.instances,
    "DescribeInstanceTypes": networks.instance_type_list,
    "DescribeNetworkInterfaces": describes.network_interfaces,
    "DescribeRouteTables": networks.route_tables,
    "DescribeSecurityGroups": networks.security_groups,
    "DescribeSubnets": networks.subnets,
    "DescribeTags": describes.tag_list,
    "DescribeTrunkInterfaceAssociations": settings.trunk_interface_associations,
    "DescribeVpcs": networks.vpcs,
    "GetSubnetCidrReservations": settings.get_subnet_cidr_reservations,
}

WRITES: Mapping[str, Callable[[Cloud, Params], Done]] = {
    "AssignIpv6Addresses": assignments.assign_ipv6_addresses,
    "AssignPrivateIpAddresses": assignments.assign_private_ip_addresses,
    "AssociateTrunkInterface": settings.associate_trunk_interface,
    "AttachNetworkInterface": mutations.attach_network_interface,
    "CreateNetworkInterface": creation.create_network_interface,
    "CreateSubnetCidrReservation": settings.create_subnet_cidr_reservation,
    "CreateTags": mutations.create_tags,
    "DeleteNetworkInterface": mutations.delete_network_interface,
    "DeleteSubnetCidrReservation": settings.delete_subnet_cidr_reservation,
    "DeleteTags": mutations.delete_tags,
    "DetachNetworkInterface": mutations.detach_network_interface,
    "DisassociateTrunkInterface": settings.disassociate_trunk_interface,
    "ModifyNetworkInterfaceAttribute": mutations.modify_network_interface_attribute,
    "UnassignIpv6Addresses": assignments.unassign_ipv6_addresses,
    "UnassignPrivateIpAddresses": assignments.unassign_private_ip_addresses,
}
