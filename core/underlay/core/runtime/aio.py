"""Tasks: a queue of keys, blocking work in bounded threads, and tasks that end together."""

import asyncio
import contextvars
import heapq
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Executor
from typing import Any, Generic, TypeVar, TypeVarTuple

import structlog

from underlay.core.runtime.clock import Clock, RealClock

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class KeyedQueue(Generic[K]):
    """Keys that need work, each at most once, each worked on by one worker at a time.

    The queue holds no state: a worker reads the newest when it gets the key. A key added while it is worked on comes
    again after ``done``, so no change is lost and none is worked on twice at once.
    ``priority``: the smallest value comes first; computed at each ``add``, so that adding again after a change moves
    the key. Equal priorities (and no priority) are served in order of their first ``add``.
    """

    def __init__(self, *, priority: Callable[[K], float] | None = None, clock: Clock | None = None) -> None:
        self._priority = priority
        self._clock: Clock = clock or RealClock()
        self._heap: list[tuple[float, int, K]] = []
        self._waiting: dict[K, tuple[float, int]] = {}
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._delayed: dict[K, tuple[float, asyncio.Task[None]]] = {}
        self._permits = asyncio.Semaphore(0)
        self._count = 0

    def __len__(self) -> int:
        """How many keys wait for a worker; delayed keys and keys worked on are not counted."""
        return len(self._waiting)

    def add(self, key: K) -> None:
        """Have ``key`` worked on as soon as a worker is free."""
        if key in self._working:
            self._again.add(key)
            return
        priority = 0.0 if self._priority is None else self._priority(key)
        known = self._waiting.get(key)
        if known is None:
            self._count += 1
            place = (priority, self._count)
            self._permits.release()
        elif known[0] != priority:
            place = (priority, known[1])
        else:
            return
        self._waiting[key] = place
        heapq.heappush(self._heap, (*place, key))

    def add_after(self, key: K, seconds: float) -> None:
        """``add(key)`` once ``seconds`` have passed. Of several delays of one key the earliest counts. Needs a
        running loop.
        """
        due = self._clock.monotonic() + seconds
        if known := self._delayed.get(key):
            if known[0] <= due:
                return
            known[1].cancel()
        self._delayed[key] = (due, asyncio.create_task(self._later(key, seconds)))

    async def get(self) -> K:
        """The next key. The caller owns it until it calls ``done``."""
        await self._permits.acquire()
        while True:  # no await from here on: a permit and its key are taken together
            priority, number, key = heapq.heappop(self._heap)
            if self._waiting.get(key) == (priority, number):
                del self._waiting[key]
                self._working.add(key)
                return key

    def done(self, key: K) -> None:
        """The work on ``key`` has ended, well or not; after a failure the worker also calls ``add_after``."""
        self._working.remove(key)
        if key in self._again:
            self._again.remove(key)
            self.add(key)

    async def close(self) -> None:
        """Forget all delays."""
        tasks = [task for _, task in self._delayed.values()]
        self._delayed.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _later(self, key: K, seconds: float) -> None:
        await self._clock.sleep(seconds)
        del self._delayed[key]
        self.add(key)


async def offload(fn: Callable[[*Ts], T], *args: *Ts, pool: Executor) -> T:
    """``fn(*args)`` in a thread of ``pool``, whose size is the bound on how many run at once. Context variables travel
    along.

    Cancelling the caller does not stop a call that has begun: it keeps its thread until it returns, so the bound
    always holds. Keyword arguments: pass a ``functools.partial``.
    """
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(pool, lambda: context.run(fn, *args))


async def supervise(**parts: Coroutine[Any, Any, object]) -> None:
    """Run all ``parts`` until the last has returned; the first that fails ends all others.

    Raises an ``ExceptionGroup`` of what failed. Each failure is logged under the part's name.
    """
    async with asyncio.TaskGroup() as group:
        for name, part in parts.items():
            group.create_task(_named(name, part), name=name)


async def _named(name: str, part: Coroutine[Any, Any, object]) -> None:
    try:
        await part
    except Exception as error:
        structlog.get_logger().error("task.failed", task=name, error=str(error), kind=type(error).__name__)
        raise
