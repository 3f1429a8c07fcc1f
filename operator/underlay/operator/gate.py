"""The gate to a cloud, with crash points round every single write, and a memory of what is not permitted."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from underlay.core.cloud.errors import Denied
from underlay.core.cloud.limits import CallGate
from underlay.core.runtime.checkpoints import Checkpoint
from underlay.core.runtime.clock import Clock
from underlay.operator.steps import WarmStep

T = TypeVar("T")

# What is still refused then is tried again by the node's own back-off, and a condition says so within seconds.
_ATTEMPTS = 4


class SteppedGate(CallGate):
    """One account and region. A verb of a driver may be several writes, and may end between any two.

    ``changed`` is called when an operation is refused for lack of a permission, and when it works again.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        lease: Callable[[], bool],
        timeout_seconds: float,
        checkpoint: Checkpoint,
        changed: Callable[[], None],
    ) -> None:
        super().__init__(clock=clock, lease=lease, timeout_seconds=timeout_seconds, attempts=_ATTEMPTS)
        self._step = checkpoint
        self._changed = changed
        self._denied: dict[str, Denied] = {}

    @property
    def denied(self) -> Mapping[str, Denied]:
        """Operations that were refused the last time."""
        return self._denied

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
            answer = await super().call(operation, stepped if mutating else fn, mutating=mutating)
        except Denied as error:
            before, self._denied[operation] = self._denied.get(operation), error
            if before is None or before.message != error.message:
                self._changed()
            raise
        if self._denied.pop(operation, None) is not None:
            self._changed()
        return answer
