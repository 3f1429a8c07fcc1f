"""Leader election: candidates on virtual time against a real API server. At no time do two lead."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.clock import VirtualClock
from support.proxy import proxied
from underlay.core.api.kubernetes import Lease
from underlay.core.kube.client import KubeClient
from underlay.core.kube.lease import Leader, LeaseLost, micro_time

if TYPE_CHECKING:
    from conftest import ApiServer

_numbers = count()
Work = Callable[[], Awaitable[None]]
pytestmark = pytest.mark.apiserver


class Candidate:
    """A process that wants to lead: what it does while leading, and how it ended."""

    def __init__(self, client: KubeClient, clock: VirtualClock, lease: str, identity: str, work: Work | None) -> None:
        self.leader = Leader(client, name=lease, namespace="default", identity=identity, clock=clock)
        self.working = False
        self.task = asyncio.create_task(self.leader.run(work or self._work))

    @property
    def sleepers(self) -> int:
        if self.task.done():
            return 0
        return 2 if self.leader._from < float("inf") and not self.working else 1

    async def _work(self) -> None:
        self.working = True
        try:
            await asyncio.Event().wait()
        finally:
            self.working = False


class Election:
    """Candidates on one clock; looks after every half second that at most one leads."""

    def __init__(self, client: KubeClient, lease: str) -> None:
        self.client = client
        self.lease = lease
        self.clock = VirtualClock()
        self.candidates: list[Candidate] = []

    def enter(self, identity: str, client: KubeClient | None = None, *, work: Work | None = None) -> Candidate:
        candidate = Candidate(client or self.client, self.clock, self.lease, identity, work)
        self.candidates.append(candidate)
        return candidate

    async def passing(self, seconds: float) -> None:
        """Each candidate that has not ended gets its replies before time goes on."""
        for _ in range(round(seconds * 2)):
            await self._quiet()
            await self.clock.advance(0.5)
            self.look()
        await self._quiet()
        self.look()
        for candidate in self.candidates:
            assert candidate.leader.held() or not candidate.working, "work outlived the lease"

    def look(self) -> None:
        assert sum(candidate.leader.held() for candidate in self.candidates) <= 1

    async def _quiet(self) -> None:
        """Every candidate has had its replies: it sleeps between two attempts, and before its work while it may not
        begin yet.
        """
        async with asyncio.timeout(20):
            while len(self.clock.sleeping) < sum(candidate.sleepers for candidate in self.candidates):  # noqa: ASYNC110 - looks for real replies
                await asyncio.sleep(0)

    async def get(self) -> Lease:
        return await self.client.get(Lease, self.lease, "default")


@pytest.fixture
async def election(apiserver: "ApiServer") -> AsyncIterator[Election]:
    async with apiserver.client("lease/1") as client:
        election = Election(client, f"lease-{next(_numbers)}")
        yield election
        for candidate in election.candidates:
            candidate.task.cancel()
        await asyncio.gather(*(candidate.task for candidate in election.candidates), return_exceptions=True)


async def test_the_first_leads_and_writes_a_lease_others_can_read(election: Election) -> None:
    """A Lease that was absent is made and held; its times have six decimals, which is what MicroTime asks for."""
    first = election.enter("first")
    await election.passing(9)
    too_early = first.leader.held()
    await election.passing(2)
    lease = await election.get()

    assert too_early is False, "who made the Lease does not lead before a leader that lost it must have noticed"
    assert first.leader.held()
    assert first.working
    assert (
        lease.spec.holder_identity,
        lease.spec.lease_duration_seconds,
        lease.spec.lease_transitions,
    ) == ("first", 15, 0)
    for time in (lease.spec.acquire_time, lease.spec.renew_time):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", str(time))


async def test_a_released_lease_is_taken_at_once(election: Election) -> None:
    """When the leader ends orderly, its work ends first, then the next leads within a retry, without any wait."""
    first = election.enter("first")
    await election.passing(12)
    second = election.enter("second")
    await election.passing(30)
    waited = second.leader.held()
    first.task.cancel()
    with suppress(asyncio.CancelledError):
        await first.task
    await election.passing(2.5)
    lease = await election.get()

    assert waited is False
    assert first.working is False
    assert second.leader.held()
    assert second.working
    assert (lease.spec.holder_identity, lease.spec.lease_transitions) == ("second", 1)


async def test_a_leader_cut_off_stops_before_another_begins(
    election: Election, apiserver: "ApiServer", tmp_path: Path
) -> None:
    """Without the API a leader stops 10 s after its last renewal; another leads 15 s after it at the earliest."""
    async with proxied(apiserver.kubeconfig, tmp_path) as (proxy, client):
        first = election.enter("first", client)
        await election.passing(12)
        second = election.enter("second")
        await election.passing(4)
        before = first.leader.held(), second.leader.held()
        await proxy.cut()
        await election.passing(10.5)
        between = first.leader.held(), second.leader.held()
        await election.passing(8.5)
        after = first.leader.held(), second.leader.held()
        with pytest.raises(LeaseLost, match="not renewed in time"):
            await first.task

    assert before == (True, False)
    assert between == (False, False)
    assert first.working is False
    assert after == (False, True)


async def test_an_outage_shorter_than_the_deadline_costs_nothing(
    election: Election, apiserver: "ApiServer", tmp_path: Path
) -> None:
    """A leader that cannot renew for 6 s, then can, has led all the time."""
    async with proxied(apiserver.kubeconfig, tmp_path) as (proxy, client):
        first = election.enter("first", client)
        await election.passing(12)
        await proxy.cut()
        await election.passing(6)
        during = first.leader.held()
        await proxy.heal()
        await election.passing(20)

        assert during
        assert first.leader.held()
        assert first.working


async def test_a_process_that_was_stopped_does_not_think_it_leads(election: Election) -> None:
    """Held is decided by the clock alone: after a pause it is false before any task has run."""
    first = election.enter("first")
    await election.passing(12)
    before = first.leader.held()
    election.clock.jump(11)

    assert before
    assert first.leader.held() is False


async def test_a_lease_taken_by_force_is_lost(election: Election) -> None:
    """A leader that finds another's name in the Lease stops, and does not take it back."""
    first = election.enter("first")
    await election.passing(12)
    await election.client.merge_patch(
        Lease, election.lease, {"spec": {"holderIdentity": "usurper"}}, namespace="default"
    )
    await election.passing(5)

    with pytest.raises(LeaseLost, match="usurper"):
        await first.task
    assert first.leader.held() is False
    assert (await election.get()).spec.holder_identity == "usurper"


