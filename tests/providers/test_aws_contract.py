"""AWS's driver, through the real boto3, against the EC2 simulator."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest

from cloudsim.server import buckets
from cloudsim.server.app import Settings
from cloudsim.threaded import Simulator, simulator
from providers.contract import DriverContract, Truth, wanted
from underlay.core.cloud import errors
from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.limits import CallGate
from underlay.core.cloud.model import AddressRequest, InterfaceState, Limits, Owner, SubnetQuery
from underlay.core.cloud.registry import ProviderSettings, load
from underlay.core.identity import InstanceId, InterfaceId, SubnetId
from underlay.core.runtime.clock import RealClock
from underlay.providers.aws.calls import IMPLIED_PERMISSIONS, RATES, Ec2
from underlay.providers.aws.convert import CreateReply, Nothing

ROOT = Path(__file__).parents[2]
REGION = "eu-central-1"
ZONE = "eu-central-1a"
NO_INSTANCE = InstanceId("i-0123456789abcdef0")
NO_SUBNET = SubnetId("subnet-0123456789abcdef0")
NO_INTERFACE = InterfaceId("eni-0123456789abcdef0")


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """Changes take a moment and reads lag behind writes, as at EC2, only faster."""
    with simulator(Settings(region=REGION, attach_seconds=0.1, lag_seconds=0.1)) as running:
        yield running


def settings(url: str, gate: CallGate, *, access_key: str = "AKIAUNDERLAY") -> ProviderSettings:
    return ProviderSettings(
        name="test",
        region=REGION,
        endpoint=url,
        credentials={"access_key_id": access_key, "secret_access_key": "secret"},
        gate=gate,
        cluster="kube-system-uid",
    )


@dataclass(slots=True, kw_only=True)
class Ec2Cloud:
    """An account at the simulator as the contract wants it."""

    sim: Simulator
    driver: ProviderDriver
    gate: CallGate
    lease: list[bool]
    provider_id: str
    instance: InstanceId
    owner: Owner
    network: str
    subnet: SubnetId
    tiny: SubnetId
    tiny_free: int
    zone: str = ZONE
    type: str = "t3.medium"
    limits: Limits = field(
        default_factory=lambda: Limits(interfaces=3, ipv4_per_interface=6, ipv6_per_interface=6, prefixes=True)
    )
    writes: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {
            "create_interface": (
                "CreateNetworkInterface",
                "AttachNetworkInterface",
                "ModifyNetworkInterfaceAttribute",
            ),
            "delete_interface": ("DetachNetworkInterface", "DeleteNetworkInterface"),
            "assign": ("AssignPrivateIpAddresses",),
            "unassign": ("UnassignPrivateIpAddresses",),
        }
    )
    strange_instance: InstanceId = NO_INSTANCE
    strange_subnet: SubnetId = NO_SUBNET
    strange_interface: InterfaceId = NO_INTERFACE
    strange_provider_ids: Sequence[str] = (
        "",
        "i-0abc",
        "aws:///i-0abc",
        "azure:///sub/vm",
        "aws:///eu-central-1a/vm-1",
    )

    def interfaces(self) -> list[Truth]:
        rows = self.sim.control("GET", "/table")["interfaces"]
        return [
            Truth(
                id=row["id"],
                addresses=frozenset(ip_address(text) for text in row["addresses"]),
                tags=row["tags"],
                instance=(row["attachment"] or {}).get("instance", ""),
                ends_with_instance=(row["attachment"] or {}).get("delete_on_termination", False),
            )
            for row in rows
            if row["subnet"] in {self.subnet, self.tiny} and (row["attachment"] or {}).get("device_index") != 0
        ]

    def lose_reply(self, operation: str) -> None:
        self.sim.control("POST", "/faults", {"operation": operation, "kind": "lost_reply"})

    def throttle(self, operation: str, times: int) -> None:
        fault = {"operation": operation, "kind": "error", "code": "RequestLimitExceeded", "count": times}
        self.sim.control("POST", "/faults", fault)

    def deny(self, operation: str) -> None:
        key = {"access_key": "AKIAUNDERLAY", "secret": "secret", "deny": [operation]}
        self.sim.control("POST", "/credentials", key)

    async def terminate(self) -> None:
        self.sim.control("DELETE", f"/instances/{self.instance}")


@pytest.fixture
async def cloud(sim: Simulator) -> AsyncIterator[Ec2Cloud]:
    """A network and an instance of the test's own; faults and keys of an earlier test are gone."""
    sim.control("DELETE", "/faults")
    sim.control("DELETE", "/credentials")
    vpc = sim.control("POST", "/vpcs", {"cidr": "10.0.0.0/16"})["id"]
    subnet = sim.control("POST", "/subnets", {"vpc": vpc, "cidr": "10.0.1.0/24", "zone": ZONE})
    tiny = sim.control("POST", "/subnets", {"vpc": vpc, "cidr": "10.0.2.0/28", "zone": ZONE})
    machine = sim.control("POST", "/instances", {"type": "t3.medium", "subnet": subnet["id"]})
    lease = [True]
    gate = CallGate(clock=RealClock(), lease=lambda: lease[0], timeout_seconds=15, first_wait_seconds=0.03)
    driver = await load("aws", settings(sim.url, gate))
    made = Ec2Cloud(
        sim=sim,
        driver=driver,
        gate=gate,
        lease=lease,
        provider_id=machine["providerID"],
        instance=InstanceId(machine["id"]),
        owner=Owner(cluster=f"cluster of {machine['id']}", node="node-uid"),
        network=vpc,
        subnet=SubnetId(subnet["id"]),
        tiny=SubnetId(tiny["id"]),
        tiny_free=tiny["free"],
    )
    # Reads lag: the test begins when the instance is seen.
    async with asyncio.timeout(10):
        while not await driver.instances([made.instance]):
            pass
    yield made
    await driver.close()


