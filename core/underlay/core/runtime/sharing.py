"""Many askers, few questions: callers that want the same, or the same kind of thing, share what is asked.

``SingleFlight``: callers with one key that come while the answer is under way get that answer.
``Batch``: single keys asked for at about the same time become one question about all of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from underlay.core.runtime.clock import Clock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """An answer, or error, goes to everybody who asked for its key before it came; nothing is kept after that.

    The answer may be of a question put before ``get`` was called. One caller's cancellation leaves the others alone;
    when nobody waits any more the question is cancelled.
    """

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    async def get(self, key: K, ask: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """What ``ask()`` returns, asked now or a moment ago."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(ask()))
            flight.task.add_done_callback(partial(self._landed, key, flight))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                self._forget(key, flight)
                flight.task.cancel()

    def _landed(self, key: K, flight: "_Flight[V]", task: asyncio.Task[V]) -> None:
        self._forget(key, flight)
        if not task.cancelled():
            task.exception()  # told to whoever waits; asyncio shall not tell it as forgotten when nobody does

    def _forget(self, key: K, flight: "_Flight[V]") -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


@dataclass(slots=True)
class _Flight(Generic[V]):
    task: asyncio.Task[V]
    waiting: int = 0


class Batch(Generic[K, V]):
    """``ask`` is given up to ``most`` keys, each once, and answers with what it finds of them.

    After a pause a question is put at once; while many ask, questions begin ``gap_seconds`` apart, so that the more
    there is to ask, the more goes into each. An answer is always of a question put after ``get`` was called. A question
    that fails fails for all of its keys.
    """

    def __init__(
        self, ask: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]], *, clock: Clock, gap_seconds: float, most: int
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._gap = gap_seconds
        self._most = most
        self._asked_at = float("-inf")
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._gathering: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()

    async def get(self, key: K) -> V | None:
        """What the next question finds of ``key``; None: nothing."""
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(answer)
        if self._gathering is None or self._gathering.done():
            self._gathering = asyncio.create_task(self._gather())
        return await answer

    async def _gather(self) -> None:
        while self._waiting:
            # Whoever asks in the same turn of the loop is of the company.
            await self._clock.sleep(max(self._asked_at + self._gap - self._clock.monotonic(), 0.0))
            self._asked_at = self._clock.monotonic()
            keys = [key for key, answers in self._waiting.items() if not all(answer.done() for answer in answers)]
            waiting, self._waiting = self._waiting, {}
            for start in range(0, len(keys), self._most):
                task = asyncio.create_task(
                    self._answer({key: waiting[key] for key in keys[start : start + self._most]})
                )
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)

    async def _answer(self, waiting: Mapping[K, list[asyncio.Future[V | None]]]) -> None:
        try:
            found = await self._ask(list(waiting))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is those who asked who have to know
            for answer in _open(waiting):
                answer.set_exception(error)
        else:
            for key, answers in waiting.items():
                for answer in answers:
                    if not answer.done():
                        answer.set_result(found.get(key))
        finally:  # of answers that are still open, so that the end of the process leaves nobody waiting
            for answer in _open(waiting):
                answer.cancel()


def _open(waiting: Mapping[K, list[asyncio.Future[V | None]]]) -> list[asyncio.Future[V | None]]:
    return [answer for answers in waiting.values() for answer in answers if not answer.done()]
