"""Filters, paging, and the reads' own shapes, through the real SDK."""

from typing import TYPE_CHECKING

import pytest

from cloudsim.conftest import Account, Refusal
from cloudsim.model.instance_types import known_types

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef

MAX_PODS = {
    "t3.small": 11,
    "t3.medium": 17,
    "t3.large": 35,
    "m4.large": 20,
    "m5.large": 29,
    "m5.xlarge": 58,
    "m5.12xlarge": 234,
    "m5.24xlarge": 737,
    "c5.4xlarge": 234,
    "c5.9xlarge": 234,
    "c5.18xlarge": 737,
    "c6g.medium": 8,
    "m6i.8xlarge": 234,
    "r5.16xlarge": 737,
}
"""What AWS publishes for its VPC CNI (eni-max-pods.txt): interfaces times (addresses - 1), plus 2."""


@pytest.mark.parametrize(("type_", "pods"), MAX_PODS.items())
def test_instance_types_have_aws_numbers(type_: str, pods: int) -> None:
    """Interfaces and addresses of a type give the pod count that AWS publishes for it."""
    known = known_types()[type_]

    assert pods == known.interfaces * (known.ipv4 - 1) + 2


def test_known_types_are_many_and_whole() -> None:
    """At least two hundred types, each with interfaces on its cards and addresses on its interfaces."""
    known = known_types()

    assert len(known) >= 200
    assert all(min(type_.cards) >= 1 and type_.ipv4 >= 2 and type_.vcpus >= 1 for type_ in known.values())
    assert {type_.hypervisor for type_ in known.values()} == {"nitro", "xen", ""}
    assert all(type_.bare_metal == ("metal" in name) for name, type_ in known.items())


def test_instance_type_pages(account: Account) -> None:
    """DescribeInstanceTypes shows a hundred types a page even when no page is asked for; all come once."""
    first = account.ec2.describe_instance_types()
    pages = account.ec2.get_paginator("describe_instance_types").paginate()
    names = [type_["InstanceType"] for page in pages for type_ in page["InstanceTypes"]]

    assert len(first["InstanceTypes"]) == 100
    assert sorted(known_types()) == sorted(names)


def test_network_cards(account: Account) -> None:
    """EC2 User Guide, "Network cards": a p4d.24xlarge has four, a p5.48xlarge thirty-two of two interfaces each."""
    found = account.ec2.describe_instance_types(InstanceTypes=["p4d.24xlarge", "p5.48xlarge", "m5.metal"])
    network = {type_["InstanceType"]: type_["NetworkInfo"] for type_ in found["InstanceTypes"]}
    by_name = {type_["InstanceType"]: type_ for type_ in found["InstanceTypes"]}

    assert network["p4d.24xlarge"]["MaximumNetworkCards"] == 4
    assert [card["MaximumNetworkInterfaces"] for card in network["p5.48xlarge"]["NetworkCards"]] == [2] * 32
    assert network["p5.48xlarge"]["MaximumNetworkInterfaces"] == 64
    assert by_name["m5.metal"]["BareMetal"]
    assert "Hypervisor" not in by_name["m5.metal"]


def test_second_card_takes_an_interface_at_the_same_index(account: Account, refusal: Refusal) -> None:
    """A device index is unique on its card; a card takes no more interfaces than it has."""
    body = {"type": "p5.48xlarge", "subnet": account.subnet}
    instance = account.sim.control("POST", "/instances", body)["id"]

    def attach(index: int, card: int) -> object:
        return account.ec2.attach_network_interface(
            NetworkInterfaceId=account.create(), InstanceId=instance, DeviceIndex=index, NetworkCardIndex=card
        )

    attach(1, 1)
    attach(1, 0)
    assert refusal(lambda: attach(1, 1))[0] == "InvalidParameterValue"
    assert refusal(lambda: attach(2, 0))[0] == "AttachmentLimitExceeded"
    assert refusal(lambda: attach(1, 32))[0] == "InvalidParameterValue"
    shown = account.ec2.describe_network_interfaces(
        Filters=[{"Name": "attachment.network-card-index", "Values": ["1"]}]
    )["NetworkInterfaces"]
    assert [eni["Attachment"]["NetworkCardIndex"] for eni in shown] == [1]


def test_instance_type_shape(account: Account) -> None:
    """DescribeInstanceTypes says a t3.medium has 3 interfaces of 6 addresses on nitro."""
    (found,) = account.ec2.describe_instance_types(InstanceTypes=["t3.medium"])["InstanceTypes"]

    network = found["NetworkInfo"]
    assert (network["MaximumNetworkInterfaces"], network["Ipv4AddressesPerInterface"]) == (3, 6)
    assert (found["Hypervisor"], found["BareMetal"]) == ("nitro", False)


