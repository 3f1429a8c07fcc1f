"""IPv6 of subnets and interfaces through the real SDK: single addresses and /80 prefixes."""

from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network

import pytest

from cloudsim.conftest import Account, Refusal

VPC6 = "2600:1f13:0:ab00::/56"


def _dual(account: Account, cidr: str = "10.8.1.0/24") -> tuple[str, str]:
    """A subnet with a /64, and its block."""
    vpc = account.sim.control("POST", "/vpcs", {"cidr": "10.8.0.0/16", "ipv6_cidr": VPC6})["id"]
    body = {"vpc": vpc, "cidr": cidr, "zone": "us-east-1a", "ipv6_cidr": "next"}
    made = account.sim.control("POST", "/subnets", body)
    return made["id"], made["ipv6_cidr"]


def _eni(account: Account, subnet: str) -> str:
    return account.create(0, subnet)


def _attached(account: Account, subnet: str) -> str:
    """The primary interface of a t3.medium, which has six IPv6 slots."""
    return str(account.sim.control("POST", "/instances", {"type": "t3.medium", "subnet": subnet})["eni"])


def test_subnet_shows_its_block(account: Account) -> None:
    """VPC and subnet are described with their IPv6 blocks, and found by them."""
    subnet, block = _dual(account)
    found = account.ec2.describe_subnets(
        Filters=[{"Name": "ipv6-cidr-block-association.ipv6-cidr-block", "Values": [block]}]
    )["Subnets"]
    vpcs = account.ec2.describe_vpcs(VpcIds=[found[0]["VpcId"]])["Vpcs"]

    assert [subnet] == [net["SubnetId"] for net in found]
    assert [block] == [entry["Ipv6CidrBlock"] for entry in found[0]["Ipv6CidrBlockAssociationSet"]]
    assert [entry["Ipv6CidrBlock"] for entry in vpcs[0]["Ipv6CidrBlockAssociationSet"]] == [VPC6]


def test_addresses_come_and_go(account: Account) -> None:
    """Assigned addresses are in the subnet's block, described with the interface, and listed when unassigned."""
    subnet, block = _dual(account)
    interface = _eni(account, subnet)
    new = account.ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6AddressCount=3)["AssignedIpv6Addresses"]
    named = f"{IPv6Network(block)[0x1234]}"
    account.ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6Addresses=[named])
    gone = account.ec2.unassign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6Addresses=new[:1])
    found = account.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]

    assert all(IPv6Address(address) in IPv6Network(block) for address in new)
    assert [*new[1:], named] == [entry["Ipv6Address"] for entry in found["Ipv6Addresses"]]
    assert new[:1] == gone["UnassignedIpv6Addresses"]


def test_prefixes_come_and_go(account: Account) -> None:
    """Prefixes are /80 of the block and do not share addresses with single ones."""
    subnet, block = _dual(account)
    interface = _eni(account, subnet)
    new = account.ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6PrefixCount=2)["AssignedIpv6Prefixes"]
    gone = account.ec2.unassign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6Prefixes=new[:1])
    found = account.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]

    assert all(IPv6Network(prefix).prefixlen == 80 for prefix in new)
    assert all(IPv6Network(prefix).subnet_of(IPv6Network(block)) for prefix in new)
    assert new[1:] == [entry["Ipv6Prefix"] for entry in found["Ipv6Prefixes"]]
    assert new[:1] == gone["UnassignedIpv6Prefixes"]


def test_interface_is_made_with_both_families(account: Account) -> None:
    """One CreateNetworkInterface brings IPv4 and IPv6 prefixes."""
    subnet, _ = _dual(account)
    made = account.ec2.create_network_interface(SubnetId=subnet, Ipv4PrefixCount=1, Ipv6PrefixCount=1)
    named = account.ec2.create_network_interface(
        SubnetId=subnet, Ipv6Addresses=[{"Ipv6Address": "2600:1f13:0:ab00::10"}]
    )

    assert len(made["NetworkInterface"]["Ipv4Prefixes"]) == len(made["NetworkInterface"]["Ipv6Prefixes"]) == 1
    assert [entry["Ipv6Address"] for entry in named["NetworkInterface"]["Ipv6Addresses"]] == ["2600:1f13:0:ab00::10"]


