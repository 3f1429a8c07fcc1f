"""The gate round each API operation: buckets, lease, time bound, retries. In virtual time."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.clock import VirtualClock
from underlay.core.api.networkprovider import OperationStatus
from underlay.core.cloud import errors
from underlay.core.cloud.breaker import Level
from underlay.core.cloud.limits import Bucket, CallEnd, CallGate, LeaseNotHeld, Rate

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
            bucket.recover()  # answers of what was under way say nothing of the new rate
        at_once = bucket.refill_per_second
        for _ in range(20):
            await clock.advance(1)
            bucket.recover()

        assert halved == 2.5
        assert lowest == pytest.approx(0.25)
        assert at_once == pytest.approx(0.25)
        assert bucket.refill_per_second == pytest.approx(5)

    @given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=80))
    def test_the_rate_falls_by_halves_and_rises_slowly(self, moments: list[tuple[float, bool]]) -> None:
        """The rate stays between a twentieth of the published one and the published one; a refusal halves it at once,
        but once a second at most; accepted calls raise it by a twentieth of the published one in a second at most.
        """

        async def play() -> list[tuple[float, bool, float, float]]:
            clock = VirtualClock()
            bucket = Bucket(ATTACH, clock)
            seen = []
            for pause, throttled in moments:
                await clock.advance(pause)
                before = bucket.refill_per_second
                bucket.slow_down() if throttled else bucket.recover()
                seen.append((clock.monotonic(), throttled, before, bucket.refill_per_second))
            return seen

        halved_at, changed_at = float("-inf"), 0.0
        for now, throttled, before, after in asyncio.run(play()):
            assert 0.25 <= after <= 5
            if throttled and now - halved_at >= 1:
                assert after == pytest.approx(max(before / 2, 0.25))
                halved_at = changed_at = now
            elif throttled:
                assert after == before
            else:
                assert before <= after <= before + 0.25 * (now - changed_at) + 1e-9
                assert after <= before + 0.25 + 1e-9
                changed_at = now

    @settings(deadline=None, max_examples=25)
    @given(st.floats(2, 20), st.integers(1, 4))
    def test_a_cloud_slower_than_published_is_soon_asked_no_faster(self, real: float, times: int) -> None:
        """Against a bucket of a lower rate than published, few calls are refused in the long run."""

        async def play() -> float:
            clock = VirtualClock()
            published = Rate(burst=10, refill_per_second=20)
            ours, theirs, counted_at, sent, refused = Bucket(published, clock), 10.0, 0.0, 0, 0
            for _ in range(200 * times):
                task = asyncio.ensure_future(ours.take())
                while not task.done():
                    await clock.advance(0.25)
                theirs = min(theirs + (clock.monotonic() - counted_at) * real, 10.0)
                counted_at, sent = clock.monotonic(), sent + 1
                if theirs >= 1:
                    theirs -= 1
                    ours.recover()
                else:
                    refused += 1
                    ours.slow_down()
            return refused / sent

        assert asyncio.run(play()) < 0.5


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

    async def test_what_the_breaker_holds_back_is_not_sent(self) -> None:
        """Once an operation fails all the time it is refused at once with BreakerOpen, saying why and until when; one
        call per interval is tried; another operation is not held up; good answers open the way again.
        """
        clock = VirtualClock()
        subject = gate(clock)
        cloud = Cloud(clock, *[failure(errors.Unavailable) for _ in range(22)])
        for _ in range(4):
            with pytest.raises(errors.Unavailable):
                await finished(clock, subject.call("Attach", cloud, mutating=True), seconds=10)
        sent = len(cloud.calls)
        # The last of the failures has just been told; nothing is tried for five seconds.
        told = clock.monotonic()
        await finished(clock, subject.call("Describe", Cloud(clock), mutating=False), seconds=0)
        while subject.breaker.refusal("Attach", clock.monotonic()) is None:
            with pytest.raises(errors.Unavailable):
                await finished(clock, subject.call("Attach", cloud, mutating=True), seconds=0.5)

        with pytest.raises(
            errors.Unavailable, match=r"not sent.*no-calls since 20\d\d-.*until 20.*Unavailable"
        ) as caught:
            await subject.call("Attach", cloud, mutating=True)

        assert caught.value.code == "BreakerOpen"
        assert sent >= 20
        assert len(cloud.calls) - sent <= 1 + (clock.monotonic() - told) / 5
        for _ in range(60):
            await clock.advance(5)
            with contextlib.suppress(errors.Unavailable):
                await finished(clock, subject.call("Attach", cloud, mutating=True), seconds=5)
        assert subject.breaker.worst(clock.monotonic()) == 0

    async def test_every_attempt_is_observed(self) -> None:
        """The observer hears of each attempt: its class, how long it waited for a token and for the answer; and of what
        was not sent.
        """
        clock = VirtualClock()
        ends: list[CallEnd] = []
        subject = CallGate(clock=clock, lease=lambda: True, observer=ends.append)
        subject.publish("aws", {}, otherwise=Rate(burst=1, refill_per_second=0.5))
        await finished(clock, subject.call("Op", Cloud(clock, failure(errors.Busy)), mutating=True))
        subject.breaker.by_hand = Level.NO_CALLS
        with pytest.raises(errors.Unavailable, match=r"by hand, until annotation underlay\.spidernet\.io/breaker"):
            await subject.call("Op", Cloud(clock), mutating=True)

        assert [end.outcome for end in ends] == ["Busy", "Success", "BreakerOpen"]
        assert [end.seconds for end in ends] == [0, 0, None]
        assert ends[0].waited_seconds == 0
        assert ends[1].waited_seconds == pytest.approx(2 - 0.3, abs=0.01)
