"""EC2's replies as values: shapes from the EC2 API Reference that the simulator does not show."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest

from underlay.core.cloud.model import Egress
from underlay.providers.aws import convert, networks

PRIMARY_IPV6 = {"Ipv6Address": "2001:db8::5", "IsPrimaryIpv6": True}
ENI: Mapping[str, Any] = {
    "NetworkInterfaceId": "eni-1",
    "SubnetId": "subnet-1",
    "MacAddress": "02:00:00:00:00:01",
    "OwnerId": "111111111111",
    "PrivateIpAddress": "10.0.1.4",
    "PrivateIpAddresses": [
        {"PrivateIpAddress": "10.0.1.4", "Primary": True},
        {"PrivateIpAddress": "10.0.1.5", "Primary": False},
    ],
    "Ipv6Addresses": [PRIMARY_IPV6, {"Ipv6Address": "2001:db8::6", "IsPrimaryIpv6": False}],
    "Ipv4Prefixes": [{"Ipv4Prefix": "10.0.1.16/28"}],
    "Ipv6Prefixes": [{"Ipv6Prefix": "2001:db8:0:0:1::/80"}],
}
ATTACHMENT = {"AttachmentId": "eni-attach-1", "DeviceIndex": 1, "InstanceId": "i-1", "InstanceOwnerId": "111111111111"}


def test_a_primary_ipv6_address_is_no_pods() -> None:
    """Neither is the primary IPv4 address; prefixes of both families are what they are."""
    found = convert.interface(convert.parse(ENI, convert.Eni))

    assert found.primary_address == ip_address("10.0.1.4")
    assert found.addresses == {ip_address("10.0.1.5"), ip_address("2001:db8::6")}
    assert found.prefixes == {ip_network("10.0.1.16/28"), ip_network("2001:db8:0:0:1::/80")}


@pytest.mark.parametrize("order", [1, -1])
def test_an_interface_without_ipv4(order: int) -> None:
    """In a subnet without IPv4 the primary address is the one marked so, wherever it is listed."""
    addresses = [{"Ipv6Address": "2001:db8::6"}, PRIMARY_IPV6][::order]
    only = {key: value for key, value in ENI.items() if "PrivateIp" not in key}
    found = convert.interface(convert.parse({**only, "Ipv6Addresses": addresses}, convert.Eni))

    assert found.primary_address == ip_address("2001:db8::5")
    assert found.addresses == {ip_address("2001:db8::6")}


@pytest.mark.parametrize(
    ("change", "special"),
    [
        ({}, False),
        ({"Attachment": ATTACHMENT}, False),
        ({"Attachment": {**ATTACHMENT, "InstanceOwnerId": "amazon-elb"}}, True),
        ({"RequesterManaged": True}, True),
        ({"Operator": {"Managed": True, "Principal": "eks.amazonaws.com"}}, True),
        ({"Operator": {"Managed": False}}, False),
        ({"InterfaceType": "branch"}, True),
        ({"TagSet": [{"Key": "node.k8s.amazonaws.com/no_manage", "Value": "true"}]}, True),
        ({"TagSet": [{"Key": "node.k8s.amazonaws.com/no_manage", "Value": "false"}]}, False),
    ],
)
def test_interfaces_of_services(change: Mapping[str, Any], special: bool) -> None:  # noqa: FBT001 pytest passes it by name
    """What AWS made, runs or attached to a machine of its own is nobody else's to change."""
    assert convert.interface(convert.parse({**ENI, **change}, convert.Eni)).special is special


SUBNET: Mapping[str, Any] = {
    "SubnetId": "subnet-1",
    "VpcId": "vpc-1",
    "AvailabilityZone": "a",
    "AvailableIpAddressCount": 250,
}


def _block(cidr: str, state: str) -> Mapping[str, Any]:
    return {"Ipv6CidrBlock": cidr, "Ipv6CidrBlockState": {"State": state}}


def test_only_associated_blocks_of_a_subnet_count() -> None:
    """One that is being taken away, or was, gives no addresses; each block has its gateway's entry."""
    blocks = [_block("2001:db8:1::/64", "disassociated"), _block("2001:db8:2::/64", "associated")]
    reply = {**SUBNET, "CidrBlock": "10.0.1.0/24", "Ipv6CidrBlockAssociationSet": blocks}
    found = networks.subnet(convert.parse(reply, networks.SubnetReply), Egress.NAT)

    assert found.cidrs == (ip_network("10.0.1.0/24"), ip_network("2001:db8:2::/64"))
    assert found.gateways == (ip_address("10.0.1.1"), None)


def test_a_subnet_without_ipv4() -> None:
    """Its one block has an entry for its gateway too."""
    reply = {**SUBNET, "Ipv6CidrBlockAssociationSet": [_block("2001:db8:2::/64", "associated")]}
    found = networks.subnet(convert.parse(reply, networks.SubnetReply), None)

    assert (found.cidrs, found.gateways) == ((ip_network("2001:db8:2::/64"),), (None,))


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ({"NatGatewayId": "nat-1"}, Egress.NAT),
        ({"GatewayId": "igw-1"}, Egress.INTERNET_GATEWAY),
        ({"GatewayId": "vgw-1"}, Egress.OTHER),
        ({"TransitGatewayId": "tgw-1"}, Egress.OTHER),
        ({"NatGatewayId": "nat-1", "State": "blackhole"}, Egress.NONE),
    ],
)
def test_default_routes(route: Mapping[str, str], expected: Egress) -> None:
    """By what a default route names (VPC User Guide, "Example routing options"); one whose target is gone is none."""
    local = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local"}
    table = {
        "VpcId": "vpc-1",
        "Routes": [local, {"DestinationCidrBlock": "0.0.0.0/0", "State": "active", **route}],
        "Associations": [{"Main": True}],
    }

    assert networks.egress([convert.parse(table, networks.RouteTable)], "subnet-1", "vpc-1") is expected
    assert networks.egress([convert.parse(table, networks.RouteTable)], "subnet-1", "vpc-2") is None


def test_a_reservation_of_no_block_is_a_malformed_reply() -> None:
    """Refused with its place in the reply, not as something else later."""
    entry = {"SubnetCidrReservationId": "scr-1", "SubnetId": "s", "Cidr": "10.0.1.1/28", "ReservationType": "prefix"}

    with pytest.raises(msgspec.ValidationError, match="SubnetIpv4CidrReservations"):
        convert.parse({"SubnetIpv4CidrReservations": [entry]}, networks.ReservationPage)