def test_prefix_comes_from_its_reservation(account: Account) -> None:
    """With a prefix reservation of a /79 both its /80 are given before any other."""
    subnet, _ = _dual(account)
    account.ec2.create_subnet_cidr_reservation(
        SubnetId=subnet, Cidr="2600:1f13:0:ab00:8::/79", ReservationType="prefix"
    )
    interface = _eni(account, subnet)
    new = account.ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, Ipv6PrefixCount=3)["AssignedIpv6Prefixes"]
    held = account.ec2.get_subnet_cidr_reservations(SubnetId=subnet)

    assert {"2600:1f13:0:ab00:8::/80", "2600:1f13:0:ab00:9::/80"} < set(new)
    assert [found["Cidr"] for found in held["SubnetIpv6CidrReservations"]] == ["2600:1f13:0:ab00:8::/79"]
    assert held["SubnetIpv4CidrReservations"] == []


def _assign(account: Account, interface: str, **wanted: object) -> object:
    return account.ec2.assign_ipv6_addresses(NetworkInterfaceId=interface, **wanted)  # type: ignore[arg-type]


REFUSALS: dict[str, tuple[Callable[[Account], object], str, str]] = {
    "subnet without IPv6": (
        lambda a: _assign(a, a.primary, Ipv6AddressCount=1),
        "InvalidParameterValue",
        "does not have an IPv6 CIDR block",
    ),
    "seventh slot of a t3.medium": (
        lambda a: _assign(a, _attached(a, _dual(a)[0]), Ipv6AddressCount=7),
        "PrivateIpAddressLimitExceeded",
        "exceed limit",
    ),
    "count and prefixes": (
        lambda a: _assign(a, _eni(a, _dual(a)[0]), Ipv6AddressCount=1, Ipv6PrefixCount=1),
        "InvalidParameterCombination",
        "cannot be used with",
    ),
    "a /64 as prefix": (
        lambda a: _assign(a, _eni(a, _dual(a)[0]), Ipv6Prefixes=["2600:1f13:0:ab00::/64"]),
        "InvalidParameterValue",
        "/80",
    ),
    "outside": (
        lambda a: _assign(a, _eni(a, _dual(a)[0]), Ipv6Addresses=["2600::5"]),
        "InvalidParameterValue",
        "fall within",
    ),
    "the router": (
        lambda a: _assign(a, _eni(a, _dual(a)[0]), Ipv6Addresses=["2600:1f13:0:ab00::1"]),
        "InvalidParameterValue",
        "reserved",
    ),
    "nothing": (lambda a: _assign(a, _eni(a, _dual(a)[0])), "MissingParameter", "required"),
    "unassign what is not there": (
        lambda a: a.ec2.unassign_ipv6_addresses(
            NetworkInterfaceId=_eni(a, _dual(a)[0]), Ipv6Addresses=["2600:1f13:0:ab00::10"]
        ),
        "InvalidParameterValue",
        "not assigned to interface",
    ),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_refused(account: Account, refusal: Refusal, reason: str) -> None:
    """EC2's code and words, status 400."""
    call, code, words = REFUSALS[reason]
    found, text, status = refusal(lambda: call(account))

    assert (code, 400) == (found, status)
    assert words in text


def test_address_has_one_owner(account: Account, refusal: Refusal) -> None:
    """A taken address is refused, alone or as part of a prefix."""
    subnet, _ = _dual(account)
    first, second = _eni(account, subnet), _eni(account, subnet)
    _assign(account, first, Ipv6Addresses=["2600:1f13:0:ab00:5::7"])
    _assign(account, first, Ipv6Prefixes=["2600:1f13:0:ab00:6::/80"])

    def refused(**wanted: object) -> str:
        return refusal(lambda: _assign(account, second, **wanted))[0]

    assert refused(Ipv6Addresses=["2600:1f13:0:ab00:5::7"]) == "InvalidIPAddress.InUse"
    assert refused(Ipv6Addresses=["2600:1f13:0:ab00:6::9"]) == "InvalidIPAddress.InUse"
    assert refused(Ipv6Prefixes=["2600:1f13:0:ab00:5::/80"]) == "InvalidIPAddress.InUse"
