"""The gate round every single API operation of a cloud: breaker, token bucket, lease check, time bound, and the one
retry policy.

A driver's verb may be several operations (create + attach + modify); each passes here by itself. A retry makes the same
call again and so is only for errors that say the request was not carried out; ``UnknownOutcome`` always reaches the
caller. Buckets belong to an account and region, therefore so does a gate: share one among all users of the same
account.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from underlay.core.api.conditions import rfc3339
from underlay.core.api.networkprovider import OperationStatus
from underlay.core.cloud.breaker import ANNOTATION, BREAKER_OPEN, Breaker, Outcome, Refusal
from underlay.core.cloud.errors import Busy, CloudError, Throttled, Unavailable, UnknownOutcome
from underlay.core.errors import UnderlayError
from underlay.core.runtime.clock import Clock

T = TypeVar("T")

_RETRIED = (Throttled, Busy, Unavailable)
_TROUBLE = (Throttled, Unavailable, UnknownOutcome)
_LOWEST_SHARE = 0.05
_RECOVERY_SHARE_PER_SECOND = 0.05
_LONGEST_CREDIT_SECONDS = 1.0
_SLOWED_AT_MOST_EVERY_SECONDS = 1.0


class LeaseNotHeld(UnderlayError):
    """A write was about to be sent by a process that does not lead (any more); it was not sent."""

    def __init__(self, operation: str) -> None:
        self.operation = operation
        super().__init__(f"{operation} was not sent: this process does not hold the lease, another one may be writing")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnd:
    """How one attempt ended. ``outcome``: ``Success``, the name of the error's class, or ``BreakerOpen``; ``seconds``
    None: it was not sent.
    """

    operation: str
    outcome: str
    waited_seconds: float
    seconds: float | None


Observer = Callable[[CallEnd], None]


def unobserved(_: CallEnd) -> None:
    """Nobody counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A published limit: ``burst`` calls at once, then ``refill_per_second``."""

    burst: float
    refill_per_second: float


UNLIMITED = Rate(burst=1e9, refill_per_second=1e9)


class Bucket:
    """A token bucket that slows down when the cloud says so and recovers to its published rate as calls are accepted.

    Waiters are served in order. A waiter that is cancelled takes no token.
    """

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._published = rate
        self._clock = clock
        self._refill = rate.refill_per_second
        self._tokens = rate.burst
        self._counted_at = clock.monotonic()
        self._slowed_at = float("-inf")
        self._changed_at = self._counted_at
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
            self._slowed_at = self._changed_at = now
            self._refill = max(self._refill / 2, self._published.refill_per_second * _LOWEST_SHARE)

    def recover(self) -> None:
        """The cloud accepted a call. However many were, such as those under way when it refused another, the rate grows
        by a twentieth of the published one in a second.
        """
        published, now = self._published.refill_per_second, self._clock.monotonic()
        credit = min(now - self._changed_at, _LONGEST_CREDIT_SECONDS)
        self._count()  # what has passed counts at the old rate
        self._changed_at = now
        self._refill = min(self._refill + published * _RECOVERY_SHARE_PER_SECOND * credit, published)

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
        breaker: Breaker | None = None,
        observer: Observer = unobserved,
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
        self._observer = observer
        self.breaker = breaker or Breaker()

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
        read. Raises ``LeaseNotHeld`` instead of sending a write without the lease, and ``Unavailable`` with code
        ``BreakerOpen`` instead of sending what the breaker holds back.
        """
        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            stop=stop_after_attempt(self._attempts),
            wait=self._wait,
            retry=retry_if_exception(_may_work_soon),
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
        bucket, asked_at = self._bucket(operation), self._clock.monotonic()
        self._heed(self.breaker.refusal(operation, asked_at), operation, asked_at)
        await bucket.take()
        if mutating and not self._lease():
            raise LeaseNotHeld(operation)
        sent_at = self._clock.monotonic()
        self._heed(self.breaker.admit(operation, sent_at), operation, asked_at)
        count = self._counts.setdefault(operation, _Count())
        count.calls += 1
        try:
            answer = await self._bounded(operation, fn, mutating=mutating)
        except CloudError as error:
            self._ended(operation, error, asked_at, sent_at)
            if isinstance(error, Throttled):
                count.throttled += 1
                bucket.slow_down()
            else:
                count.failed += 1
            raise
        self._ended(operation, None, asked_at, sent_at)
        bucket.recover()
        return answer

    def _ended(self, operation: str, error: CloudError | None, asked_at: float, sent_at: float) -> None:
        now = self._clock.monotonic()
        why = f"{type(error).__name__}: {error.code}: {error.message}" if error else ""
        self.breaker.heard(operation, Outcome(at=now, failed=isinstance(error, _TROUBLE)), why)
        self._observer(
            CallEnd(
                operation=operation,
                outcome=type(error).__name__ if error else "Success",
                waited_seconds=sent_at - asked_at,
                seconds=now - sent_at,
            )
        )

    def _heed(self, refused: Refusal | None, operation: str, asked_at: float) -> None:
        if refused is None:
            return
        now = self._clock.monotonic()
        self._observer(CallEnd(operation=operation, outcome=BREAKER_OPEN, waited_seconds=now - asked_at, seconds=None))
        whose = f"of {refused.scope}" if refused.scope else "of this account and region"
        if refused.until is None:
            what = f"by hand, until annotation {ANNOTATION} of the provider is changed or removed"
        else:
            since, until = (rfc3339(self._clock.now() + at - now) for at in (refused.since, refused.until))
            what = f"since {since} and until {until} at least; it began with {refused.why}"
        message = f"not sent, the breaker {whose} is at {refused.level.text} {what}"
        raise Unavailable(provider=self._provider, operation=operation, code=BREAKER_OPEN, message=message)

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


def _may_work_soon(error: BaseException) -> bool:
    return isinstance(error, _RETRIED) and error.code != BREAKER_OPEN
