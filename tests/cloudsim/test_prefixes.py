"""/28 prefixes of interfaces and CIDR reservations of subnets, through the real SDK."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudsim.conftest import Account, Refusal
from cloudsim.model.bitmap import Bitmap

SUBNET = IPv4Network("10.0.1.0/24")


def _prefixes(account: Account, interface: str) -> list[str]:
    found = account.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"][0]
    return [entry["Ipv4Prefix"] for entry in found.get("Ipv4Prefixes", [])]


def _assign(account: Account, interface: str, count: int) -> list[str]:
    reply = account.ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, Ipv4PrefixCount=count)
    return [entry["Ipv4Prefix"] for entry in reply["AssignedIpv4Prefixes"]]


def _name(account: Account, interface: str, *prefixes: str) -> object:
    return account.ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, Ipv4Prefixes=list(prefixes))


def _with_prefixes(account: Account, count: int, subnet: str = "") -> str:
    made = account.ec2.create_network_interface(SubnetId=subnet or account.subnet, Ipv4PrefixCount=count)
    return made["NetworkInterface"]["NetworkInterfaceId"]


def _reserve(account: Account, cidr: str, type_: str = "prefix", subnet: str = "") -> str:
    made = account.ec2.create_subnet_cidr_reservation(
        SubnetId=subnet or account.subnet,
        Cidr=cidr,
        ReservationType=type_,  # type: ignore[arg-type] # a wrong type is one of the tests
    )
    return made["SubnetCidrReservation"]["SubnetCidrReservationId"]


def _old_instance(account: Account) -> str:
    return str(account.sim.control("POST", "/instances", {"type": "t2.medium", "subnet": account.subnet})["id"])


def _fragment(account: Account) -> str:
    """An interface in a subnet where each of the blocks between the first and the last has lost one address."""
    body = {"vpc": account.vpc, "cidr": "10.0.4.0/26", "zone": "us-east-1a"}
    subnet = str(account.sim.control("POST", "/subnets", body)["id"])
    account.ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.0.4.20")
    made = account.ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.0.4.40")
    return made["NetworkInterface"]["NetworkInterfaceId"]


def test_prefixes_are_aligned_and_whole(account: Account) -> None:
    """A prefix is a /28 of the subnet in which nothing was taken; describes and the reply show the same ones."""
    interface = account.create(2)
    before = account.free(account.subnet)
    new = _assign(account, interface, 3)

    blocks = [IPv4Network(prefix) for prefix in new]
    taken = {IPv4Address(address) for eni in (interface, account.primary) for address in account.addresses(eni)}
    assert all(block.prefixlen == 28 and block.subnet_of(SUBNET) for block in blocks)
    assert not [address for address in taken if any(address in block for block in blocks)]
    assert new == _prefixes(account, interface)
    assert before - 48 == account.free(account.subnet)


def test_first_and_last_block_are_never_prefixes(account: Account) -> None:
    """The five addresses that EC2 keeps make the first and the last /28 of a subnet useless as prefixes."""
    made = account.ec2.create_network_interface(SubnetId=account.elsewhere, PrivateIpAddress="10.0.3.4")
    interface = made["NetworkInterface"]["NetworkInterfaceId"]
    new = _assign(account, interface, 14)

    assert {f"10.0.3.{16 * block}/28" for block in range(1, 15)} == set(new)
    assert account.free(account.elsewhere) == 12 + 15 - 1


def test_create_with_prefixes(account: Account) -> None:
    """CreateNetworkInterface answers with the prefixes it assigned, by count or by name, and takes them at once."""
    named = account.ec2.create_network_interface(
        SubnetId=account.elsewhere, Ipv4Prefixes=[{"Ipv4Prefix": "10.0.3.32/28"}, {"Ipv4Prefix": "10.0.3.64/28"}]
    )["NetworkInterface"]
    counted = account.ec2.create_network_interface(SubnetId=account.elsewhere, Ipv4PrefixCount=2)["NetworkInterface"]

    assert [entry["Ipv4Prefix"] for entry in named["Ipv4Prefixes"]] == ["10.0.3.32/28", "10.0.3.64/28"]
    assert len(counted["Ipv4Prefixes"]) == 2
    assert account.free(account.elsewhere) == 251 - 4 * 16 - 2


def test_unassigned_prefix_gives_its_addresses_back(account: Account) -> None:
    """After UnassignPrivateIpAddresses the sixteen addresses are free, and the other prefix stays."""
    interface = _with_prefixes(account, 2)
    before = account.free(account.subnet)
    gone, kept = _prefixes(account, interface)
    account.ec2.unassign_private_ip_addresses(NetworkInterfaceId=interface, Ipv4Prefixes=[gone])

    assert [kept] == _prefixes(account, interface)
    assert before + 16 == account.free(account.subnet)


def test_deleted_interface_gives_its_prefixes_back(account: Account) -> None:
    """A deleted interface's prefixes are free again."""
    before = account.free(account.subnet)
    account.ec2.delete_network_interface(NetworkInterfaceId=_with_prefixes(account, 3))

    assert before == account.free(account.subnet)


