"""VPCs, subnets and what belongs to them, and instance types, under EC2's element names."""

from ipaddress import IPv6Network

from cloudsim.model.instance_types import InstanceType
from cloudsim.model.reservations import Reservation
from cloudsim.model.routes import RouteTable
from cloudsim.model.security_groups import SecurityGroup
from cloudsim.model.subnets import Subnet
from cloudsim.model.tags import Tags
from cloudsim.model.vpcs import Vpc
from cloudsim.wire.shapes import Shape, tag_set
from cloudsim.wire.xml import Node


def vpc(home: Vpc, tags: Tags, owner: str) -> Shape:
    """EC2 Vpc."""
    assoc = home.id.removeprefix("vpc-")
    return {
        "vpcId": home.id,
        "ownerId": owner,
        "state": "available",
        "cidrBlock": str(home.cidr),
        "cidrBlockAssociationSet": (
            {
                "associationId": f"vpc-cidr-assoc-{assoc}",
                "cidrBlock": str(home.cidr),
                "cidrBlockState": {"state": "associated"},
            },
        ),
        "ipv6CidrBlockAssociationSet": _ipv6_blocks(home.cidr6, f"vpc-cidr-assoc-{assoc}-6"),
        "instanceTenancy": "default",
        "isDefault": False,
        "tagSet": tag_set(tags),
    }


def route_table(table: RouteTable, home: Vpc, tags: Tags, owner: str) -> Shape:
    """EC2 RouteTable."""
    routes: list[Node] = [_route("destinationCidrBlock", str(home.cidr), "local", "CreateRouteTable")]
    if home.cidr6 is not None:
        routes.append(_route("destinationIpv6CidrBlock", str(home.cidr6), "local", "CreateRouteTable"))
    if table.default:
        routes.append(_route("destinationCidrBlock", "0.0.0.0/0", table.default, "CreateRoute"))
    return {
        "routeTableId": table.id,
        "vpcId": table.vpc,
        "ownerId": owner,
        "routeSet": routes,
        "associationSet": [
            {
                "routeTableAssociationId": association,
                "routeTableId": table.id,
                "subnetId": member or None,
                "main": not member,
                "associationState": {"state": "associated"},
            }
            for association, member in table.associations
        ],
        "propagatingVgwSet": (),
        "tagSet": tag_set(tags),
    }


def reservation(held: Reservation, tags: Tags, owner: str) -> Shape:
    """EC2 SubnetCidrReservation."""
    return {
        "subnetCidrReservationId": held.id,
        "subnetId": held.subnet,
        "cidr": str(held.cidr),
        "reservationType": held.type.value,
        "ownerId": owner,
        "description": held.description or None,
        "tagSet": tag_set(tags),
    }


def subnet(net: Subnet, tags: Tags, region: str, owner: str) -> Shape:
    """EC2 Subnet."""
    return {
        "subnetId": net.id,
        "subnetArn": f"arn:aws:ec2:{region}:{owner}:subnet/{net.id}",
        "state": "available",
        "ownerId": owner,
        "vpcId": net.vpc,
        "cidrBlock": str(net.cidr),
        "ipv6CidrBlockAssociationSet": _ipv6_blocks(net.cidr6, f"subnet-cidr-assoc-{net.id.removeprefix('subnet-')}"),
        "availableIpAddressCount": net.free,
        "availabilityZone": net.zone,
        "defaultForAz": False,
        "mapPublicIpOnLaunch": False,
        "assignIpv6AddressOnCreation": False,
        "tagSet": tag_set(tags),
    }


def security_group(group: SecurityGroup, tags: Tags, region: str, owner: str) -> Shape:
    """EC2 SecurityGroup, without rules."""
    return {
        "ownerId": owner,
        "groupId": group.id,
        "securityGroupArn": f"arn:aws:ec2:{region}:{owner}:security-group/{group.id}",
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
        "currentGeneration": type_.current,
        "bareMetal": type_.bare_metal,
        "hypervisor": type_.hypervisor or None,
        "processorInfo": {"supportedArchitectures": (type_.architecture,)},
        "vCpuInfo": {"defaultVCpus": type_.vcpus},
        "memoryInfo": {"sizeInMiB": type_.memory_mib},
        "networkInfo": {
            "maximumNetworkInterfaces": type_.interfaces,
            "maximumNetworkCards": len(type_.cards),
            "defaultNetworkCardIndex": 0,
            "networkCards": [
                {"networkCardIndex": index, "maximumNetworkInterfaces": most} for index, most in enumerate(type_.cards)
            ],
            "ipv4AddressesPerInterface": type_.ipv4,
            "ipv6AddressesPerInterface": type_.ipv6,
            "ipv6Supported": type_.ipv6 > 0,
            "enaSupport": type_.ena,
            "efaSupported": type_.efa > 0,
            "efaInfo": {"maximumEfaInterfaces": type_.efa} if type_.efa else None,
        },
    }


def _ipv6_blocks(block: IPv6Network | None, association: str) -> list[Node]:
    if block is None:
        return []
    return [
        {
            "associationId": association,
            "ipv6CidrBlock": str(block),
            "ipv6CidrBlockState": {"state": "associated"},
        }
    ]


def _route(kind: str, destination: str, to: str, origin: str) -> Shape:
    target = "natGatewayId" if to.startswith("nat-") else "gatewayId"
    return {kind: destination, target: to, "origin": origin, "state": "active"}
