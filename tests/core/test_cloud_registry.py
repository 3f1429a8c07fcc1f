"""Drivers by name."""

import subprocess
import sys

import pytest

from support.clock import VirtualClock
from underlay.core.cloud.limits import CallGate
from underlay.core.cloud.registry import ProviderSettings, load
from underlay.core.errors import InvalidInput

GIVEN = {"access_key_id": "AKIA", "secret_access_key": "secret"}


def provider(*, region: str = "eu-central-1", credentials: dict[str, str] | None = None) -> ProviderSettings:
    return ProviderSettings(
        name="test",
        region=region,
        endpoint="http://127.0.0.1:9",
        credentials=GIVEN if credentials is None else credentials,
        gate=CallGate(clock=VirtualClock(), lease=lambda: True),
        cluster="cluster-uid",
    )


async def test_a_driver_by_its_name() -> None:
    """The entry point named aws is AWS's driver; making it calls nothing."""
    driver = await load("aws", provider())

    assert driver.name == "aws"
    await driver.close()


async def test_an_unknown_name_lists_the_known() -> None:
    """A misspelt driver is refused with the names that exist."""
    with pytest.raises(InvalidInput, match=r"spec\.driver: found 'awz'.*aws"):
        await load("awz", provider())


async def test_missing_credential_keys_are_named() -> None:
    """A Secret without the key a driver needs is refused by the key's name, without showing any value."""
    with pytest.raises(InvalidInput, match=r"credentials\.secret_access_key.*keys: access_key_id") as caught:
        await load("aws", provider(credentials={"access_key_id": "AKIA"}))
    assert "AKIA" not in str(caught.value)


def test_core_imports_no_sdk() -> None:
    """Loading the registry loads no cloud's SDK."""
    program = (
        "import sys, underlay.core.cloud.registry; assert 'boto3' not in sys.modules and 'botocore' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