def test_prefix_takes_one_slot(account: Account) -> None:
    """A t3.medium has six slots: the primary, two addresses and three prefixes fill it."""
    interface = account.create(2)
    account.attach(interface, 1)

    assert len(_assign(account, interface, 3)) == 3
    with pytest.raises(account.ec2.exceptions.ClientError, match="PrivateIpAddressLimitExceeded"):
        _assign(account, interface, 1)


def test_reserved_block_is_left_to_prefixes(account: Account) -> None:
    """Single addresses are not chosen from a prefix reservation, though it is free; a prefix comes from there first."""
    _reserve(account, "10.0.3.128/26", subnet=account.elsewhere)
    made = [account.create(20, account.elsewhere) for _ in range(8)]
    interface = account.create(0, account.elsewhere)
    new = _assign(account, interface, 4)

    singles = [IPv4Address(address) for eni in made for address in account.addresses(eni)]
    assert not [address for address in singles if address in IPv4Network("10.0.3.128/26")]
    assert {f"10.0.3.{last}/28" for last in (128, 144, 160, 176)} == set(new)


def test_explicit_reservation_is_left_to_whoever_names_it(account: Account) -> None:
    """EC2 chooses nothing from an explicit reservation; a named address or prefix of it is assigned."""
    _reserve(account, "10.0.2.4/30", "explicit", account.tiny)
    interface = account.create(6, account.tiny)
    reserved = IPv4Network("10.0.2.4/30")

    assert not [address for address in account.addresses(interface) if IPv4Address(address) in reserved]
    with pytest.raises(account.ec2.exceptions.ClientError, match="InsufficientFreeAddressesInSubnet"):
        account.ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, SecondaryPrivateIpAddressCount=1)
    account.ec2.assign_private_ip_addresses(NetworkInterfaceId=interface, PrivateIpAddresses=["10.0.2.5"])
    assert "10.0.2.5" in account.addresses(interface)


def test_reservations_are_listed_and_end(account: Account) -> None:
    """A reservation is found with its type and tags, by filter too; deleted, its addresses are chosen again."""
    made = account.ec2.create_subnet_cidr_reservation(
        SubnetId=account.tiny,
        Cidr="10.0.2.8/29",
        ReservationType="prefix",
        Description="pods",
        TagSpecifications=[{"ResourceType": "subnet-cidr-reservation", "Tags": [{"Key": "a", "Value": "b"}]}],
    )["SubnetCidrReservation"]
    found = account.ec2.get_subnet_cidr_reservations(SubnetId=account.tiny)["SubnetIpv4CidrReservations"]
    explicit = account.ec2.get_subnet_cidr_reservations(
        SubnetId=account.tiny, Filters=[{"Name": "reservationType", "Values": ["explicit"]}]
    )
    gone = account.ec2.delete_subnet_cidr_reservation(SubnetCidrReservationId=made["SubnetCidrReservationId"])

    assert [made] == found
    assert (made["Cidr"], made["ReservationType"], made["Description"]) == ("10.0.2.8/29", "prefix", "pods")
    assert made["Tags"] == [{"Key": "a", "Value": "b"}]
    assert explicit["SubnetIpv4CidrReservations"] == []
    assert made == gone["DeletedSubnetCidrReservation"]
    assert len(account.addresses(account.create(10, account.tiny))) == 11


