"""The life of interfaces and addresses through the real SDK."""

import urllib.error
from ipaddress import IPv4Address, IPv4Network

import pytest

from cloudsim.conftest import Account


def test_create_gives_what_was_asked_for(account: Account) -> None:
    """A new interface has a primary address, the count of secondary ones, its groups, tags and a lower-case MAC."""
    made = account.ec2.create_network_interface(
        SubnetId=account.subnet,
        SecondaryPrivateIpAddressCount=3,
        Groups=[account.group],
        Description="for pods",
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": [{"Key": "owner", "Value": "me"}]}],
    )["NetworkInterface"]

    addresses = made["PrivateIpAddresses"]
    assert [entry["Primary"] for entry in addresses] == [True, False, False, False]
    assert made["PrivateIpAddress"] == addresses[0]["PrivateIpAddress"]
    assert all(IPv4Address(entry["PrivateIpAddress"]) in IPv4Network("10.0.1.0/24") for entry in addresses)
    assert [account.group] == [group["GroupId"] for group in made["Groups"]]
    assert made["TagSet"] == [{"Key": "owner", "Value": "me"}]
    assert made["MacAddress"].islower()
    assert str(made["Status"]) == "pending"
    assert made["Description"] == "for pods"


def test_subnet_of_28_has_eleven_addresses(account: Account) -> None:
    """Five of the sixteen addresses are the cloud's: the first four and the last."""
    interface = account.create(10, account.tiny)

    assert account.free(account.tiny) == 0
    assert {f"10.0.2.{last}" for last in range(4, 15)} == set(account.addresses(interface))


def test_available_count_follows_assign_and_unassign(account: Account) -> None:
    """A subnet's free addresses fall with each assignment and rise with each return."""
    before = account.free(account.subnet)
    interface = account.create(2)
    new = account.ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=4)
    between = account.free(account.subnet)
    account.ec2.unassign_private_ip_addresses(
        NetworkInterfaceId=interface,
        PrivateIpAddresses=[entry["PrivateIpAddress"] for entry in new["AssignedPrivateIpAddresses"]],
    )

    assert (before - 7, before - 3) == (between, account.free(account.subnet))


def test_assign_answers_with_the_new_addresses_only(account: Account) -> None:
    """The reply names what this call added, neither the primary nor earlier ones."""
    interface = account.create(1)
    before = set(account.addresses(interface))
    reply = account.ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=2)
    new = {entry["PrivateIpAddress"] for entry in reply["AssignedPrivateIpAddresses"]}

    assert len(new) == 2
    assert not new & before
    assert before | new == set(account.addresses(interface))


def test_freed_address_is_not_chosen_at_once(account: Account) -> None:
    """While other addresses are free, one that was just returned is left alone."""
    interface = account.create(1, account.tiny)
    freed = account.addresses(interface)[1]
    account.ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=[freed])
    account.ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=9)

    assert freed not in account.addresses(interface)
    account.ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=1)
    assert freed in account.addresses(interface)


def test_named_address_moves_with_allow_reassignment(account: Account) -> None:
    """AllowReassignment takes a secondary address from the interface that has it."""
    donor, receiver = account.create(2), account.create(0)
    moved = account.addresses(donor)[1]
    account.ec2.assign_private_ip_addresses(
        NetworkInterfaceId=receiver, PrivateIpAddresses=[moved], AllowReassignment=True
    )

    assert moved not in account.addresses(donor)
    assert moved == account.addresses(receiver)[1]


def test_same_client_token_makes_one_interface(account: Account) -> None:
    """A repeated create with its token finds the first interface."""
    first, second = (
        account.ec2.create_network_interface(SubnetId=account.subnet, ClientToken="t-1", Description="d")
        for _ in range(2)
    )

    assert first["NetworkInterface"]["NetworkInterfaceId"] == second["NetworkInterface"]["NetworkInterfaceId"]
    assert second["ClientToken"] == "t-1"


