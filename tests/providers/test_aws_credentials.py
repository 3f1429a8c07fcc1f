"""Whom AWS calls are signed as, through the real SDK, against the simulator's STS, metadata service and EC2."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from cloudsim.server.app import Settings
from cloudsim.threaded import Simulator, simulator
from underlay.core.api.networkprovider import AssumeRole
from underlay.core.cloud import errors
from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.limits import CallGate
from underlay.core.cloud.model import AddressRequest, Owner
from underlay.core.cloud.registry import ProviderSettings, load
from underlay.core.errors import InvalidInput
from underlay.core.identity import InterfaceId
from underlay.core.runtime.clock import RealClock
from underlay.providers.aws.credentials import OPERATION

REGION = "eu-central-1"
OTHER = "210987654321"
KEYS = {"access_key_id": "AKIABASE", "secret_access_key": "the-secret-of-base"}
NOBODY = Owner(cluster="nobody")
Drivers = Callable[..., Awaitable[ProviderDriver]]


class Hurried(RealClock):
    """Passes ten times as fast."""

    def monotonic(self) -> float:
        return super().monotonic() * 10

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 10)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator(Settings(region=REGION, lag_seconds=0)) as running:
        yield running


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment of the test's own: no identity, no files, no metadata service of the machine that tests."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1/")


@pytest.fixture
def gate() -> CallGate:
    return CallGate(clock=Hurried(), lease=lambda: True, attempts=2, timeout_seconds=50)


@pytest.fixture
async def drivers(sim: Simulator, gate: CallGate) -> AsyncIterator[Drivers]:
    """Makes drivers of the simulator."""
    async with AsyncExitStack() as stack:

        async def make(credentials: dict[str, str] | None, role: AssumeRole | None = None) -> ProviderDriver:
            settings = ProviderSettings(
                name="pods of team blue",
                region=REGION,
                endpoint=sim.url,
                credentials=credentials,
                role=role,
                gate=gate,
                cluster="kube-system-uid",
            )
            driver = await load("aws", settings)
            stack.push_async_callback(driver.close)
            return driver

        yield make


def _role(sim: Simulator, **body: object) -> str:
    return str(sim.control("POST", "/roles", {"name": "pods"} | body)["arn"])


def _codes(sim: Simulator, operation: str = "DescribeNetworkInterfaces") -> dict[str, int]:
    found: dict[str, int] = sim.control("GET", "/calls").get(operation, {})
    return found


def _instance(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """A machine, whose metadata service is the operator's."""
    vpc = sim.control("POST", "/vpcs", {"cidr": "10.0.0.0/16"})["id"]
    subnet = sim.control("POST", "/subnets", {"vpc": vpc, "cidr": "10.0.1.0/24", "zone": "eu-central-1a"})["id"]
    machine = str(sim.control("POST", "/instances", {"type": "t3.medium", "subnet": subnet})["id"])
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{sim.url}/imds/{machine}")
    return machine


def _web_identity(sim: Simulator, monkeypatch: pytest.MonkeyPatch, file: Path, token: str, arn: str) -> None:
    """What EKS puts into a pod whose ServiceAccount has a role."""
    file.write_text(token)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
    monkeypatch.setenv("AWS_ROLE_ARN", arn)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"{sim.url}/sts")


