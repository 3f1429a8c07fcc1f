"""How few calls the AWS driver makes when many nodes want the same at the same time."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import pytest

from cloudsim.server.app import Settings
from cloudsim.threaded import Simulator, simulator
from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.errors import NotFound
from underlay.core.cloud.limits import CallGate
from underlay.core.cloud.model import InterfaceRequest, InterfaceState, Kind, Owner
from underlay.core.cloud.registry import ProviderSettings, load
from underlay.core.identity import InstanceId, SubnetId
from underlay.core.runtime.clock import RealClock

REGION = "eu-central-1"
MACHINES = 30
ATTACH_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """An account of the test's own; no read lags."""

    sim: Simulator
    driver: ProviderDriver
    subnet: SubnetId
    machines: Sequence[InstanceId]

    def calls(self, operation: str) -> int:
        """How often the cloud was asked."""
        return sum(self.sim.control("GET", "/calls").get(operation, {}).values())


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """Attaching takes as long as several looks."""
    with simulator(Settings(region=REGION, attach_seconds=ATTACH_SECONDS, lag_seconds=0)) as running:
        yield running


@pytest.fixture
async def fleet(sim: Simulator) -> AsyncIterator[Fleet]:
    vpc = sim.control("POST", "/vpcs", {"cidr": "10.0.0.0/16"})["id"]
    zone = {"vpc": vpc, "cidr": "10.0.0.0/20", "zone": f"{REGION}a"}
    subnet = sim.control("POST", "/subnets", zone)["id"]
    machine = {"type": "m5.large", "subnet": subnet}
    ids = [InstanceId(sim.control("POST", "/instances", machine)["id"]) for _ in range(MACHINES)]
    settings = ProviderSettings(
        name="test",
        region=REGION,
        endpoint=sim.url,
        credentials={"access_key_id": "AKIAUNDERLAY", "secret_access_key": "secret"},
        gate=CallGate(clock=RealClock(), lease=lambda: True, timeout_seconds=15),
        cluster="kube-system-uid",
    )
    driver = await load("aws", settings)
    yield Fleet(sim=sim, driver=driver, subnet=SubnetId(subnet), machines=ids)
    await driver.close()


async def test_creations_under_way_share_their_looks(fleet: Fleet) -> None:
    """Thirty interfaces are made and attached at once: all are in use in the end, and the cloud is asked about them
    fewer than thirty times altogether.
    """
    asked = [_request(fleet, machine) for machine in fleet.machines]

    made = await asyncio.gather(*(fleet.driver.create_interface(request) for request in asked))

    assert {interface.state for interface in made} == {InterfaceState.IN_USE}
    assert len({interface.id for interface in made}) == MACHINES
    assert fleet.calls("AttachNetworkInterface") == MACHINES
    assert fleet.calls("DescribeNetworkInterfaces") < MACHINES


async def test_machines_read_one_by_one_cost_a_few_calls(fleet: Fleet) -> None:
    """Each of thirty callers gets its own machine, one that asks for another a NotFound, by few reads in all."""
    strange = InstanceId("i-0123456789abcdef0")
    *found, missing = await asyncio.gather(
        *(fleet.driver.instance(machine) for machine in (*fleet.machines, strange)), return_exceptions=True
    )

    assert [getattr(instance, "id", instance) for instance in found] == list(fleet.machines)
    assert isinstance(missing, NotFound)
    assert strange in str(missing)
    assert fleet.calls("DescribeInstances") <= 3
    assert fleet.calls("DescribeNetworkInterfaces") <= 3


async def test_a_type_is_asked_for_once(fleet: Fleet) -> None:
    """However many ask for it before the first answer, and after."""
    limits = await asyncio.gather(*(fleet.driver.limits("m5.large") for _ in range(MACHINES)))

    assert limits == [limits[0]] * MACHINES
    assert await fleet.driver.limits("m5.large") == limits[0]
    assert fleet.calls("DescribeInstanceTypes") == 1


def _request(fleet: Fleet, machine: InstanceId) -> InterfaceRequest:
    return InterfaceRequest(
        token=f"token of {machine}",
        instance=machine,
        device_index=1,
        subnet=fleet.subnet,
        security_groups=(),
        wanted={Kind.IPV4: 2},
        owner=Owner(cluster="kube-system-uid", node=machine),
        description="",
        tags={},
    )
