"""Virtual time: waits end when the test says so."""

import asyncio
import heapq
import itertools


class VirtualClock:
    """A ``underlay.core.runtime.clock.Clock`` that stands still until ``advance``."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._passed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._changed = asyncio.Event()

    def now(self) -> float:
        return self._now + self._passed

    def monotonic(self) -> float:
        return self._passed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._passed + seconds, next(self._numbers), done))
        self._changed.set()
        await done

    @property
    def sleeping(self) -> list[float]:
        """How many seconds each sleeper still has to wait, soonest first."""
        return sorted(due - self._passed for due, _, done in self._sleepers if not done.done())

    async def asleep(self, count: int = 1) -> None:
        """Return once ``count`` tasks sleep; give it a bound with ``asyncio.timeout``."""
        while len(self.sleeping) < count:
            self._changed.clear()
            await self._changed.wait()

    async def advance(self, seconds: float) -> None:
        """Let time pass, waking sleepers in order; tasks run up to their next wait after each."""
        until = self._passed + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, done = heapq.heappop(self._sleepers)
            if done.done():
                continue
            self._passed = max(self._passed, due)
            done.set_result(None)
            await self._settle()
        self._passed = until
        await self._settle()

    def jump(self, seconds: float) -> None:
        """Time passes while nothing runs, as for a process that was stopped."""
        self._passed += seconds

    async def _settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
