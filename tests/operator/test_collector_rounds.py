"""Rounds of the collector in virtual time, against a cloud and an API server that note what they are asked."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from support.clock import VirtualClock
from support.cloud_values import CLUSTER, interface
from underlay.core.api.kubernetes import ObjectReference
from underlay.core.api.meta import ObjectMeta
from underlay.core.api.networkprovider import GarbageCollection, SpiderNetworkProvider, SpiderNetworkProviderSpec
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.cloud import errors
from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.limits import LeaseNotHeld
from underlay.core.cloud.model import InterfaceState, NetworkInterface, Owner
from underlay.core.identity import InterfaceId
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient, Listing
from underlay.core.kube.events import Recorder
from underlay.operator.collector import Collector
from underlay.operator.gate import SteppedGate
from underlay.operator.knownsubnets import KnownSubnets
from underlay.operator.providers import Provider, Providers

AGE = 600


@dataclass(slots=True)
class Stage:
    """One account with ``count`` orphans; ``asked`` is what was asked, in order; ``refuse`` raises what it likes."""

    clock: VirtualClock = field(default_factory=VirtualClock)
    orphans: dict[InterfaceId, NetworkInterface] = field(default_factory=dict)
    unreadable: dict[tuple[str, str], str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    refuse: Callable[[str], None] = lambda _: None
    delete_seconds: float = 0

    def fill(self, count: int) -> None:
        for number in range(count):
            made = replace(interface(number + 1), state=InterfaceState.AVAILABLE, instance=None, device_index=None)
            self.orphans[made.id] = made

    # the driver's, the client's and the recorder's part that a collector uses

    async def owned(self, owner: Owner) -> Collection[NetworkInterface]:
        assert owner == Owner(cluster=CLUSTER)
        self._ask("owned")
        return list(self.orphans.values())

    async def list(self, kind: type[SpiderNodeNetwork]) -> Listing[SpiderNodeNetwork]:
        assert kind is SpiderNodeNetwork
        self._ask("list")
        return Listing(items=[], resource_version="1", unreadable=self.unreadable)

    async def delete_interface(self, id_: InterfaceId) -> None:
        await self.clock.sleep(self.delete_seconds)
        self._ask(f"delete {id_}")
        del self.orphans[id_]

    def event(self, about: ObjectReference, kind: str, reason: str, message: str) -> None:
        assert (about.kind, about.name) == ("SpiderNetworkProvider", "p")
        self.said.append(f"{kind} {reason} {message}")

    def all(self) -> tuple[Provider, ...]:
        return self._providers

    @property
    def deleted(self) -> int:
        return sum(item.startswith("delete ") for item in self.asked)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        self.refuse(what)

    _providers: tuple[Provider, ...] = ()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A collector that spreads nothing: its rounds are at 0, AGE / 2, AGE, …"""
        policy = GarbageCollection(min_age_seconds=AGE)
        value = SpiderNetworkProvider(
            metadata=ObjectMeta(name="p"), spec=SpiderNetworkProviderSpec(driver="d", garbage_collection=policy)
        )
        gate = SteppedGate(
            clock=self.clock,
            lease=lambda: True,
            timeout_seconds=5,
            checkpoint=lambda _: None,
            changed=lambda: None,
        )
        subnets = KnownSubnets(clock=self.clock, seconds=60, changed=lambda: None, learnt=lambda: None)
        self._providers = (Provider(value=value, gate=gate, subnets=subnets, driver=cast("ProviderDriver", self)),)
        collector = Collector(
            client=cast("KubeClient", self),
            clock=self.clock,
            cluster=CLUSTER,
            providers=cast("Providers", self),
            recorder=cast("Recorder", self),
            collected=lambda provider, outcome: self.outcomes.append(f"{provider} {outcome}"),
            uniform=lambda least, _: least,
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(collector.run())
            await self.clock.advance(0)
            yield
            task.cancel()


def refusal(kind: type[errors.CloudError]) -> errors.CloudError:
    return kind(provider="aws", operation="Op", code="Code", message="text")


async def test_claims_are_read_after_the_cloud() -> None:
    """An intent precedes its interface, so only a later read of intents is sure to know of it; with nothing detached
    none is read at all.
    """
    stage = Stage()
    async with stage.running():
        await stage.clock.advance(AGE / 2)
        assert stage.asked == ["owned", "owned"]
        stage.fill(1)
        await stage.clock.advance(AGE / 2)
        assert stage.asked[2:] == ["owned", "list"]
        await stage.clock.advance(AGE)
        assert stage.asked[4:] == ["owned", "list", "owned", "list", "delete eni-1"]


async def test_a_round_deletes_a_bounded_number() -> None:
    """Of sixty orphans 25 go in the first round that may, 25 in the next, the rest in the third."""
    stage = Stage()
    stage.fill(60)
    async with stage.running():
        await stage.clock.advance(AGE - 1)
        counts = [stage.deleted]
        await stage.clock.advance(1)
        counts.append(stage.deleted)
        for _ in range(2):
            await stage.clock.advance(AGE / 2)
            counts.append(stage.deleted)
    assert counts == [0, 25, 50, 60]


async def test_a_slow_round_does_not_act_on_old_decisions() -> None:
    """With deletions of 20 s each, none begins more than 30 s after the look."""
    stage = Stage(delete_seconds=20)
    stage.fill(10)
    async with stage.running():
        await stage.clock.advance(AGE + 200)
        assert stage.deleted == 2


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("owned", refusal(errors.Unavailable)),
        ("list", kube_errors.Unavailable(503, "ServiceUnavailable", "text")),
        ("delete eni-1", LeaseNotHeld("Op")),
        ("delete eni-1", refusal(errors.Denied)),
    ],
)
async def test_trouble_ends_the_round_and_no_more(step: str, error: Exception) -> None:
    """Where the cloud, the API server or the lease fails, nothing more is deleted; the next round does it."""
    stage = Stage()
    stage.fill(2)
    async with stage.running():
        await stage.clock.advance(AGE - 1)

        def refuse(what: str) -> None:
            if what == step:
                raise error

        stage.refuse = refuse
        await stage.clock.advance(1)
        assert len(stage.orphans) == 2
        assert stage.asked[-1] == step
        told = isinstance(error, errors.CloudError)
        assert [line.split()[0] for line in stage.said] == (["Warning"] if told else [])
        stage.refuse = lambda _: None
        await stage.clock.advance(AGE / 2)
        assert not stage.orphans


