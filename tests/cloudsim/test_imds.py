"""The metadata service as an instance sees it."""

import json
import urllib.request
from urllib.error import HTTPError

import pytest

from cloudsim.conftest import Account
from cloudsim.server.app import Settings


def _token(account: Account, instance: str) -> str:
    request = urllib.request.Request(  # noqa: S310 our own address
        f"{account.sim.url}/imds/{instance}/latest/api/token",
        method="PUT",
        headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"},
    )
    with urllib.request.urlopen(request) as reply:  # noqa: S310 likewise
        token: str = reply.read().decode()
    return token


def _read(account: Account, path: str, *, token: str | None = None, instance: str = "") -> str:
    instance = instance or account.instance
    used = _token(account, instance) if token is None else token
    request = urllib.request.Request(  # noqa: S310 our own address
        f"{account.sim.url}/imds/{instance}/latest/{path}", headers={"X-aws-ec2-metadata-token": used}
    )
    with urllib.request.urlopen(request) as reply:  # noqa: S310 likewise
        text: str = reply.read().decode()
    return text


def _status(account: Account, path: str, *, token: str | None = None) -> int:
    with pytest.raises(HTTPError) as caught:
        _read(account, path, token=token)
    caught.value.close()
    return caught.value.code


def test_interfaces_by_mac(account: Account) -> None:
    """Every attached interface is listed under its MAC with index, subnet and addresses, the primary first."""
    interface = account.create(2)
    account.attach(interface, 1)
    row = account.interface(interface)
    base = f"meta-data/network/interfaces/macs/{row['mac']}"

    macs = _read(account, "meta-data/network/interfaces/macs/").split()
    assert {f"{row['mac']}/", f"{account.interface(account.primary)['mac']}/"} == set(macs)
    assert _read(account, f"{base}/device-number") == "1"
    assert interface == _read(account, f"{base}/interface-id")
    assert account.addresses(interface) == _read(account, f"{base}/local-ipv4s").split()
    assert _read(account, f"{base}/subnet-ipv4-cidr-block") == "10.0.1.0/24"
    assert account.vpc == _read(account, f"{base}/vpc-id")


def test_identity(account: Account) -> None:
    """Id, type, zone and region are those of the instance."""
    document = json.loads(_read(account, "dynamic/instance-identity/document"))

    assert (account.instance, "us-east-1") == (document["instanceId"], document["region"])
    assert _read(account, "meta-data/instance-type") == "t3.medium"
    assert _read(account, "meta-data/placement/availability-zone") == "us-east-1a"


def test_without_token_and_without_leaf(account: Account) -> None:
    """A request without a token is 401; what does not exist, such as prefixes of an interface without any, is 404."""
    mac = account.interface(account.primary)["mac"]

    assert _status(account, "meta-data/instance-id", token="wrong") == 401  # noqa: S106 on purpose
    assert _status(account, f"meta-data/network/interfaces/macs/{mac}/ipv4-prefix") == 404


def test_role_credentials(account: Account) -> None:
    """An instance made with credentials hands them out as its role's."""
    body = {"type": "t3.small", "subnet": account.subnet, "credentials": {"access_key": "AKIAROLE", "secret": "s"}}
    instance = account.sim.control("POST", "/instances", body)["id"]
    role = _read(account, "meta-data/iam/security-credentials/", instance=instance)

    answer = json.loads(_read(account, f"meta-data/iam/security-credentials/{role}", instance=instance))
    assert (answer["AccessKeyId"], answer["SecretAccessKey"]) == ("AKIAROLE", "s")


@pytest.mark.parametrize("settings", [Settings(manual_clock=True, lag_seconds=2.0)])
def test_metadata_lags(account: Account) -> None:
    """A new address shows up in the metadata only after the lag."""
    account.sim.advance(3)
    account.ec2.assign_private_ip_addresses(NetworkInterfaceId=account.primary, SecondaryPrivateIpAddressCount=1)
    path = f"meta-data/network/interfaces/macs/{account.interface(account.primary)['mac']}/local-ipv4s"

    assert len(_read(account, path).split()) == 1
    account.sim.advance(2)
    assert len(_read(account, path).split()) == 2


@pytest.mark.parametrize("settings", [Settings(manual_clock=True, lag_seconds=0.5, imds_lag_seconds=5.0)])
def test_metadata_may_lag_more_than_reads(account: Account) -> None:
    """With a lag of its own, the metadata service still shows what EC2's describes have forgotten, and the reverse."""
    account.sim.advance(6)
    reply = account.ec2.assign_private_ip_addresses(NetworkInterfaceId=account.primary, Ipv4PrefixCount=1)
    new = [entry["Ipv4Prefix"] for entry in reply["AssignedIpv4Prefixes"]]
    path = f"meta-data/network/interfaces/macs/{account.interface(account.primary)['mac']}/ipv4-prefix"
    account.sim.advance(1)
    found = account.ec2.describe_network_interfaces(NetworkInterfaceIds=[account.primary])["NetworkInterfaces"][0]

    assert new == [entry["Ipv4Prefix"] for entry in found["Ipv4Prefixes"]]
    assert _status(account, path) == 404
    account.ec2.unassign_private_ip_addresses(NetworkInterfaceId=account.primary, Ipv4Prefixes=new)
    account.sim.advance(4)
    assert new == _read(account, path).split()
    account.sim.advance(1)
    assert _status(account, path) == 404


def test_prefixes_and_ipv6_have_leaves(account: Account) -> None:
    """Prefixes and IPv6 of an interface are leaves of its own; those it does not have are missing."""
    vpc = account.sim.control("POST", "/vpcs", {"cidr": "10.8.0.0/16", "ipv6_cidr": "2600:1f13:0:ab00::/56"})["id"]
    net = {"vpc": vpc, "cidr": "10.8.1.0/24", "zone": "us-east-1a", "ipv6_cidr": "2600:1f13:0:ab07::/64"}
    subnet = account.sim.control("POST", "/subnets", net)["id"]
    body = {"type": "t3.medium", "subnet": subnet, "ipv6_count": 1}
    made = account.sim.control("POST", "/instances", body)
    four = account.ec2.assign_private_ip_addresses(NetworkInterfaceId=made["eni"], Ipv4PrefixCount=2)
    six = account.ec2.assign_ipv6_addresses(NetworkInterfaceId=made["eni"], Ipv6PrefixCount=1)
    base = f"meta-data/network/interfaces/macs/{made['mac']}"

    def read(leaf: str) -> list[str]:
        return _read(account, f"{base}/{leaf}", instance=made["id"]).split()

    assert [entry["Ipv4Prefix"] for entry in four["AssignedIpv4Prefixes"]] == read("ipv4-prefix")
    assert six["AssignedIpv6Prefixes"] == read("ipv6-prefix")
    assert read("subnet-ipv6-cidr-blocks") == ["2600:1f13:0:ab07::/64"]
    assert read("vpc-ipv6-cidr-blocks") == ["2600:1f13:0:ab00::/56"]
    assert read("ipv6s") == [_read(account, "meta-data/ipv6", instance=made["id"])]