def test_instances_list_their_interfaces_by_device_index(account: Account) -> None:
    """DescribeInstances shows interfaces in the order of their index, the primary's address as the machine's."""
    second, first = account.create(), account.create()
    account.attach(second, 2)
    account.attach(first, 1)
    machine = account.ec2.describe_instances(InstanceIds=[account.instance])["Reservations"][0]["Instances"][0]

    interfaces = machine["NetworkInterfaces"]
    assert [account.primary, first, second] == [eni["NetworkInterfaceId"] for eni in interfaces]
    assert machine["PrivateIpAddress"] == interfaces[0]["PrivateIpAddress"]
    assert (machine["InstanceType"], machine["Placement"]["AvailabilityZone"]) == ("t3.medium", "us-east-1a")


def test_interface_filters(account: Account) -> None:
    """Each filter finds exactly the interface that has the value; several filters are joined by AND."""
    other = account.create(1)
    account.ec2.create_tags(Resources=[other], Tags=[{"Key": "cluster", "Value": "blue"}])
    address = account.addresses(other)[1]
    mac = str(account.interface(other)["mac"])

    def found(**filters: str) -> list[str]:
        chosen = [
            {"Name": name.replace("__", ":").replace("_", "-"), "Values": [text]} for name, text in filters.items()
        ]
        answer = account.ec2.describe_network_interfaces(Filters=chosen)  # type: ignore[arg-type] # plain dicts
        return [eni["NetworkInterfaceId"] for eni in answer["NetworkInterfaces"]]

    assert [other] == found(private_ip_address=address)
    assert [other] == found(mac_address=mac)
    assert [other] == found(tag__cluster="bl*")
    assert [other] == found(tag_key="cluster")
    assert [other] == found(status="available")
    assert [account.primary] == found(status="in-use")
    assert found(status="in-use", tag_key="cluster") == []
    assert {other, account.primary} == set(found(vpc_id=account.vpc))
    by_instance = account.ec2.describe_network_interfaces(
        Filters=[{"Name": "attachment.instance-id", "Values": [account.instance, "i-other"]}]
    )
    assert [account.primary] == [eni["NetworkInterfaceId"] for eni in by_instance["NetworkInterfaces"]]


def test_pages_cover_everything_once(account: Account) -> None:
    """Walking pages of five shows each interface exactly once."""
    made = {account.create() for _ in range(12)} | {account.primary}
    paginator = account.ec2.get_paginator("describe_network_interfaces")
    pages = [page["NetworkInterfaces"] for page in paginator.paginate(PaginationConfig={"PageSize": 5})]

    assert [len(page) for page in pages] == [5, 5, 3]
    assert sorted(made) == sorted(eni["NetworkInterfaceId"] for page in pages for eni in page)


def test_subnet_filters(account: Account) -> None:
    """Subnets are found by VPC and zone, with the free count that five reserved addresses leave."""
    found = account.ec2.describe_subnets(
        Filters=[
            {"Name": "vpc-id", "Values": [account.vpc]},
            {"Name": "availability-zone", "Values": ["us-east-1b"]},
        ]
    )["Subnets"]

    assert [(account.elsewhere, 251)] == [(net["SubnetId"], net["AvailableIpAddressCount"]) for net in found]


def test_subnets_and_groups_by_tag(account: Account) -> None:
    """Discovery: subnets, groups, VPCs and instances are found by tag, tag key and value pattern."""
    tagged = {"role/cni": "1", "cluster": "blue"}
    body = {"vpc": account.vpc, "cidr": "10.0.9.0/24", "zone": "us-east-1c", "tags": tagged}
    subnet = account.sim.control("POST", "/subnets", body)["id"]
    group = account.sim.control("POST", "/security-groups", {"vpc": account.vpc, "name": "pods", "tags": tagged})["id"]
    account.ec2.create_tags(Resources=[account.vpc, account.instance], Tags=[{"Key": "cluster", "Value": "blue"}])
    by_tag: list[FilterTypeDef] = [{"Name": "tag:cluster", "Values": ["b*", "green"]}]

    def found(name: str, *values: str) -> list[str]:
        answer = account.ec2.describe_security_groups(Filters=[{"Name": name, "Values": list(values)}])
        return [entry["GroupId"] for entry in answer["SecurityGroups"]]

    subnets = account.ec2.describe_subnets(Filters=[{"Name": "tag-key", "Values": ["role/cni"]}])["Subnets"]
    assert [subnet] == [net["SubnetId"] for net in subnets]
    assert {tag["Key"]: tag["Value"] for tag in subnets[0]["Tags"]} == tagged
    assert [group] == found("tag:role/cni", "1") == found("group-name", "pods") == found("tag:cluster", "blue")
    assert {group, account.group} == set(found("vpc-id", account.vpc))
    assert [account.vpc] == [vpc["VpcId"] for vpc in account.ec2.describe_vpcs(Filters=by_tag)["Vpcs"]]
    machines = account.ec2.describe_instances(Filters=by_tag)["Reservations"]
    assert [account.instance] == [one["Instances"][0]["InstanceId"] for one in machines]


