"""What EC2 refuses, with its code and its words. One test for each reason."""

from collections.abc import Callable
from urllib.error import HTTPError

import pytest

from cloudsim.conftest import Account, Refusal

UNKNOWN = "eni-0123456789abcdef0"


def _full(account: Account) -> str:
    """An attached interface with all six addresses of a t3.medium."""
    interface = account.create(5)
    account.attach(interface, 1)
    return interface


def _attached(account: Account) -> str:
    interface = account.create()
    account.attach(interface, 1)
    return interface


def _third_attached(account: Account) -> str:
    account.attach(account.create(), 1)
    account.attach(account.create(), 2)
    return account.create()


def _attach(account: Account, interface: str, index: int = 1, instance: str = "") -> object:
    return account.ec2.attach_network_interface(
        NetworkInterfaceId=interface, InstanceId=instance or account.instance, DeviceIndex=index
    )


def _assign(account: Account, interface: str, *addresses: str, count: int = 0, reassign: bool = False) -> object:
    if count:
        return account.ec2.assign_private_ip_addresses(
            NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=count
        )
    return account.ec2.assign_private_ip_addresses(
        NetworkInterfaceId=interface, PrivateIpAddresses=list(addresses), AllowReassignment=reassign
    )


def _terminated(account: Account) -> str:
    account.sim.control("DELETE", f"/instances/{account.instance}")
    return account.instance


def _other_network(account: Account) -> str:
    return str(account.sim.control("POST", "/vpcs", {"cidr": "10.1.0.0/16"})["security_group"])


def _many_groups(account: Account) -> list[str]:
    return [
        account.sim.control("POST", "/security-groups", {"vpc": account.vpc, "name": f"g{number}"})["id"]
        for number in range(6)
    ]


def _token_twice(account: Account) -> object:
    account.ec2.create_network_interface(SubnetId=account.subnet, ClientToken="t", Description="one")
    return account.ec2.create_network_interface(SubnetId=account.subnet, ClientToken="t", Description="two")


def _detach_twice(account: Account) -> object:
    attachment = account.attach(account.create(), 1)
    account.ec2.detach_network_interface(AttachmentId=attachment)
    return account.ec2.detach_network_interface(AttachmentId=attachment)


def _detach_primary(account: Account) -> object:
    found = account.ec2.describe_network_interfaces(NetworkInterfaceIds=[account.primary])["NetworkInterfaces"][0]
    return account.ec2.detach_network_interface(AttachmentId=found["Attachment"]["AttachmentId"])


def _unassign(account: Account, interface: str, *addresses: str) -> object:
    return account.ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=list(addresses))


def _taken(account: Account) -> str:
    return account.addresses(account.create(1))[1]


def _filtered(account: Account, name: str) -> object:
    return account.ec2.describe_network_interfaces(Filters=[{"Name": name, "Values": ["x"]}])


