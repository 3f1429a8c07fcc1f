"""Roles: temporary keys from STS, the metadata service and the agent of EKS Pod Identity, and how EC2 takes them."""

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError
from botocore.session import Session

from cloudsim.conftest import Account, Clients, Refusal
from cloudsim.server.app import Settings

CROWD = "210987654321"


class Callers:
    """Clients of botocore that do not retry, of any keys."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self._url = url
        self._stack = stack

    def sts(self, access_key: str = "", *, given: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - the SDK's
        """Without keys: unsigned."""
        return self._client("sts", f"{self._url}/sts", access_key, given)

    def ec2(self, given: dict[str, Any]) -> Any:  # noqa: ANN401 - the SDK's
        return self._client("ec2", self._url, "", given)

    def _client(self, service: str, url: str, access_key: str, given: dict[str, Any] | None) -> Any:  # noqa: ANN401
        given = given or {"AccessKeyId": access_key, "SecretAccessKey": "secret", "SessionToken": None}
        signed = {} if given["AccessKeyId"] else {"signature_version": UNSIGNED}
        client = Session().create_client(
            service,
            region_name="us-east-1",
            endpoint_url=url,
            aws_access_key_id=given["AccessKeyId"] or None,
            aws_secret_access_key=given["SecretAccessKey"] if given["AccessKeyId"] else None,
            aws_session_token=given["SessionToken"],
            config=Config(retries={"total_max_attempts": 1}, **signed),
        )
        self._stack.callback(client.close)
        return client


@pytest.fixture
def callers(account: Account) -> Iterator[Callers]:
    with ExitStack() as stack:
        yield Callers(account.sim.url, stack)


@pytest.fixture
def settings() -> Settings:
    """By the machine's clock, since the SDK compares ends with its own."""
    return Settings(lag_seconds=0.0)


def _role(at: Account, **body: object) -> str:
    return str(at.sim.control("POST", "/roles", {"name": "pods"} | body)["arn"])


def test_a_role_gives_its_own_permissions_and_account(
    account: Account, callers: Callers, clients: Clients, refusal: Refusal
) -> None:
    """Keys of a role do what the role may, in the role's account; the caller's own rights are others."""
    account.sim.control("POST", "/credentials", {"access_key": "AKIABASE", "allow": ["sts:AssumeRole"]})
    arn = _role(account, account=CROWD, allow=["ec2:DescribeSubnets"])
    answer = callers.sts("AKIABASE").assume_role(RoleArn=arn, RoleSessionName="one")
    role = callers.ec2(answer["Credentials"])

    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{CROWD}:assumed-role/pods/one"
    assert role.describe_subnets()["Subnets"] == []
    code, message, status = refusal(role.describe_instances)
    assert (code, status) == ("UnauthorizedOperation", 403)
    assert f"User: arn:aws:sts::{CROWD}:assumed-role/pods/one is not authorized to perform: ec2:Desc" in message
    assert "Encoded authorization failure message: " in message
    assert refusal(role.describe_instances)[1] != message
    assert refusal(clients(account.sim.url, "AKIABASE").describe_subnets)[0] == "UnauthorizedOperation"


@pytest.mark.parametrize(
    ("role", "caller", "asked"),
    [
        pytest.param({}, {"deny": ["sts:*"]}, {}, id="not permitted"),
        pytest.param({}, {"allow": ["ec2:*"]}, {}, id="only EC2 is permitted"),
        pytest.param({"trusts": ["AKIAOTHER"]}, {}, {}, id="not trusted"),
        pytest.param({"external_id": "tenant-1"}, {}, {}, id="no external id"),
        pytest.param({"external_id": "tenant-1"}, {}, {"ExternalId": "tenant-2"}, id="another external id"),
        pytest.param({"name": "other"}, {}, {}, id="no such role"),
    ],
)
def test_who_may_not_take_a_role(
    account: Account,
    callers: Callers,
    refusal: Refusal,
    role: dict[str, object],
    caller: dict[str, object],
    asked: dict[str, str],
) -> None:
    """STS says the same, AccessDenied, whatever the reason is."""
    account.sim.control("POST", "/credentials", {"access_key": "AKIABASE"} | caller)
    _role(account, **role)
    arn = "arn:aws:iam::123456789012:role/pods"
    sts = callers.sts("AKIABASE")
    code, message, status = refusal(lambda: sts.assume_role(RoleArn=arn, RoleSessionName="one", **asked))

    assert (code, status) == ("AccessDenied", 403)
    assert f"is not authorized to perform: sts:AssumeRole on resource: {arn}" in message


def test_keys_end(account: Account, callers: Callers, refusal: Refusal) -> None:
    """When their time is over EC2 says RequestExpired and STS ExpiredToken; keys of a deleted role, or with another
    token, are unknown, which EC2 and STS say differently.
    """
    arn = _role(account)
    sts = callers.sts("AKIABASE")
    given = sts.assume_role(RoleArn=arn, RoleSessionName="one")["Credentials"]
    forged = given | {"SessionToken": "forged"}
    callers.ec2(given).describe_subnets()

    assert account.sim.control("GET", "/credentials")["callers"] == {"AKIABASE": 1, given["AccessKeyId"]: 1}
    assert refusal(callers.ec2(forged).describe_subnets)[0] == "AuthFailure"
    assert refusal(callers.sts(given=forged).get_caller_identity)[0] == "InvalidClientTokenId"
    assert account.sim.control("DELETE", "/roles/pods/sessions") == {"ended": 1}
    assert refusal(callers.ec2(given).describe_subnets)[0] == "RequestExpired"
    assert refusal(callers.sts(given=given).get_caller_identity)[0] == "ExpiredToken"
    again = sts.assume_role(RoleArn=arn, RoleSessionName="two")["Credentials"]
    callers.ec2(again).describe_subnets()
    account.sim.control("DELETE", "/roles/pods")
    assert refusal(callers.ec2(again).describe_subnets)[0] == "AuthFailure"