class TestAssumedRole:
    """``spec.assumeRole``."""

    async def test_calls_are_the_roles(self, sim: Simulator, drivers: Drivers) -> None:
        """With a Secret that may do nothing but take the role, the driver does what the role may, in its account."""
        sim.control("POST", "/credentials", {"access_key": "AKIABASE", "allow": ["sts:AssumeRole"]})
        arn = _role(sim, account=OTHER, allow=["DescribeNetworkInterfaces"], external_id="tenant-1")
        endpoint = f"{sim.url}/sts"
        driver = await drivers(KEYS, AssumeRole(role=arn, external_id="tenant-1", endpoint=endpoint))

        assert await driver.owned(NOBODY) == []
        with pytest.raises(errors.Denied, match="assumed-role/pods/underlay-pods-of-team-blue is not") as caught:
            await driver.limits("t3.medium")
        assert caught.value.permission == "ec2:DescribeInstanceTypes"
        assert "Encoded" not in caught.value.message

    async def test_the_environment_may_name_the_endpoint(
        self, sim: Simulator, drivers: Drivers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without ``spec.assumeRole.endpoint`` the SDK's own setting counts."""
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"{sim.url}/sts")
        driver = await drivers(KEYS, AssumeRole(role=_role(sim)))

        assert await driver.owned(NOBODY) == []
        assert _codes(sim, "AssumeRole") == {"OK": 1}

    async def test_a_role_that_is_not_given_says_what_to_do(
        self, sim: Simulator, drivers: Drivers, gate: CallGate
    ) -> None:
        """The action, the role and the external id are named; nothing is sent to EC2; once it is given it is taken."""
        arn = _role(sim, external_id="tenant-1")
        driver = await drivers(KEYS, AssumeRole(role=arn, endpoint=f"{sim.url}/sts"))
        with pytest.raises(errors.Denied) as caught:
            await driver.owned(NOBODY)

        assert caught.value.permission == "sts:AssumeRole"
        assert caught.value.operation == "AssumeRole"
        assert (
            f"check that {arn} exists and that its trust policy names the operator's identity and asks for no"
            in str(caught.value)
        )
        assert _codes(sim) == {}
        _role(sim)
        assert await driver.owned(NOBODY) == []
        assert {count.operation: count.failed for count in gate.counts()}[OPERATION] == 1

    async def test_refused_keys_of_the_secret_are_named(self, sim: Simulator, drivers: Drivers) -> None:
        """STS does not know them: no missing permission."""
        sim.control("POST", "/credentials", {"access_key": "AKIAOTHER"})
        driver = await drivers(KEYS, AssumeRole(role=_role(sim), endpoint=f"{sim.url}/sts"))
        with pytest.raises(errors.Denied, match="secret_access_key and session_token in the provider's S") as caught:
            await driver.owned(NOBODY)

        assert caught.value.permission == ""

    async def test_a_role_that_is_no_arn(self, drivers: Drivers) -> None:
        """It is refused by the field's name."""
        with pytest.raises(InvalidInput, match=r"spec\.assumeRole\.role: found 'pods', expected the role's ARN"):
            await drivers(KEYS, AssumeRole(role="pods"))


