"""The gate to a cloud, with crash points round every single write, and a memory of what is not permitted."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from underlay.core.api.conditions import rfc3339
from underlay.core.cloud.breaker import ANNOTATION, Level
from underlay.core.cloud.errors import Denied
from underlay.core.cloud.limits import CallGate, Observer, unobserved
from underlay.core.runtime.checkpoints import Checkpoint
from underlay.core.runtime.clock import Clock
from underlay.operator.reconcile.advice import Advice
from underlay.operator.steps import WarmStep

T = TypeVar("T")

# What is still refused then is tried again by the node's own back-off, and a condition says so within seconds.
_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Quota:
    """What an account answered the last time an interface was asked for: it gave one, or it has as many as it may have,
    as ``refusal`` tells, and none is asked for ``until`` then.
    """

    refusal: Advice | None = None
    until: float = float("-inf")


class SteppedGate(CallGate):
    """One account and region. A verb of a driver may be several writes, and may end between any two.

    ``quota`` is None until an interface was asked for. ``changed`` is called when an operation is refused for
    lack of a permission, when it works again, and when the breaker's level changes.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        lease: Callable[[], bool],
        timeout_seconds: float,
        checkpoint: Checkpoint,
        changed: Callable[[], None],
        observer: Observer = unobserved,
    ) -> None:
        super().__init__(
            clock=clock, lease=lease, timeout_seconds=timeout_seconds, attempts=_ATTEMPTS, observer=observer
        )
        self._step = checkpoint
        self._changed = changed
        self._denied: dict[str, Denied] = {}
        self._levels: dict[str, Level] = {}
        self.quota: Quota | None = None

    @property
    def denied(self) -> Mapping[str, Denied]:
        """Operations that were refused the last time."""
        return self._denied

    @property
    def refused(self) -> bool:
        """Whether the credentials themselves were refused, so that no call can be expected to work."""
        return any(error.everything for error in self._denied.values())

    def accepted(self) -> None:
        """They work (again), as a call just showed: what was refused because of them may work as well."""
        if self.refused:
            self._denied = {name: error for name, error in self._denied.items() if not error.everything}
            self._changed()

    def set_by_hand(self, level: Level | None) -> bool:
        """The breaker's level as people want it; None: as it finds. True when that is new."""
        if level is self.breaker.by_hand:
            return False
        self.breaker.by_hand = level
        self._changed()
        return True

    @property
    def level(self) -> Level:
        """The worst level of the breaker."""
        return self.breaker.worst(self.clock.monotonic())

    def told(self) -> str:
        """What the breaker holds back, for people; stable while nothing changes."""
        if self.breaker.by_hand is not None:
            return f"{self.breaker.by_hand.text}, by hand: annotation {ANNOTATION}"
        now, wall = self.clock.monotonic(), self.clock.now()
        found = [
            f"{name} {health.level.text} since {rfc3339(round(wall + health.since - now))} ({health.why})"
            for name, health in self.breaker.operations(now).items()
            if health.level
        ]
        account = self.breaker.level(now)
        whole = [f"everything {account.text}, since most operations are in trouble"] if account else []
        return "; ".join(whole + found) or "the cloud works"

    def forget(self) -> None:
        """Other credentials may do other things."""
        self._denied.clear()

    async def call(self, operation: str, fn: Callable[[], Awaitable[T]], *, mutating: bool) -> T:
        """As ``CallGate.call``."""

        async def stepped() -> T:
            self._step(f"{WarmStep.SENDING}:{operation}")
            answer = await fn()
            self._step(f"{WarmStep.ANSWERED}:{operation}")
            return answer

        try:
            answer = await self._watched(operation, stepped if mutating else fn, mutating=mutating)
        except Denied as error:
            before, self._denied[operation] = self._denied.get(operation), error
            if before is None or before.message != error.message:
                self._changed()
            raise
        if self._denied.pop(operation, None) is not None:
            self._changed()
        return answer

    async def _watched(self, operation: str, fn: Callable[[], Awaitable[T]], *, mutating: bool) -> T:
        try:
            return await super().call(operation, fn, mutating=mutating)
        finally:
            found = self.breaker.operations(self.clock.monotonic()).items()
            levels = {name: health.level for name, health in found if health.level}
            if levels != self._levels:
                self._levels = levels
                self._changed()