def test_attach_takes_its_time(account: Account) -> None:
    """An attachment is `attaching` first and `attached` once the time has passed."""
    interface = account.create()
    account.ec2.attach_network_interface(NetworkInterfaceId=interface, InstanceId=account.instance, DeviceIndex=1)

    def attachment() -> tuple[str, str]:
        found = account.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]
        return found["Status"], found["Attachment"]["Status"]

    assert attachment() == ("in-use", "attaching")
    account.sim.advance(1)
    assert attachment() == ("in-use", "attached")


@pytest.mark.parametrize("force", [False, True])
def test_detach_takes_its_time_and_frees_the_interface(account: Account, *, force: bool) -> None:
    """A detached interface is available again, keeps its addresses, and may be deleted."""
    interface = account.create(2)
    addresses = account.addresses(interface)
    attachment = account.attach(interface, 1)
    account.ec2.detach_network_interface(AttachmentId=attachment, Force=force)
    found = account.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]

    assert found["Attachment"]["Status"] == "detaching"
    account.sim.advance(1)
    found = account.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]
    assert found["Status"] == "available"
    assert "Attachment" not in found
    assert addresses == account.addresses(interface)
    account.ec2.delete_network_interface(NetworkInterfaceId=interface)
    assert interface not in {row["id"] for row in account.sim.control("GET", "/table")["interfaces"]}


def test_termination_honours_delete_on_termination(account: Account) -> None:
    """With the instance go its primary interface and those marked so; others become available."""
    marked, kept = account.create(), account.create()
    attachment = account.attach(marked, 1)
    account.attach(kept, 2)
    account.ec2.modify_network_interface_attribute(
        NetworkInterfaceId=marked, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True}
    )
    gone = account.sim.control("DELETE", f"/instances/{account.instance}")

    assert {account.primary, marked} == set(gone["deleted"])
    assert [kept] == gone["available"]
    left = account.ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert [(kept, "available")] == [(eni["NetworkInterfaceId"], eni["Status"]) for eni in left]
    machine = account.ec2.describe_instances(InstanceIds=[account.instance])["Reservations"][0]["Instances"][0]
    assert machine["State"]["Name"] == "terminated"


def test_modify_changes_one_attribute(account: Account) -> None:
    """Groups are replaced as a whole; description and source check are set."""
    interface = account.create()
    second = account.sim.control("POST", "/security-groups", {"vpc": account.vpc, "name": "pods"})["id"]
    account.ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=[second])
    account.ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Description={"Value": "new"})
    account.ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, SourceDestCheck={"Value": False})
    found = account.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]

    assert [{"GroupId": second, "GroupName": "pods"}] == found["Groups"]
    assert (found["Description"], found["SourceDestCheck"]) == ("new", False)


def test_tags_come_and_go(account: Account) -> None:
    """CreateTags overwrites, DeleteTags with a value removes only that value, DescribeTags filters."""
    interface = account.create()
    account.ec2.create_tags(Resources=[interface], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    account.ec2.create_tags(Resources=[interface], Tags=[{"Key": "a", "Value": "3"}])
    account.ec2.delete_tags(Resources=[interface], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b"}])
    found = account.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [interface]}])["Tags"]

    expected = {"Key": "a", "Value": "3", "ResourceId": interface, "ResourceType": "network-interface"}
    assert [expected] == found


def test_a_machine_may_begin_with_secondary_addresses(account: Account) -> None:
    """RunInstances with SecondaryPrivateIpAddressCount: they are on the primary interface, as many as the type allows
    (six of a t3.medium, the primary address among them) and not one more.
    """
    body = {"type": "t3.medium", "subnet": account.subnet, "secondary_count": 5}
    made = account.sim.control("POST", "/instances", body)

    assert len(account.addresses(made["eni"])) == 1 + 5
    with pytest.raises(urllib.error.HTTPError, match="400"):
        account.sim.control("POST", "/instances", {**body, "secondary_count": 6})