class TestRenewal:
    """Temporary credentials, however they are had."""

    async def test_before_they_end(self, sim: Simulator, drivers: Drivers) -> None:
        """In the last quarter of an hour the next call has new ones; none was ever refused."""
        driver = await drivers(KEYS, AssumeRole(role=_role(sim, seconds=902), endpoint=f"{sim.url}/sts"))
        await driver.owned(NOBODY)
        assert _codes(sim, "AssumeRole") == {"OK": 1}
        async with asyncio.timeout(20):
            while _codes(sim, "AssumeRole") != {"OK": 2}:
                await driver.owned(NOBODY)

        assert set(_codes(sim)) == {"OK"}

    async def test_an_outage_of_sts_stops_nothing_meanwhile(self, sim: Simulator, drivers: Drivers) -> None:
        """While the old ones are valid, renewals fail now and then and calls succeed."""
        driver = await drivers(KEYS, AssumeRole(role=_role(sim, seconds=500), endpoint=f"{sim.url}/sts"))
        await driver.owned(NOBODY)
        fault = {"operation": "AssumeRole", "kind": "error", "code": "ServiceUnavailable", "count": 1000}
        sim.control("POST", "/faults", fault)
        async with asyncio.timeout(20):
            while _codes(sim, "AssumeRole").get("ServiceUnavailable", 0) < 2:
                await driver.owned(NOBODY)

        assert set(_codes(sim)) == {"OK"}

    async def test_what_ended_all_the_same(self, sim: Simulator, drivers: Drivers, gate: CallGate) -> None:
        """EC2 calls them expired: many callers at once see nothing of it, and new ones are asked for once."""
        driver = await drivers(KEYS, AssumeRole(role=_role(sim), endpoint=f"{sim.url}/sts"))
        await driver.owned(NOBODY)
        sim.control("DELETE", "/roles/pods/sessions")
        await asyncio.gather(*(driver.owned(NOBODY) for _ in range(20)))
        codes = _codes(sim)

        assert codes.pop("OK") == 21
        assert codes.keys() == {"RequestExpired"}
        assert _codes(sim, "AssumeRole") == {"OK": 2}
        assert {count.operation: count.failed for count in gate.counts()} == {
            OPERATION: 0,
            "DescribeNetworkInterfaces": 0,
        }

    async def test_what_is_refused_for_good_is_not_asked_for_over_and_over(
        self, sim: Simulator, drivers: Drivers
    ) -> None:
        """New credentials that are refused as well are the caller's to hear of."""
        driver = await drivers(KEYS, AssumeRole(role=_role(sim), endpoint=f"{sim.url}/sts"))
        await driver.owned(NOBODY)
        fault = {"operation": "DescribeNetworkInterfaces", "kind": "error", "code": "AuthFailure", "count": 1000}
        text = "AWS was not able to validate the provided access credentials"
        sim.control("POST", "/faults", fault | {"message": text})
        for _ in range(5):
            with pytest.raises(errors.Denied, match="credentials were refused"):
                await driver.owned(NOBODY)

        assert _codes(sim, "AssumeRole")["OK"] <= 3

    async def test_no_answer_is_no_unknown_outcome(self, sim: Simulator, drivers: Drivers) -> None:
        """STS hangs: a write was certainly not sent, other tasks go on, and the wait has an end."""
        driver = await drivers(KEYS, AssumeRole(role=_role(sim), endpoint=f"{sim.url}/sts"))
        sim.control("POST", "/faults", {"operation": "AssumeRole", "kind": "hang", "count": 10})
        waiting = asyncio.create_task(driver.assign(InterfaceId("eni-1"), AddressRequest(count=1)))
        turns = 0
        async with asyncio.timeout(20):
            while not waiting.done():
                await asyncio.sleep(0.01)
                turns += 1

        with pytest.raises(errors.Unavailable):
            await waiting
        assert turns > 50
        assert _codes(sim, "AssignPrivateIpAddresses") == {}