async def test_one_that_cannot_be_deleted_holds_up_no_other() -> None:
    """The cloud refuses the first: that is told and counted, the second goes, the first is tried again a minimum age
    later.
    """
    stage = Stage()
    stage.fill(2)

    def refuse(what: str) -> None:
        if what == "delete eni-1":
            raise refusal(errors.Rejected)

    stage.refuse = refuse
    async with stage.running():
        await stage.clock.advance(AGE)
        assert list(stage.orphans) == ["eni-1"]
        assert [line.split()[1] for line in stage.said] == ["Rejected", "OrphanDeleted"]
        assert stage.outcomes == ["p failed", "p deleted"]
        stage.refuse = lambda _: None
        await stage.clock.advance(AGE)
        assert list(stage.orphans) == ["eni-1"]
        await stage.clock.advance(AGE / 2)
        assert not stage.orphans


async def test_claims_that_cannot_be_read_protect_everything() -> None:
    """A SpiderNodeNetwork of another shape may claim anything: nothing goes, and an Event names it, until it is
    readable.
    """
    stage = Stage(unreadable={("", "node-7"): "status: found 1"})
    stage.fill(1)
    async with stage.running():
        await stage.clock.advance(2 * AGE)
        assert stage.deleted == 0
        assert all("Warning ClaimsUnreadable" in line and "node-7" in line for line in stage.said)
        assert stage.said
        stage.unreadable.clear()
        await stage.clock.advance(2 * AGE)
        assert stage.deleted == 1