REFUSALS: dict[str, tuple[Callable[[Account], object], str, str]] = {
    "unknown subnet": (
        lambda a: a.create(subnet="subnet-0123456789abcdef0"),
        "InvalidSubnetID.NotFound",
        "The subnet ID 'subnet-0123456789abcdef0' does not exist",
    ),
    "unknown group": (
        lambda a: a.ec2.create_network_interface(SubnetId=a.subnet, Groups=["sg-0123456789abcdef0"]),
        "InvalidGroup.NotFound",
        "The security group 'sg-0123456789abcdef0' does not exist",
    ),
    "group of another network": (
        lambda a: a.ec2.create_network_interface(SubnetId=a.subnet, Groups=[_other_network(a)]),
        "InvalidParameter",
        "different networks",
    ),
    "six groups": (
        lambda a: a.ec2.create_network_interface(SubnetId=a.subnet, Groups=_many_groups(a)),
        "SecurityGroupsPerInterfaceLimitExceeded",
        "maximum number of security groups per interface",
    ),
    "subnet empty at create": (
        lambda a: a.create(11, a.tiny),
        "InsufficientFreeAddressesInSubnet",
        "The specified subnet does not have enough free addresses to satisfy the request.",
    ),
    "subnet empty at assign": (
        lambda a: _assign(a, a.create(0, a.tiny), count=11),
        "InsufficientFreeAddressesInSubnet",
        "The specified subnet does not have enough free addresses to satisfy the request.",
    ),
    "token with other parameters": (_token_twice, "IdempotentParameterMismatch", "idempotent request"),
    "create with an address in use": (
        lambda a: a.ec2.create_network_interface(SubnetId=a.subnet, PrivateIpAddress=_taken(a)),
        "InvalidIPAddress.InUse",
        "The specified address is already in use.",
    ),
    "create with a reserved address": (
        lambda a: a.ec2.create_network_interface(SubnetId=a.subnet, PrivateIpAddress="10.0.1.3"),
        "InvalidParameterValue",
        "Address 10.0.1.3 is in subnet's reserved address range",
    ),
    "create with the last address": (
        lambda a: a.ec2.create_network_interface(SubnetId=a.subnet, PrivateIpAddress="10.0.1.255"),
        "InvalidParameterValue",
        "Address 10.0.1.255 is in subnet's reserved address range",
    ),
    "create with a foreign address": (
        lambda a: a.ec2.create_network_interface(SubnetId=a.subnet, PrivateIpAddress="10.9.0.5"),
        "InvalidParameterValue",
        "Address 10.9.0.5 does not fall within the subnet's address range",
    ),
    "create with two primaries": (
        lambda a: a.ec2.create_network_interface(
            SubnetId=a.subnet,
            PrivateIpAddress="10.0.1.9",
            PrivateIpAddresses=[{"PrivateIpAddress": "10.0.1.10", "Primary": True}],
        ),
        "InvalidParameterValue",
        "Only one primary",
    ),
    "create with count and list": (
        lambda a: a.ec2.create_network_interface(
            SubnetId=a.subnet,
            SecondaryPrivateIpAddressCount=1,
            PrivateIpAddresses=[{"PrivateIpAddress": f"10.0.1.{last}"} for last in (9, 10)],
        ),
        "InvalidParameterCombination",
        "cannot be used with",
    ),
    "more addresses than any type has": (
        lambda a: a.create(64),
        "PrivateIpAddressLimitExceeded",
        "Number of private addresses will exceed limit.",
    ),
    "tags of another resource type": (
        lambda a: a.ec2.create_network_interface(
            SubnetId=a.subnet, TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}]
        ),
        "InvalidParameterValue",
        "not a valid taggable resource type",
    ),
    "reserved tag": (
        lambda a: a.ec2.create_tags(Resources=[a.primary], Tags=[{"Key": "aws:x", "Value": "y"}]),
        "InvalidParameterValue",
        "reserved for internal use",
    ),
    "fifty-one tags": (
        lambda a: a.ec2.create_tags(
            Resources=[a.primary], Tags=[{"Key": f"k{number}", "Value": ""} for number in range(51)]
        ),
        "TagLimitExceeded",
        "maximum number of Tags",
    ),
    "tag of something unknown": (
        lambda a: a.ec2.create_tags(Resources=["thing-1"], Tags=[{"Key": "a", "Value": "b"}]),
        "InvalidID",
        "The ID 'thing-1' is not valid",
    ),
    "parameter not simulated": (
        lambda a: a.ec2.create_network_interface(SubnetId=a.subnet, EnablePrimaryIpv6=True),
        "UnknownParameter",
        "EnablePrimaryIpv6",
    ),
    "delete unknown": (
        lambda a: a.ec2.delete_network_interface(NetworkInterfaceId=UNKNOWN),
        "InvalidNetworkInterfaceID.NotFound",
        f"The networkInterface ID '{UNKNOWN}' does not exist",
    ),
    "delete malformed": (
        lambda a: a.ec2.delete_network_interface(NetworkInterfaceId="nonsense"),
        "InvalidNetworkInterfaceID.Malformed",
        'Invalid id: "nonsense"',
    ),
    "delete attached": (
        lambda a: a.ec2.delete_network_interface(NetworkInterfaceId=_attached(a)),
        "InvalidNetworkInterface.InUse",
        "is currently in use.",
    ),
    "attach attached": (
        lambda a: _attach(a, _attached(a), 2),
        "InvalidNetworkInterface.InUse",
        "in use",
    ),
    "attach unknown instance": (
        lambda a: _attach(a, a.create(), 1, "i-0123456789abcdef0"),
        "InvalidInstanceID.NotFound",
        "The instance ID 'i-0123456789abcdef0' does not exist",
    ),
    "attach to a terminated instance": (
        lambda a: _attach(a, a.create(), 1, _terminated(a)),
        "IncorrectState",
        "is not 'running'",
    ),
    "attach at a taken index": (
        lambda a: (_attached(a), _attach(a, a.create(), 1)),
        "InvalidParameterValue",
        "already has an interface attached at device index '1'.",
    ),
    "attach across zones": (
        lambda a: _attach(a, a.create(0, a.elsewhere)),
        "InvalidParameterCombination",
        "not in the same availability zone",
    ),
    "fourth interface of a t3.medium": (
        lambda a: _attach(a, _third_attached(a), 3),
        "AttachmentLimitExceeded",
        "Interface count 4 exceeds the limit for t3.medium",
    ),
    "attach with seven addresses to a t3.medium": (
        lambda a: _attach(a, a.create(6)),
        "PrivateIpAddressLimitExceeded",
        "Number of private addresses will exceed limit.",
    ),
    "detach unknown": (
        lambda a: a.ec2.detach_network_interface(AttachmentId="eni-attach-0123456789abcdef0"),
        "InvalidAttachmentID.NotFound",
        "does not exist",
    ),
    "detach the primary interface": (
        _detach_primary,
        "OperationNotPermitted",
        "The network interface at device index 0 cannot be detached.",
    ),
    "detach twice": (_detach_twice, "IncorrectState", "already detaching"),
    "modify without attribute": (
        lambda a: a.ec2.modify_network_interface_attribute(NetworkInterfaceId=a.primary),
        "MissingParameter",
        "No attributes",
    ),
    "modify two attributes": (
        lambda a: a.ec2.modify_network_interface_attribute(
            NetworkInterfaceId=a.primary, Groups=[a.group], Description={"Value": "x"}
        ),
        "InvalidParameterCombination",
        "multiple attribute types",
    ),
    "seventh address": (
        lambda a: _assign(a, _full(a), count=1),
        "PrivateIpAddressLimitExceeded",
        "Number of private addresses will exceed limit.",
    ),
    "assign a taken address": (
        lambda a: _assign(a, a.create(), _taken(a)),
        "InvalidParameterValue",
        "] assigned, but move is not allowed.",
    ),
    "steal a primary address": (
        lambda a: _assign(a, a.create(), a.addresses(a.primary)[0], reassign=True),
        "InvalidParameterValue",
        "primary address",
    ),
    "assign an address of another subnet": (
        lambda a: _assign(a, a.create(), "10.0.3.7"),
        "InvalidParameterValue",
        "does not fall within the subnet's address range",
    ),
    "assign nothing": (
        lambda a: a.ec2.assign_private_ip_addresses(NetworkInterfaceId=a.primary),
        "MissingParameter",
        "secondary private address",
    ),
    "assign count and list": (
        lambda a: a.ec2.assign_private_ip_addresses(
            NetworkInterfaceId=a.primary, SecondaryPrivateIpAddressCount=1, PrivateIpAddresses=["10.0.1.9"]
        ),
        "InvalidParameterCombination",
        "cannot be used with",
    ),
    "unassign what is not there": (
        lambda a: _unassign(a, a.create(1), "10.0.1.250"),
        "InvalidParameterValue",
        "Some of the specified addresses are not assigned to interface",
    ),
    "unassign the primary address": (
        lambda a: _unassign(a, a.primary, a.addresses(a.primary)[0]),
        "InvalidParameterValue",
        "The primary IP address of an interface cannot be unassigned.",
    ),
    "describe one unknown among known": (
        lambda a: a.ec2.describe_network_interfaces(NetworkInterfaceIds=[a.primary, UNKNOWN]),
        "InvalidNetworkInterfaceID.NotFound",
        f"The networkInterface ID '{UNKNOWN}' does not exist",
    ),
    "describe ids with paging": (
        lambda a: a.ec2.describe_network_interfaces(NetworkInterfaceIds=[a.primary], MaxResults=5),
        "InvalidParameterCombination",
        "cannot be used with the parameter maxResults",
    ),
    "describe pages of 1001": (
        lambda a: a.ec2.describe_network_interfaces(MaxResults=1001),
        "InvalidParameterValue",
        "Value ( 1001 ) for parameter maxResults is invalid.",
    ),
    "describe with a bad token": (
        lambda a: a.ec2.describe_network_interfaces(MaxResults=5, NextToken="%"),
        "InvalidPaginationToken",
        "token",
    ),
    "unknown filter": (
        lambda a: _filtered(a, "colour"),
        "InvalidParameterValue",
        "The filter 'colour' is invalid",
    ),
    "two hundred and one filter values": (
        lambda a: a.ec2.describe_subnets(
            Filters=[{"Name": "subnet-id", "Values": [str(number) for number in range(201)]}]
        ),
        "FilterLimitExceeded",
        "200",
    ),
    "unknown type": (
        lambda a: a.ec2.describe_instance_types(InstanceTypes=["t3.gigantic"]),  # type: ignore[list-item] # wrong on purpose
        "InvalidInstanceType",
        "t3.gigantic",
    ),
    "unknown instance": (
        lambda a: a.ec2.describe_instances(InstanceIds=["i-0123456789abcdef0"]),
        "InvalidInstanceID.NotFound",
        "The instance ID 'i-0123456789abcdef0' does not exist",
    ),
    "operation not simulated": (
        lambda a: a.ec2.describe_volumes(),
        "InvalidAction",
        "The action DescribeVolumes is not valid for this web service.",
    ),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_refused(account: Account, refusal: Refusal, reason: str) -> None:
    """EC2's code and words, status 400."""
    call, code, words = REFUSALS[reason]
    found, text, status = refusal(lambda: call(account))

    assert (code, 400) == (found, status)
    assert words in text