class TestOwnIdentity:
    """No Secret: what the SDK finds in the operator's own surroundings."""

    async def test_web_identity(
        self, sim: Simulator, drivers: Drivers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The ServiceAccount's token gives the role; a replaced file is read anew when the keys are."""
        arn = _role(sim, allow=["Describe*"], web_identities=["token-1"])
        _web_identity(sim, monkeypatch, tmp_path / "token", "token-1", arn)
        driver = await drivers(None)
        await driver.owned(NOBODY)
        _role(sim, allow=["Describe*"], web_identities=["token-2"])
        (tmp_path / "token").write_text("token-2")
        sim.control("DELETE", "/roles/pods/sessions")

        assert await driver.owned(NOBODY) == []
        assert _codes(sim, "AssumeRoleWithWebIdentity") == {"OK": 2}

    async def test_web_identity_that_is_not_trusted(
        self, sim: Simulator, drivers: Drivers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Token and role are looked at again at every attempt; each mistake has its own words."""
        arn = _role(sim, web_identities=["token-1"])
        _web_identity(sim, monkeypatch, tmp_path / "token", "token-2", arn)
        driver = await drivers(None)
        with pytest.raises(errors.Denied, match=r"InvalidIdentityToken.*check the operator's own identity"):
            await driver.owned(NOBODY)
        _role(sim, name="other", web_identities=["token-2"])
        with pytest.raises(errors.Denied, match="Not authorized to perform sts:AssumeRoleWithWebIdentity") as caught:
            await driver.owned(NOBODY)
        assert caught.value.permission == "sts:AssumeRoleWithWebIdentity"
        (tmp_path / "token").unlink()
        with pytest.raises(errors.Denied, match="No such file or directory"):
            await driver.owned(NOBODY)
        (tmp_path / "token").write_text("token-1")

        assert await driver.owned(NOBODY) == []

    async def test_instance_role(self, sim: Simulator, drivers: Drivers, monkeypatch: pytest.MonkeyPatch) -> None:
        """A role that the operator's instance gets later is found; keys that ended are replaced without a word."""
        machine = _instance(sim, monkeypatch)
        driver = await drivers(None)
        with pytest.raises(errors.Denied, match="hop limit of 2") as caught:
            await driver.owned(NOBODY)
        assert caught.value.permission == ""
        _role(sim, allow=["Describe*"])
        sim.control("PUT", f"/instances/{machine}/role", {"role": "pods"})

        assert await driver.owned(NOBODY) == []
        sim.control("DELETE", "/roles/pods/sessions")
        assert await driver.owned(NOBODY) == []
        assert _codes(sim) == {"OK": 2, "RequestExpired": 1}

    async def test_a_role_on_top_of_an_instance_role(
        self, sim: Simulator, drivers: Drivers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The instance's role takes another one, of another account."""
        machine = _instance(sim, monkeypatch)
        node = _role(sim, name="node", allow=["sts:AssumeRole"])
        sim.control("PUT", f"/instances/{machine}/role", {"role": "node"})
        arn = _role(sim, account=OTHER, trusts=[node], allow=["Describe*"])
        driver = await drivers(None, AssumeRole(role=arn, endpoint=f"{sim.url}/sts"))

        assert await driver.owned(NOBODY) == []

    async def test_pod_identity(
        self, sim: Simulator, drivers: Drivers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The agent of EKS Pod Identity, asked with the ServiceAccount's token."""
        _role(sim, allow=["Describe*"], web_identities=["token-1"])
        (tmp_path / "token").write_text("token-1")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{sim.url}/pod-identity/pods")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        driver = await drivers(None)

        assert await driver.owned(NOBODY) == []


async def test_secrets_are_in_no_log_and_no_error(
    sim: Simulator,
    drivers: Drivers,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With everything logged at debug: no key of the Secret, no token, nothing that STS gave out, in success and
    refusal, nor in the values that are passed about.
    """
    caplog.set_level(logging.DEBUG)
    seen: list[Any] = []
    keys = KEYS | {"session_token": "the-token-of-base"}
    arn = _role(sim, web_identities=["the-web-identity"], seconds=500)
    with structlog.testing.capture_logs() as lines:
        driver = await drivers(keys, AssumeRole(role=arn, endpoint=f"{sim.url}/sts"))
        await driver.owned(NOBODY)
        sim.control("DELETE", "/roles/pods/sessions")
        await driver.owned(NOBODY)
        _web_identity(sim, monkeypatch, tmp_path / "token", "the-web-identity", arn)
        own = await drivers(None)
        await own.owned(NOBODY)
        sim.control("DELETE", "/roles/pods")
        for refused in (driver, own):
            with pytest.raises(errors.Denied) as caught:
                await refused.owned(NOBODY)
            seen += [caught.value, repr(caught.value.__cause__), vars(caught.value)]
    seen += [driver, vars(driver), lines, caplog.text]
    settings = ProviderSettings(
        name="a",
        region="b",
        endpoint="",
        credentials=keys,
        gate=CallGate(clock=RealClock(), lease=lambda: True),
        cluster="c",
    )
    text = " ".join(map(str, [*seen, settings]))

    assert "botocore" in text or caplog.records
    for secret in ("the-secret-of-base", "the-token-of-base", "the-web-identity", "session-token-", "issued-secret-"):
        assert secret not in text.replace(str(tmp_path), ""), secret