async def test_a_deleted_lease_gives_no_second_leader(election: Election) -> None:
    """When the Lease is deleted under a leader, it stops; the next makes a new one and leads only well after that."""
    first = election.enter("first")
    await election.passing(12)
    second = election.enter("second")
    await election.passing(4)
    await election.client.delete(Lease, election.lease, "default")
    await election.passing(5)
    between = first.leader.held(), second.leader.held()
    await election.passing(12)

    with pytest.raises(LeaseLost):
        await first.task
    assert between == (False, False)
    assert second.leader.held()


async def test_many_candidates_elect_one(election: Election) -> None:
    """Of five that start together one leads; when it goes, one of the others does."""
    candidates = [election.enter(f"c{number}") for number in range(5)]
    await election.passing(14)
    leading = [candidate for candidate in candidates if candidate.leader.held()]
    leading[0].task.cancel()
    with suppress(asyncio.CancelledError):
        await leading[0].task
    await election.passing(3)
    next_leading = [candidate for candidate in candidates if candidate.leader.held()]

    assert [len(leading), len(next_leading)] == [1, 1]
    assert leading != next_leading


async def test_work_that_ends_releases_the_lease(election: Election) -> None:
    """When the work returns, so does ``run``, and the Lease is free; when it fails, ``run`` raises its error."""

    async def ends() -> None:
        pass

    async def fails() -> None:
        raise ZeroDivisionError

    first = election.enter("first", work=ends)
    await election.passing(12)
    free = await election.get()
    second = election.enter("second", work=fails)
    await election.passing(3)

    assert first.task.done()
    assert first.task.exception() is None
    assert not free.spec.holder_identity
    assert isinstance(second.task.exception(), ZeroDivisionError)
    assert not (await election.get()).spec.holder_identity


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_234_567_890, "2009-02-13T23:31:30.000000Z"),
        (1_234_567_890.5, "2009-02-13T23:31:30.500000Z"),
    ],
)
def test_micro_time(seconds: float, expected: str) -> None:
    """RFC 3339 in UTC with six decimals, also when they are zeros."""
    assert expected == micro_time(seconds)