REFUSALS: dict[str, tuple[Callable[[Account], object], str, str]] = {
    "fragmented subnet": (
        lambda a: _assign(a, _fragment(a), 1),
        "InsufficientCidrBlocks",
        "The specified subnet does not have enough free cidr blocks to satisfy the request.",
    ),
    "fewer than sixteen addresses": (
        lambda a: _assign(a, a.create(0, a.tiny), 1),
        "InvalidParameterValue",
        "There aren't sufficient free Ipv4 addresses or prefixes",
    ),
    "create in a subnet without blocks": (
        lambda a: _with_prefixes(a, 15, a.elsewhere),
        "InsufficientCidrBlocks",
        "enough free cidr blocks",
    ),
    "count and addresses": (
        lambda a: a.ec2.assign_private_ip_addresses(
            NetworkInterfaceId=a.primary, Ipv4PrefixCount=1, SecondaryPrivateIpAddressCount=1
        ),
        "InvalidParameterCombination",
        "cannot be used with",
    ),
    "create with prefixes and addresses": (
        lambda a: a.ec2.create_network_interface(
            SubnetId=a.subnet, Ipv4PrefixCount=1, SecondaryPrivateIpAddressCount=1
        ),
        "InvalidParameterCombination",
        "cannot be used with",
    ),
    "not a /28": (lambda a: _name(a, a.primary, "10.0.1.32/27"), "InvalidParameterValue", "/28"),
    "not aligned": (lambda a: _name(a, a.primary, "10.0.1.33/28"), "InvalidParameterValue", "10.0.1.33/28"),
    "of another subnet": (lambda a: _name(a, a.primary, "10.0.3.32/28"), "InvalidParameterValue", "fall within"),
    "the first block": (lambda a: _name(a, a.primary, "10.0.1.0/28"), "InvalidParameterValue", "reserved"),
    "prefix in use": (
        lambda a: _name(a, a.create(), _prefixes(a, _with_prefixes(a, 1))[0]),
        "InvalidIPAddress.InUse",
        "already in use",
    ),
    "address within a prefix": (
        lambda a: a.ec2.assign_private_ip_addresses(
            NetworkInterfaceId=a.create(),
            PrivateIpAddresses=[_prefixes(a, _with_prefixes(a, 1))[0].removesuffix("/28")],
            AllowReassignment=True,
        ),
        "InvalidParameterValue",
        "within a prefix",
    ),
    "assign on Xen": (
        lambda a: _assign(a, _attached_to_old(a), 1),
        "UnsupportedOperation",
        "t2.medium",
    ),
    "attach prefixes to Xen": (
        lambda a: a.attach(_with_prefixes(a, 1), 1, _old_instance(a)),
        "UnsupportedOperation",
        "t2.medium",
    ),
    "attach with more slots than the type has": (
        lambda a: a.attach(_with_prefixes(a, 6), 1),
        "PrivateIpAddressLimitExceeded",
        "exceed limit",
    ),
    "unassign a prefix that is not there": (
        lambda a: a.ec2.unassign_private_ip_addresses(NetworkInterfaceId=a.primary, Ipv4Prefixes=["10.0.1.32/28"]),
        "InvalidParameterValue",
        "not assigned to interface",
    ),
    "overlapping reservations": (
        lambda a: (_reserve(a, "10.0.1.64/26"), _reserve(a, "10.0.1.64/28", "explicit")),
        "InvalidParameterValue",
        "Reservation CIDR 10.0.1.64/28 has overlap with existing reserved CIDR block",
    ),
    "reservation outside": (lambda a: _reserve(a, "10.0.3.0/28"), "InvalidParameterValue", "not within"),
    "reservation of no type": (lambda a: _reserve(a, "10.0.1.64/28", "whim"), "InvalidParameterValue", "whim"),
    "unknown reservation": (
        lambda a: a.ec2.delete_subnet_cidr_reservation(SubnetCidrReservationId="scr-0123456789abcdef0"),
        "InvalidSubnetCidrReservationID.NotFound",
        "scr-0123456789abcdef0",
    ),
    "reservations of an unknown subnet": (
        lambda a: a.ec2.get_subnet_cidr_reservations(SubnetId="subnet-0123456789abcdef0"),
        "InvalidSubnetID.NotFound",
        "subnet-0123456789abcdef0",
    ),
}


def _attached_to_old(account: Account) -> str:
    interface = account.create()
    account.attach(interface, 1, _old_instance(account))
    return interface


@pytest.mark.parametrize("reason", REFUSALS)
def test_refused(account: Account, refusal: Refusal, reason: str) -> None:
    """EC2's code and words, status 400."""
    call, code, words = REFUSALS[reason]
    found, text, status = refusal(lambda: call(account))

    assert (code, 400) == (found, status)
    assert words in text


@given(
    taken=st.sets(st.integers(4, 254)),
    reserved=st.sets(st.integers(1, 14), max_size=4),
    count=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_choice_of_prefixes(taken: set[int], reserved: set[int], count: int, seed: int) -> None:
    """Chosen blocks were free, reserved ones go first, and None means that there were fewer than wanted."""
    bitmap = Bitmap(SUBNET)
    blocks = list(SUBNET.subnets(new_prefix=28))
    bitmap.reserve([blocks[index] for index in reserved], [])
    for offset in taken:
        bitmap.take(SUBNET[offset])
    whole = {index for index in range(1, 15) if not any(offset // 16 == index for offset in taken)}
    chosen = bitmap.choose_blocks(count, Random(seed), 0.0)

    if chosen is None:
        assert len(whole) < count
    else:
        indexes = [blocks.index(block) for block in chosen]
        assert len(set(indexes)) == count
        assert set(indexes) <= whole
        assert len(whole & reserved & set(indexes)) == min(count, len(whole & reserved))
        assert all(bitmap.is_taken(address) for block in chosen for address in block)