def test_a_role_lasts_as_long_as_it_says(account: Account, callers: Callers, refusal: Refusal) -> None:
    """An hour, what the role says, or what is asked for between a quarter and twelve hours."""
    sts = callers.sts("AKIABASE")

    def seconds(**asked: int) -> float:
        answer = sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/pods", RoleSessionName="one", **asked)
        left: float = answer["Credentials"]["Expiration"].timestamp() - account.sim.control("GET", "/health")["now"]
        return left

    _role(account)
    assert seconds() == pytest.approx(3600, abs=5)
    assert seconds(DurationSeconds=900) == pytest.approx(900, abs=5)
    _role(account, seconds=30)
    assert seconds() == pytest.approx(30, abs=5)
    assert refusal(lambda: seconds(DurationSeconds=43201))[0] == "ValidationError"


def test_web_identity(account: Account, callers: Callers, refusal: Refusal) -> None:
    """An unsigned request with a token the role trusts gets keys; other tokens are unknown or not trusted."""
    arn = _role(account, web_identities=["token-of-pods"])
    _role(account, name="other", web_identities=["token-of-others"])
    sts = callers.sts()

    def keys(token: str) -> dict[str, Any]:
        answer = sts.assume_role_with_web_identity(RoleArn=arn, RoleSessionName="one", WebIdentityToken=token)
        given: dict[str, Any] = answer["Credentials"]
        return given

    callers.ec2(keys("token-of-pods")).describe_subnets()
    assert refusal(lambda: keys("token-of-nobody"))[0] == "InvalidIdentityToken"
    code, message, _ = refusal(lambda: keys("token-of-others"))
    assert (code, message) == ("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")


def test_faults_strike_sts(account: Account, callers: Callers, refusal: Refusal) -> None:
    """The script of faults knows STS's operations, and they are counted as EC2's are."""
    arn = _role(account)
    account.sim.control("POST", "/faults", {"operation": "AssumeRole", "kind": "error", "code": "ServiceUnavailable"})
    sts = callers.sts("AKIABASE")

    assert refusal(lambda: sts.assume_role(RoleArn=arn, RoleSessionName="one"))[0] == "ServiceUnavailable"
    sts.assume_role(RoleArn=arn, RoleSessionName="one")
    assert account.sim.control("GET", "/calls")["AssumeRole"] == {"ServiceUnavailable": 1, "OK": 1}
    assert account.sim.control("GET", "/roles") == {"roles": [{"arn": arn, "issued": 1}]}


def test_an_instance_hands_out_its_roles_keys(
    account: Account, callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK finds them by the metadata service; without a role there are none; ended ones are replaced."""
    _role(account)
    endpoint = f"{account.sim.url}/imds/{account.instance}"
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")

    def found() -> ReadOnlyCredentials | None:
        credentials = Session().get_credentials()
        return credentials.get_frozen_credentials() if credentials else None

    assert found() is None
    account.sim.control("PUT", f"/instances/{account.instance}/role", {"role": "pods"})
    first = found()
    assert first is not None
    assert first == found()
    given = {"AccessKeyId": first.access_key, "SecretAccessKey": first.secret_key, "SessionToken": first.token}
    callers.ec2(given).describe_subnets()
    account.sim.control("DELETE", "/roles/pods/sessions")
    with pytest.raises(ClientError, match="RequestExpired"):
        callers.ec2(given).describe_subnets()
    assert found() not in (None, first)


def test_pod_identity(account: Account) -> None:
    """The agent gives keys to the ServiceAccount's token and to no other."""
    _role(account, web_identities=["token-of-pods"])

    def ask(token: str) -> dict[str, str]:
        url = f"{account.sim.url}/pod-identity/pods"
        request = urllib.request.Request(url, headers={"Authorization": token})  # noqa: S310 our own address
        with urllib.request.urlopen(request) as reply:  # noqa: S310 likewise
            answer: dict[str, str] = json.load(reply)
        return answer

    assert ask("token-of-pods").keys() == {"AccessKeyId", "SecretAccessKey", "Token", "AccountId", "Expiration"}
    with pytest.raises(OSError, match="400") as caught:
        ask("token-of-others")
    caught.value.close()  # type: ignore[attr-defined] # the answer's connection


def test_tags_on_creation_need_their_own_permission(account: Account, clients: Clients, refusal: Refusal) -> None:
    """Creating with tags is refused without ec2:CreateTags, naming it, and nothing is made."""
    account.sim.control("POST", "/credentials", {"access_key": "AKIAPOLICY", "deny": ["CreateTags"]})
    client = clients(account.sim.url, "AKIAPOLICY")
    tags = [{"ResourceType": "network-interface", "Tags": [{"Key": "a", "Value": "b"}]}]
    code, message, _ = refusal(
        lambda: client.create_network_interface(SubnetId=account.subnet, TagSpecifications=tags)  # type: ignore[arg-type]
    )

    assert code == "UnauthorizedOperation"
    assert "perform: ec2:CreateTags" in message
    assert len(client.describe_network_interfaces()["NetworkInterfaces"]) == 1
