"""The gate round each API operation: buckets, lease, time bound, retries. In virtual time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.clock import VirtualClock
from underlay.core.api.networkprovider import OperationStatus
from underlay.core.cloud import errors
from underlay.core.cloud.limits import Bucket, CallGate, LeaseNotHeld, Rate

ATTACH = Rate(burst=50, refill_per_second=5)
"""EC2's bucket of AttachNetworkInterface."""


def failure(kind: type[errors.CloudError], *, after: float | None = None) -> errors.CloudError:
    error = kind(provider="aws", operation="Op", code="Code", message="text")
    if isinstance(error, errors.Throttled):
        error.after_seconds = after
    return error


class Cloud:
    """Answers with what it was told, then with its call's number."""

    def __init__(self, clock: VirtualClock, *outcomes: Exception) -> None:
        self._clock = clock
        self._outcomes = list(outcomes)
        self.calls: list[float] = []

    async def __call__(self) -> int:
        self.calls.append(self._clock.monotonic())
        if self._outcomes:
            raise self._outcomes.pop(0)
        return len(self.calls)


def gate(clock: VirtualClock, *, lease: Callable[[], bool] = lambda: True, timeout_seconds: float = 30) -> CallGate:
    made = CallGate(clock=clock, lease=lease, timeout_seconds=timeout_seconds)
    made.publish("aws", {"Attach": ATTACH}, otherwise=Rate(burst=100, refill_per_second=20))
    return made


async def finished(clock: VirtualClock, work: Awaitable[int], *, seconds: float = 300) -> int:
    """The outcome of ``work`` when time passes."""
    task = asyncio.ensure_future(work)
    await clock.advance(0)
    await clock.advance(seconds)
    return await task


class TestBucket:
    """A token bucket as the cloud publishes it."""

    @pytest.mark.parametrize(("calls", "floor_seconds"), [(50, 0), (51, 0.2), (60, 2), (100, 10)])
    async def test_burst_then_rate(self, calls: int, floor_seconds: float) -> None:
        """(N - burst) / refill seconds for N calls, and no more."""
        clock = VirtualClock()
        bucket = Bucket(ATTACH, clock)
        done: list[float] = []

        async def one() -> None:
            await bucket.take()
            done.append(clock.monotonic())

        async with asyncio.TaskGroup() as group:
            for _ in range(calls):
                group.create_task(one())
            await clock.advance(0)
            for _ in range(200):
                await clock.advance(0.1)

        assert max(done) == pytest.approx(floor_seconds, abs=0.11)
        assert sum(at == 0 for at in done) == min(calls, 50)

    @given(st.lists(st.floats(0, 3), min_size=1, max_size=60))
    def test_never_more_than_published(self, pauses: list[float]) -> None:
        """In no stretch of time do more calls leave than burst plus refill allow."""

        async def play() -> list[float]:
            clock = VirtualClock()
            bucket = Bucket(Rate(burst=3, refill_per_second=2), clock)
            sent: list[float] = []
            for pause in pauses:
                await clock.advance(pause)
                task = asyncio.ensure_future(bucket.take())
                while not task.done():
                    await clock.advance(0.05)
                sent.append(clock.monotonic())
            return sent

        sent = asyncio.run(play())

        for first in range(len(sent)):
            for last in range(first, len(sent)):
                assert last - first + 1 <= 3 + 2 * (sent[last] - sent[first]) + 1e-3

    async def test_waiters_are_served_in_order(self) -> None:
        """Nobody overtakes, and a waiter that gives up leaves its token to the next."""
        clock = VirtualClock()
        bucket = Bucket(Rate(burst=1, refill_per_second=1), clock)
        served: list[int] = []

        async def one(number: int) -> None:
            await bucket.take()
            served.append(number)

        tasks = [asyncio.create_task(one(number)) for number in range(4)]
        await clock.advance(0)
        tasks[1].cancel()
        await clock.advance(0)
        await clock.advance(2.5)

        assert served == [0, 2, 3]

    async def test_slows_down_and_recovers(self) -> None:
        """A throttled call empties the bucket and halves the rate once a second; accepted calls bring the rate back."""
        clock = VirtualClock()
        bucket = Bucket(ATTACH, clock)
        for _ in range(10):
            bucket.slow_down()
        halved = bucket.refill_per_second
        for _ in range(200):
            await clock.advance(1)
            bucket.slow_down()
        lowest = bucket.refill_per_second
        for _ in range(20):
            bucket.recover()

        assert halved == 2.5
        assert lowest == pytest.approx(0.25)
        assert bucket.refill_per_second == 5


