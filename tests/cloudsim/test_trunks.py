"""Trunk and branch interfaces, and what EC2 refuses of them, through the real SDK."""

from collections.abc import Callable

import pytest

from cloudsim.conftest import Account, Refusal


def _made(account: Account, type_: str) -> str:
    made = account.ec2.create_network_interface(SubnetId=account.subnet, InterfaceType=type_)  # type: ignore[arg-type]
    return made["NetworkInterface"]["NetworkInterfaceId"]


def _trunk(account: Account) -> str:
    """An attached trunk of an m5.large, which supports it."""
    instance = account.sim.control("POST", "/instances", {"type": "m5.large", "subnet": account.subnet})["id"]
    trunk = _made(account, "trunk")
    account.attach(trunk, 1, instance)
    return trunk


def _associate(account: Account, trunk: str, branch: str, vlan: int = 7) -> str:
    made = account.ec2.associate_trunk_interface(TrunkInterfaceId=trunk, BranchInterfaceId=branch, VlanId=vlan)
    return made["InterfaceAssociation"]["AssociationId"]


def _associate_twice(account: Account) -> object:
    trunk = _trunk(account)
    _associate(account, trunk, account.create())
    return _associate(account, trunk, account.create())


def _delete_branch(account: Account) -> object:
    branch = account.create()
    _associate(account, _trunk(account), branch)
    return account.ec2.delete_network_interface(NetworkInterfaceId=branch)


def test_trunk_carries_a_branch(account: Account) -> None:
    """An attached trunk is associated with a branch by VLAN; both show their types; disassociated, all is as before."""
    trunk, branch = _trunk(account), account.create()
    association = _associate(account, trunk, branch, 12)
    found = account.ec2.describe_trunk_interface_associations()["InterfaceAssociations"]
    shown = account.ec2.describe_network_interfaces(
        Filters=[{"Name": "interface-type", "Values": ["trunk", "branch"]}]
    )["NetworkInterfaces"]
    account.ec2.disassociate_trunk_interface(AssociationId=association)

    assert [(branch, trunk, 12)] == [
        (one["BranchInterfaceId"], one["TrunkInterfaceId"], one["VlanId"]) for one in found
    ]
    assert {trunk: "trunk", branch: "branch"} == {eni["NetworkInterfaceId"]: str(eni["InterfaceType"]) for eni in shown}
    assert account.ec2.describe_trunk_interface_associations()["InterfaceAssociations"] == []
    account.ec2.delete_network_interface(NetworkInterfaceId=branch)


def test_service_marks_its_interface(account: Account) -> None:
    """The control API makes an interface a trunk that a service manages, on whatever instance it is."""
    account.sim.control("PUT", f"/interfaces/{account.primary}", {"type": "trunk", "requester_managed": True})
    found = account.ec2.describe_network_interfaces(NetworkInterfaceIds=[account.primary])["NetworkInterfaces"][0]

    assert (str(found["InterfaceType"]), found["RequesterManaged"]) == ("trunk", True)


REFUSALS: dict[str, tuple[Callable[[Account], object], str, str]] = {
    "type without support": (
        lambda a: a.attach(_made(a, "trunk"), 1),
        "UnsupportedOperation",
        "t3.medium does not support trunk network interfaces",
    ),
    "associate on a type without support": (
        lambda a: _associate(a, a.primary, a.create()),
        "UnsupportedOperation",
        "t3.medium",
    ),
    "trunk that is not attached": (
        lambda a: _associate(a, _made(a, "trunk"), a.create()),
        "IncorrectState",
        "not attached",
    ),
    "not a trunk": (lambda a: _associate(a, a.create(), a.create()), "InvalidParameterValue", "not a trunk"),
    "VLAN in use": (_associate_twice, "InvalidParameterValue", "VLAN 7"),
    "VLAN out of range": (
        lambda a: _associate(a, _trunk(a), a.create(), 4095),
        "InvalidParameterValue",
        "4095",
    ),
    "branch in use": (lambda a: _associate(a, _trunk(a), a.primary), "InvalidNetworkInterface.InUse", "in use"),
    "delete a branch": (_delete_branch, "InvalidNetworkInterface.InUse", "in use"),
    "unknown interface": (
        lambda a: _associate(a, "eni-0123456789abcdef0", a.create()),
        "InvalidNetworkInterfaceID.NotFound",
        "eni-0123456789abcdef0",
    ),
    "unknown association": (
        lambda a: a.ec2.disassociate_trunk_interface(AssociationId="trunk-assoc-0123456789abcdef0"),
        "InvalidAssociationID.NotFound",
        "trunk-assoc-0123456789abcdef0",
    ),
    "create a branch": (lambda a: _made(a, "branch"), "InvalidParameterValue", "InterfaceType"),
    "EFA on a type without": (
        lambda a: a.attach(_made(a, "efa"), 1),
        "UnsupportedOperation",
        "does not support efa network interfaces",
    ),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_refused(account: Account, refusal: Refusal, reason: str) -> None:
    """EC2's code and words, status 400."""
    call, code, words = REFUSALS[reason]
    found, text, status = refusal(lambda: call(account))

    assert (code, 400) == (found, status)
    assert words in text
