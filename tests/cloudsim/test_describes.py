"""Filters, paging, and the reads' own shapes, through the real SDK."""

import pytest

from cloudsim.conftest import Account
from cloudsim.model.instance_types import known_types

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
