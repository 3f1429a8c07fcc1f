"""The gate round every single API operation of a cloud: token bucket, lease check, time bound, and the one retry
policy.

A driver's verb may be several operations (create + attach + modify); each passes here by itself. A retry makes the same
call again and so is only for errors that say the request was not carried out; ``UnknownOutcome`` always reaches the
caller. Buckets belong to an account and region, therefore so does a gate: share one among all users of the same
account.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from underlay.core.api.networkprovider import OperationStatus
from underlay.core.cloud.errors import Busy, CloudError, Throttled, Unavailable, UnknownOutcome
from underlay.core.errors import UnderlayError
from underlay.core.runtime.clock import Clock

T = TypeVar("T")

_RETRIED = (Throttled, Busy, Unavailable)
_LOWEST_SHARE = 0.05
_RECOVERY_SHARE = 0.05
_SLOWED_AT_MOST_EVERY_SECONDS = 1.0


class LeaseNotHeld(UnderlayError):
    """A write was about to be sent by a process that does not lead (any more); it was not sent."""

    def __init__(self, operation: str) -> None:
        self.operation = operation
        super().__init__(f"{operation} was not sent: this process does not hold the lease, another one may be writing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A published limit: ``burst`` calls at once, then ``refill_per_second``."""

    burst: float
    refill_per_second: float


UNLIMITED = Rate(burst=1e9, refill_per_second=1e9)


class Bucket:
    """A token bucket that slows down when the cloud says so and recovers to its published rate call by call.

    Waiters are served in order. A waiter that is cancelled takes no token.
    """

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._published = rate
        self._clock = clock
        self._refill = rate.refill_per_second
        self._tokens = rate.burst
        self._counted_at = clock.monotonic()
        self._slowed_at = float("-inf")
        self._turn = asyncio.Lock()

    @property
    def refill_per_second(self) -> float:
        """The rate in force now."""
        return self._refill

    async def take(self) -> None:
        """Waits for a token and takes it."""
        async with self._turn:
            while (lack := 1 - self._count()) > 0:
                # A hair more, lest rounding of the clock costs a second wait of no length.
                await self._clock.sleep(lack / self._refill + 1e-6)
            self._tokens -= 1

    def slow_down(self) -> None:
        """The cloud refused: its bucket is emptier than ours. Halves the rate, once a second, however many were
        refused at once.
        """
        now = self._clock.monotonic()
        self._count()
        self._tokens = min(self._tokens, 0.0)
        if now - self._slowed_at >= _SLOWED_AT_MOST_EVERY_SECONDS:
            self._slowed_at = now
            self._refill = max(self._refill / 2, self._published.refill_per_second * _LOWEST_SHARE)

    def recover(self) -> None:
        """The cloud accepted a call."""
        published = self._published.refill_per_second
        self._refill = min(self._refill + published * _RECOVERY_SHARE, published)

    def _count(self) -> float:
        now = self._clock.monotonic()
        self._tokens = min(self._tokens + (now - self._counted_at) * self._refill, self._published.burst)
        self._counted_at = now
        return self._tokens


@dataclass(slots=True)
class _Count:
    calls: int = 0
    throttled: int = 0
    failed: int = 0


class CallGate:
    """One account and region of a cloud. ``lease`` tells whether this process may write now."""

    def __init__(
        self,
        *,
        clock: Clock,
        lease: Callable[[], bool],
        timeout_seconds: float = 30.0,
        attempts: int = 5,
        first_wait_seconds: float = 0.3,
        longest_wait_seconds: float = 20.0,
    ) -> None:
        self._clock = clock
        self._lease = lease
        self._provider = ""
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._first_wait_seconds = first_wait_seconds
        self._longest_wait_seconds = longest_wait_seconds
        self._rates: Mapping[str, Rate] = {}
        self._otherwise = UNLIMITED
        self._buckets: dict[str, Bucket] = {}
        self._counts: dict[str, _Count] = {}

    @property
    def clock(self) -> Clock:
        """What drivers wait with."""
        return self._clock

    def publish(self, provider: str, rates: Mapping[str, Rate], *, otherwise: Rate) -> None:
        """The cloud's name and its limits by operation, said by its driver before the first call."""
        self._provider, self._rates, self._otherwise = provider, rates, otherwise

    async def call(self, operation: str, fn: Callable[[], Awaitable[T]], *, mutating: bool) -> T:
        """``fn()`` within the limits, again after Throttled, Busy and Unavailable.

        ``fn`` raises ``cloud.errors``. Too slow an answer is ``UnknownOutcome`` of a write and ``Unavailable`` of a
        read. Raises ``LeaseNotHeld`` instead of sending a write without the lease.
        """
        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            stop=stop_after_attempt(self._attempts),
            wait=self._wait,
            retry=retry_if_exception_type(_RETRIED),
            reraise=True,
        )
        return await retrying(self._once, operation, fn, mutating)

    def counts(self) -> list[OperationStatus]:
        """What was sent so far, by operation."""
        return [
            OperationStatus(operation=name, calls=count.calls, throttled=count.throttled, failed=count.failed)
            for name, count in sorted(self._counts.items())
        ]

    def _bucket(self, operation: str) -> Bucket:
        if operation not in self._buckets:
            self._buckets[operation] = Bucket(self._rates.get(operation, self._otherwise), self._clock)
        return self._buckets[operation]

    async def _once(self, operation: str, fn: Callable[[], Awaitable[T]], mutating: bool) -> T:  # noqa: FBT001
        bucket = self._bucket(operation)
        await bucket.take()
        if mutating and not self._lease():
            raise LeaseNotHeld(operation)
        count = self._counts.setdefault(operation, _Count())
        count.calls += 1
        try:
            answer = await self._bounded(operation, fn, mutating=mutating)
        except Throttled:
            count.throttled += 1
            bucket.slow_down()
            raise
        except CloudError:
            count.failed += 1
            raise
        bucket.recover()
        return answer

    async def _bounded(self, operation: str, fn: Callable[[], Awaitable[T]], *, mutating: bool) -> T:
        bound = asyncio.timeout(self._timeout_seconds)
        try:
            async with bound:
                return await fn()
        except TimeoutError as error:
            if not bound.expired():
                raise
            late = UnknownOutcome if mutating else Unavailable
            message = f"no answer within {self._timeout_seconds:g} s"
            raise late(provider=self._provider, operation=operation, code="Timeout", message=message) from error

    def _wait(self, state: RetryCallState) -> float:
        seconds: float = min(self._first_wait_seconds * 2 ** (state.attempt_number - 1), self._longest_wait_seconds)
        error = state.outcome.exception() if state.outcome else None
        told = error.after_seconds if isinstance(error, Throttled) else None
        return max(seconds, told or 0.0)