class TestAwsDriver(DriverContract):
    """The contract."""


class TestEc2:
    """What is EC2's own."""

    async def test_gateway_is_the_first_host_address(self, cloud: Ec2Cloud) -> None:
        """The router of a subnet is at its network address plus one (VPC User Guide)."""
        (subnet,) = await cloud.driver.subnets(SubnetQuery(ids=(cloud.subnet,), tags={}))

        assert subnet.gateways == (IPv4Address("10.0.1.1"),)
        assert subnet.free == 251 - 1

    async def test_wrong_credentials_are_named(self, cloud: Ec2Cloud) -> None:
        """An unknown access key is no missing permission: the text speaks of the credentials."""
        cloud.sim.control("POST", "/credentials", {"access_key": "AKIAOTHER", "secret": "x"})

        with pytest.raises(errors.Denied, match="credentials") as caught:
            await cloud.driver.owned(cloud.owner)
        assert caught.value.permission == ""

    async def test_nobody_at_the_endpoint(self) -> None:
        """Nothing was sent, so even a write is Unavailable and not of unknown outcome."""
        gate = CallGate(clock=RealClock(), lease=lambda: True, attempts=2, first_wait_seconds=0.01)
        driver = await load("aws", settings("http://127.0.0.1:1", gate))

        with pytest.raises(errors.Unavailable):
            await driver.unassign(InterfaceId("eni-1"), [IPv4Address("10.0.0.9")])
        assert gate.counts()[0].calls == 2
        await driver.close()

    async def test_a_closed_driver_says_so(self, cloud: Ec2Cloud) -> None:
        """A caller that still holds the driver of a changed provider gets an error it can retry, not a cancellation."""
        waiting = asyncio.create_task(cloud.driver.owned(cloud.owner))
        await asyncio.sleep(0)
        await cloud.driver.close()
        following = asyncio.create_task(cloud.driver.owned(cloud.owner))

        assert await waiting == []
        with pytest.raises(errors.Unavailable, match="DriverClosed"):
            await following

    async def test_a_write_that_hangs_has_an_unknown_outcome(self, cloud: Ec2Cloud) -> None:
        """The gate's time bound ends the wait."""
        gate = CallGate(clock=RealClock(), lease=lambda: True, timeout_seconds=0.3)
        driver = await load("aws", settings(cloud.sim.url, gate))
        cloud.sim.control("POST", "/faults", {"operation": "CreateNetworkInterface", "kind": "hang"})

        with pytest.raises(errors.UnknownOutcome, match="no answer within"):
            await driver.create_interface(wanted(cloud))
        await driver.close()

    async def test_the_sdk_sends_once(self, cloud: Ec2Cloud) -> None:
        """A failed request is not repeated behind the gate's back."""
        cloud.sim.control("DELETE", "/calls")
        cloud.sim.control("POST", "/faults", {"operation": "DescribeSubnets", "kind": "error", "code": "Unsupported"})
        cloud.lose_reply("AssignPrivateIpAddresses")
        made = await cloud.driver.create_interface(wanted(cloud))
        with pytest.raises(errors.UnknownOutcome):
            await cloud.driver.assign(made.id, AddressRequest(count=1))
        with pytest.raises(errors.Rejected):
            await cloud.driver.subnets(SubnetQuery(ids=(cloud.subnet,), tags={}))
        sent = cloud.sim.control("GET", "/calls")

        assert [sum(sent[name].values()) for name in ("AssignPrivateIpAddresses", "DescribeSubnets")] == [1, 1]

    async def test_lists_are_read_to_the_last_page(self, cloud: Ec2Cloud) -> None:
        """Twelve interfaces at five a page are all found."""
        ec2 = Ec2(settings(cloud.sim.url, cloud.gate), page_size=5)
        for _ in range(12):
            await ec2.call("CreateNetworkInterface", CreateReply, SubnetId=cloud.subnet)
        async with asyncio.timeout(10):
            while len(found := await ec2.enis({"subnet-id": [cloud.subnet], "status": ["available"]})) < 12:
                pass
        await ec2.close()

        assert len({eni.network_interface_id for eni in found}) == 12

    async def test_a_call_that_is_not_declared_cannot_be_made(self, cloud: Ec2Cloud) -> None:
        """The published list of actions is the whole of what the driver can do."""
        ec2 = Ec2(settings(cloud.sim.url, cloud.gate))

        with pytest.raises(LookupError, match="TerminateInstances"):
            await ec2.call("TerminateInstances", Nothing, InstanceIds=[cloud.instance])
        await ec2.close()

    async def test_a_detached_leftover_is_carried_on_with(self, cloud: Ec2Cloud) -> None:
        """An interface made but not attached before a crash is found among the owned, and finished by its token."""
        cloud.lose_reply("CreateNetworkInterface")
        with pytest.raises(errors.UnknownOutcome):
            await cloud.driver.create_interface(wanted(cloud))
        async with asyncio.timeout(10):
            while not (left := await cloud.driver.owned(cloud.owner)):
                pass
        made = await cloud.driver.create_interface(wanted(cloud))

        assert [(item.id, item.state) for item in left] == [(made.id, InterfaceState.AVAILABLE)]


