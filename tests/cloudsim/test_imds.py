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