@pytest.mark.parametrize("reason", ["seventh address", "steal a primary address", "unassign what is not there"])
def test_refused_call_changes_nothing(account: Account, refusal: Refusal, reason: str) -> None:
    """A refused address operation leaves every interface as it was."""
    refusal(lambda: REFUSALS[reason][0](account))
    rows = account.sim.control("GET", "/table")["interfaces"]
    free = {row["id"]: row["free"] for row in account.sim.control("GET", "/table")["subnets"]}

    held = sum(1 + len(row["addresses"]) for row in rows if row["subnet"] == account.subnet)
    assert 251 - held == free[account.subnet]


def test_dry_run_only_says_that_it_would_work(account: Account, refusal: Refusal) -> None:
    """DryRun ends in DryRunOperation, status 412, and changes nothing."""
    code, _, status = refusal(lambda: account.ec2.create_network_interface(SubnetId=account.subnet, DryRun=True))

    assert (code, status) == ("DryRunOperation", 412)
    assert [account.primary] == [row["id"] for row in account.sim.control("GET", "/table")["interfaces"]]


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/vpcs", {"cidr": "10.0.0.0/8"}, "InvalidVpc.Range"),
        ("/subnets", {"vpc": "vpc-0123456789abcdef0", "cidr": "10.0.9.0/24", "zone": "a"}, "InvalidVpcID.NotFound"),
        ("/instances", {"type": "t3.medium", "subnet": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound"),
        ("/vpcs", {}, "MissingParameter"),
        ("/faults", {"operation": "CreateTags", "kind": "explode"}, "InvalidParameterValue"),
        ("/faults", {"operation": "AssignPrivateIPAddresses", "kind": "error"}, "AssignPrivateIPAddresses"),
        ("/faults", {"operation": "CreateTags", "kind": "error", "times": 3}, "times"),
    ],
)
def test_control_api_refuses_with_a_reason(account: Account, path: str, body: dict[str, object], told: str) -> None:
    """A wrong control request is 400 and names its fault."""
    with pytest.raises(HTTPError) as caught:
        account.sim.control("POST", path, body)
    with caught.value as answer:
        text = answer.read().decode()

    assert caught.value.code == 400
    assert told in text


def test_subnets_of_a_vpc_do_not_overlap(account: Account) -> None:
    """A second subnet over the same addresses is refused."""
    with pytest.raises(HTTPError) as caught:
        account.sim.control("POST", "/subnets", {"vpc": account.vpc, "cidr": "10.0.1.128/25", "zone": "us-east-1a"})
    with caught.value as answer:
        assert "InvalidSubnet.Conflict" in answer.read().decode()