class TestRates:
    """The driver's and the simulator's tables were each written from EC2's documentation."""

    def test_rates_are_the_published_ones(self) -> None:
        """Both say the same of every operation the driver calls; all its reads are filtered or paged."""
        published = {
            operation: buckets.FILTERED_READ
            if operation.startswith("Describe")
            else buckets.RATES.get(operation, buckets.OTHER_WRITE)
            for operation in RATES
        }

        assert {name: (rate.burst, rate.refill_per_second) for name, rate in RATES.items()} == {
            name: (rate.capacity, rate.refill) for name, rate in published.items()
        }

    async def test_a_burst_is_not_throttled(self) -> None:
        """More calls at once than the bucket holds are paced by the gate: EC2's own bucket refuses none or next to
        none.
        """
        with simulator(Settings(region=REGION, lag_seconds=0, buckets=True, time_scale=1)) as strict:
            gate = CallGate(clock=RealClock(), lease=lambda: True)
            driver = await load("aws", settings(strict.url, gate))
            await asyncio.gather(*(driver.owned(Owner(cluster="nobody")) for _ in range(110)))
            await driver.close()
        (count,) = gate.counts()

        assert count.calls - count.throttled == 110
        assert count.throttled <= 2


class TestPolicy:
    """docs/aws.md publishes exactly what the driver calls."""

    def test_the_published_policy_is_the_declared_calls(self) -> None:
        """No action more, none less."""
        text = (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")
        published = re.findall(r'"ec2:(\w+)"', text)

        assert sorted(set(published) - {"CreateAction"}) == sorted(RATES.keys() | IMPLIED_PERMISSIONS)
