"""Several accounts in one simulator: whose keys they are decides what is seen, allowed and throttled."""

from typing import TYPE_CHECKING

import pytest

from cloudsim.conftest import Account, Clients, Refusal
from cloudsim.server.app import Settings

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

OTHER = "210987654321"
THROTTLED = Settings(manual_clock=True, lag_seconds=0.0, buckets=True)


@pytest.fixture
def first(account: Account, clients: Clients) -> "EC2Client":
    """A client of the account that the fixture's resources are of."""
    account.sim.control("POST", "/credentials", {"access_key": "AKIAFIRST", "secret": "s"})
    return clients(account.sim.url, "AKIAFIRST")


@pytest.fixture
def other(account: Account, clients: Clients) -> "EC2Client":
    account.sim.control("POST", "/credentials", {"access_key": "AKIAOTHER", "secret": "s", "account": OTHER})
    return clients(account.sim.url, "AKIAOTHER")


def _subnet(account: Account) -> str:
    """The same addresses as in the first account, but the other's."""
    vpc = account.sim.control("POST", "/vpcs", {"cidr": "10.0.0.0/16", "account": OTHER})["id"]
    body = {"vpc": vpc, "cidr": "10.0.1.0/24", "zone": "us-east-1a"}
    return str(account.sim.control("POST", "/subnets", body)["id"])


def test_each_account_sees_its_own(account: Account, first: "EC2Client", other: "EC2Client", refusal: Refusal) -> None:
    """Interfaces, instances, subnets and tags of one account do not exist for the other."""
    subnet = _subnet(account)
    machine = account.sim.control("POST", "/instances", {"type": "t3.small", "subnet": subnet})
    made = other.create_network_interface(SubnetId=subnet)["NetworkInterface"]
    interface = made["NetworkInterfaceId"]
    other.create_tags(Resources=[interface], Tags=[{"Key": "mine", "Value": "1"}])

    assert {machine["eni"], interface} == {
        eni["NetworkInterfaceId"] for eni in other.describe_network_interfaces()["NetworkInterfaces"]
    }
    assert [account.primary] == [
        eni["NetworkInterfaceId"] for eni in first.describe_network_interfaces()["NetworkInterfaces"]
    ]
    assert made["OwnerId"] == OTHER
    assert first.describe_tags()["Tags"] == []
    assert refusal(lambda: first.create_network_interface(SubnetId=subnet))[0] == "InvalidSubnetID.NotFound"
    assert (
        refusal(lambda: other.delete_network_interface(NetworkInterfaceId=account.primary))[0]
        == "InvalidNetworkInterfaceID.NotFound"
    )
    assert (
        refusal(
            lambda: other.attach_network_interface(
                NetworkInterfaceId=interface, InstanceId=account.instance, DeviceIndex=1
            )
        )[0]
        == "InvalidInstanceID.NotFound"
    )


def test_attachment_of_another_account_completes(account: Account, other: "EC2Client") -> None:
    """Time passes in every account: an attachment completes, and a termination frees what it should."""
    subnet = _subnet(account)
    machine = account.sim.control("POST", "/instances", {"type": "t3.small", "subnet": subnet})["id"]
    interface = other.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    other.attach_network_interface(NetworkInterfaceId=interface, InstanceId=machine, DeviceIndex=1)
    account.sim.advance(1)
    row = account.interface(interface)
    gone = account.sim.control("DELETE", f"/instances/{machine}")

    assert isinstance(row["attachment"], dict)
    assert (row["account"], row["attachment"]["state"]) == (OTHER, "attached")
    assert [interface] == gone["available"]


@pytest.mark.parametrize("settings", [THROTTLED])
def test_each_account_has_its_own_buckets(
    account: Account, first: "EC2Client", other: "EC2Client", refusal: Refusal
) -> None:
    """What one account used up is there for the other."""
    for _ in range(50):
        first.describe_network_interfaces()

    assert refusal(first.describe_network_interfaces)[0] == "RequestLimitExceeded"
    assert other.describe_network_interfaces()["NetworkInterfaces"] == []
    assert account.vpc


def test_only_allowed_actions(account: Account, clients: Clients, refusal: Refusal) -> None:
    """With a list of allowed actions, as an IAM policy has, everything else is denied; a denial wins over it."""
    body = {"access_key": "AKIAPOLICY", "allow": ["ec2:Describe*", "ec2:CreateTags"], "deny": ["DescribeTags"]}
    account.sim.control("POST", "/credentials", body)
    client = clients(account.sim.url, "AKIAPOLICY")
    client.describe_subnets()
    client.create_tags(Resources=[account.primary], Tags=[{"Key": "a", "Value": "b"}])

    assert refusal(client.describe_tags)[0] == "UnauthorizedOperation"
    assert refusal(lambda: client.create_network_interface(SubnetId=account.subnet))[0] == "UnauthorizedOperation"


def test_revoked_key_is_unknown_until_it_is_restored(account: Account, first: "EC2Client", refusal: Refusal) -> None:
    """A revoked key gets AuthFailure even when it was the only one; registered again it works."""
    account.sim.control("DELETE", "/credentials/AKIAFIRST")

    assert refusal(first.describe_subnets)[0] == "AuthFailure"
    account.sim.control("POST", "/credentials", {"access_key": "AKIAFIRST", "secret": "s"})
    assert len(first.describe_subnets()["Subnets"]) == 3


def test_wrong_account_number_is_refused(account: Account) -> None:
    """An account's number is twelve digits."""
    with pytest.raises(OSError, match="400") as caught:
        account.sim.control("POST", "/vpcs", {"cidr": "10.0.0.0/16", "account": "me"})
    caught.value.close()  # type: ignore[attr-defined] # the answer's connection