def test_filters_of_collectors(account: Account) -> None:
    """What a collector asks of interfaces and instances finds them, and nothing else."""
    group = account.sim.control("POST", "/security-groups", {"vpc": account.vpc, "name": "pods"})["id"]
    made = account.ec2.create_network_interface(
        SubnetId=account.subnet, Groups=[group], Description="leaked by node-1", Ipv4PrefixCount=1
    )["NetworkInterface"]
    interface = made["NetworkInterfaceId"]
    account.sim.control("PUT", f"/interfaces/{account.primary}", {"requester_managed": True})

    def interfaces(name: str, value: str) -> list[str]:
        answer = account.ec2.describe_network_interfaces(Filters=[{"Name": name, "Values": [value]}])
        return [eni["NetworkInterfaceId"] for eni in answer["NetworkInterfaces"]]

    def machines(name: str, value: str) -> list[str]:
        answer = account.ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}])
        return [one["Instances"][0]["InstanceId"] for one in answer["Reservations"]]

    assert [interface] == interfaces("description", "leaked by *")
    assert [interface] == interfaces("group-name", "pods")
    assert [interface] == interfaces("ipv4-prefixes.ipv4-prefix", made["Ipv4Prefixes"][0]["Ipv4Prefix"])
    assert [account.primary] == interfaces("attachment.instance-owner-id", "123456789012")
    assert [account.primary] == interfaces("attachment.status", "attached")
    assert [account.primary] == interfaces("attachment.device-index", "0")
    assert [account.primary] == interfaces("attachment.delete-on-termination", "true")
    assert [account.primary] == interfaces("requester-managed", "true")
    assert [account.instance] == machines("network-interface.network-interface-id", account.primary)
    assert machines("network-interface.group-name", "pods") == []


def test_route_tables_show_the_way_out(account: Account) -> None:
    """A VPC's main table serves every subnet without its own; the control API says where the default route goes."""
    (main,) = account.ec2.describe_route_tables(
        Filters=[{"Name": "vpc-id", "Values": [account.vpc]}, {"Name": "association.main", "Values": ["true"]}]
    )["RouteTables"]
    body = {"vpc": account.vpc, "subnets": [account.subnet], "default": "nat-gateway", "tags": {"a": "b"}}
    private = account.sim.control("POST", "/route-tables", body)
    account.sim.control("PUT", f"/route-tables/{main['RouteTableId']}", {"default": "internet-gateway"})

    def defaults(*filters: tuple[str, str]) -> dict[str, str]:
        asked = [{"Name": name, "Values": [value]} for name, value in filters]
        tables = account.ec2.describe_route_tables(Filters=asked)["RouteTables"]  # type: ignore[arg-type] # plain dicts
        routes = {table["RouteTableId"]: table["Routes"] for table in tables}
        return {
            id_: route.get("GatewayId") or route.get("NatGatewayId", "")
            for id_, held in routes.items()
            for route in held
            if route.get("DestinationCidrBlock") == "0.0.0.0/0"
        }

    assert [(route["DestinationCidrBlock"], route["GatewayId"]) for route in main["Routes"]] == [
        ("10.0.0.0/16", "local")
    ]
    assert defaults(("association.subnet-id", account.subnet)) == {private["id"]: private["default"]}
    assert private["default"].startswith("nat-")
    assert defaults(("tag:a", "b")) == {private["id"]: private["default"]}
    assert defaults(("route.nat-gateway-id", "nat-*")) == {private["id"]: private["default"]}
    assert defaults(("association.main", "true"))[main["RouteTableId"]].startswith("igw-")
    account.sim.control("PUT", f"/route-tables/{private['id']}", {"default": ""})
    assert defaults(("association.subnet-id", account.subnet)) == {}