class TestGate:
    """One operation through the gate."""

    async def test_each_operation_has_its_own_bucket(self) -> None:
        """Fifty attaches in flight do not hold up a describe."""
        clock = VirtualClock()
        subject, cloud = gate(clock), Cloud(clock)
        for _ in range(50):
            await subject.call("Attach", cloud, mutating=True)
        waiting = asyncio.create_task(subject.call("Attach", cloud, mutating=True))
        await clock.advance(0)
        await subject.call("Describe", cloud, mutating=False)

        assert not waiting.done()
        await clock.advance(0.3)
        assert waiting.done()

    @pytest.mark.parametrize("kind", [errors.Throttled, errors.Busy, errors.Unavailable])
    async def test_what_was_not_carried_out_is_tried_again(self, kind: type[errors.CloudError]) -> None:
        """Throttled, Busy and Unavailable are repeated with growing pauses until it works."""
        clock = VirtualClock()
        cloud = Cloud(clock, failure(kind), failure(kind), failure(kind))

        assert await finished(clock, gate(clock).call("Op", cloud, mutating=True)) == 4
        pauses = [after - before for before, after in zip(cloud.calls, cloud.calls[1:], strict=False)]
        assert pauses[0] >= 0.3
        assert pauses == sorted(pauses)

    async def test_gives_up_with_the_clouds_own_error(self) -> None:
        """After the last attempt the caller sees what the cloud said."""
        clock = VirtualClock()
        cloud = Cloud(clock, *[failure(errors.Throttled) for _ in range(20)])

        with pytest.raises(errors.Throttled):
            await finished(clock, gate(clock).call("Op", cloud, mutating=True))
        assert len(cloud.calls) == 5

    async def test_waits_as_long_as_the_cloud_says(self) -> None:
        """A Retry-After longer than our own pause is kept."""
        clock = VirtualClock()
        cloud = Cloud(clock, failure(errors.Throttled, after=42))
        await finished(clock, gate(clock).call("Op", cloud, mutating=False))

        assert cloud.calls[1] >= 42

    @pytest.mark.parametrize(
        "kind",
        [
            errors.UnknownOutcome,
            errors.Exhausted,
            errors.NoPrefix,
            errors.LimitReached,
            errors.NotFound,
            errors.Denied,
            errors.Rejected,
        ],
    )
    async def test_everything_else_reaches_the_caller_at_once(self, kind: type[errors.CloudError]) -> None:
        """Above all, a write that may have happened is never sent again here."""
        clock = VirtualClock()
        cloud = Cloud(clock, failure(kind))

        with pytest.raises(kind):
            await gate(clock).call("Op", cloud, mutating=True)
        assert len(cloud.calls) == 1

    async def test_no_write_without_the_lease(self) -> None:
        """A process that does not lead reads but does not write, and says why."""
        clock = VirtualClock()
        subject, cloud = gate(clock, lease=lambda: False), Cloud(clock)

        assert await subject.call("Describe", cloud, mutating=False) == 1
        with pytest.raises(LeaseNotHeld, match="Attach was not sent"):
            await subject.call("Attach", cloud, mutating=True)
        assert len(cloud.calls) == 1

    async def test_the_lease_is_looked_at_before_every_attempt(self) -> None:
        """A lease lost while waiting to try again stops the write."""
        clock = VirtualClock()
        held = [True]
        cloud = Cloud(clock, failure(errors.Throttled))
        task = asyncio.create_task(gate(clock, lease=lambda: held[0]).call("Op", cloud, mutating=True))
        await clock.asleep()
        held[0] = False
        await clock.advance(60)

        with pytest.raises(LeaseNotHeld):
            await task
        assert len(cloud.calls) == 1

    @pytest.mark.parametrize(("mutating", "expected"), [(True, errors.UnknownOutcome), (False, errors.Unavailable)])
    async def test_no_answer_in_time(self, mutating: bool, expected: type[errors.CloudError]) -> None:  # noqa: FBT001
        """A write that is not answered may have happened; a read may be repeated."""
        clock = VirtualClock()
        asked = 0

        async def silent() -> int:
            nonlocal asked
            asked += 1
            await asyncio.Event().wait()
            return 0

        task = asyncio.create_task(gate(clock, timeout_seconds=0.01).call("Op", silent, mutating=mutating))
        async with asyncio.timeout(10):
            while not task.done():
                await clock.advance(1)

        with pytest.raises(expected, match=r"aws Op: Timeout: no answer within 0\.01 s"):
            await task
        assert asked == (1 if mutating else 5)

    async def test_cancellation_passes(self) -> None:
        """A cancelled call is cancelled, not translated."""
        clock = VirtualClock()
        task = asyncio.create_task(gate(clock).call("Op", asyncio.Event().wait, mutating=True))
        await clock.advance(0)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_calls_are_counted(self) -> None:
        """Every attempt is a call; throttled and failed ones are counted apart."""
        clock = VirtualClock()
        subject = gate(clock)
        cloud = Cloud(clock, failure(errors.Throttled), failure(errors.Busy))
        await finished(clock, subject.call("Attach", cloud, mutating=True))
        await subject.call("Describe", cloud, mutating=False)

        assert subject.counts() == [
            OperationStatus(operation="Attach", calls=3, throttled=1, failed=1),
            OperationStatus(operation="Describe", calls=1, throttled=0, failed=0),
        ]

    async def test_a_refusal_slows_all_who_come_after(self) -> None:
        """After a throttled call the bucket is empty for every caller of the operation."""
        clock = VirtualClock()
        subject = gate(clock)
        await finished(
            clock, subject.call("Attach", Cloud(clock, failure(errors.Throttled)), mutating=True), seconds=0.6
        )
        cloud = Cloud(clock)
        began = clock.monotonic()
        await asyncio.gather(
            *(finished(clock, subject.call("Attach", cloud, mutating=True), seconds=5) for _ in range(5))
        )

        assert cloud.calls[-1] - began > 5 / ATTACH.refill_per_second
