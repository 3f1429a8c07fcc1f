"""When no CNI call is under way: what need not be done while a pod waits is done then.

Processor time is what calls compete for (one interpreter, few cores), so work off their path is put off until they are
through, or until it has waited long enough.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from underlay.core.runtime.clock import Clock, RealClock

_QUIET_SECONDS = 0.02
"""Between two calls of a burst there is less than that."""


class Lull:
    """Counts the calls under way."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or RealClock()
        self._under_way = 0
        self._begun = 0
        self._none = asyncio.Event()
        self._none.set()

    @property
    def busy(self) -> bool:
        """A call is under way."""
        return self._under_way > 0

    @contextmanager
    def disturbed(self) -> Iterator[None]:
        """Round a call."""
        self._under_way += 1
        self._begun += 1
        self._none.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self.busy:
                self._none.set()

    async def wait(self, longest_seconds: float) -> None:
        """Until no call is under way and none has come for a moment; not longer than ``longest_seconds``."""
        until = self._clock.monotonic() + longest_seconds
        while (left := until - self._clock.monotonic()) > 0:
            begun = self._begun
            try:
                async with asyncio.timeout(left):
                    await self._none.wait()
            except TimeoutError:
                return
            await self._clock.sleep(min(_QUIET_SECONDS, left))
            if self._begun == begun:
                return
