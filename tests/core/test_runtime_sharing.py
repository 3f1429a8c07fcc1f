"""Single flights and batches: how many questions are put, who gets which answer, and whom a failure concerns."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from support.clock import VirtualClock
from underlay.core.runtime.sharing import Batch, SingleFlight


class Oracle:
    """Answers a question when told; knows how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.cancelled = 0
        self._answer: asyncio.Future[str] | None = None

    async def ask(self) -> str:
        self.asked += 1
        self._answer = asyncio.get_running_loop().create_future()
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def answer(self, text: str) -> None:
        assert self._answer is not None
        self._answer.set_result(text)

    def fail(self, error: Exception) -> None:
        assert self._answer is not None
        self._answer.set_exception(error)


async def turn() -> None:
    """Lets every task run up to its next wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_meanwhile_gets_the_same_answer() -> None:
    """Twenty ask at once and one question is put; who comes after its answer has a new one put."""
    oracle, flight = Oracle(), SingleFlight[str, str]()
    asking = [asyncio.create_task(flight.get("a", oracle.ask)) for _ in range(20)]
    await turn()
    oracle.answer("first")

    assert await asyncio.gather(*asking) == ["first"] * 20
    assert oracle.asked == 1

    later = asyncio.create_task(flight.get("a", oracle.ask))
    await turn()
    oracle.answer("second")

    assert await later == "second"
    assert oracle.asked == 2


async def test_other_keys_are_other_questions() -> None:
    """Two keys, two questions at once, each with its answer."""
    one, two, flight = Oracle(), Oracle(), SingleFlight[str, str]()
    first, second = (asyncio.create_task(flight.get(key, ask)) for key, ask in (("a", one.ask), ("b", two.ask)))
    await turn()
    two.answer("two")
    one.answer("one")

    assert (await first, await second) == ("one", "two")


async def test_an_error_is_everybodys_who_asked_and_is_not_kept() -> None:
    """All who wait hear of the failure; the next asks again."""
    oracle, flight = Oracle(), SingleFlight[str, str]()
    asking = [asyncio.create_task(flight.get("a", oracle.ask)) for _ in range(3)]
    await turn()
    oracle.fail(LookupError("no"))
    heard = await asyncio.gather(*asking, return_exceptions=True)
    again = asyncio.create_task(flight.get("a", oracle.ask))
    await turn()
    oracle.answer("yes")

    assert [str(error) for error in heard] == ["no"] * 3
    assert await again == "yes"


async def test_cancelling_one_caller_leaves_the_others_their_answer() -> None:
    """The first to ask goes; the question goes on for the second."""
    oracle, flight = Oracle(), SingleFlight[str, str]()
    first, second = (asyncio.create_task(flight.get("a", oracle.ask)) for _ in range(2))
    await turn()
    first.cancel()
    await turn()
    oracle.answer("yes")

    assert await second == "yes"
    assert first.cancelled()
    assert oracle.cancelled == 0


async def test_a_question_nobody_waits_for_is_cancelled_and_not_joined() -> None:
    """Who asks in the moment the last caller leaves gets an answer, not the cancellation."""
    oracle, flight = Oracle(), SingleFlight[str, str]()
    first = asyncio.create_task(flight.get("a", oracle.ask))
    await turn()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(flight.get("a", oracle.ask))
    await turn()
    oracle.answer("yes")

    assert await second == "yes"
    assert (oracle.asked, oracle.cancelled) == (2, 1)


class Register:
    """Knows numbers by their text, but for the odd ones; every question is kept with its time."""

    def __init__(self, clock: VirtualClock, *, most: int = 4, takes: float = 0.0) -> None:
        self.questions: list[tuple[float, Sequence[int]]] = []
        self.wrong: Exception | None = None
        self._clock = clock
        self._takes = takes
        self.batch: Batch[int, str] = Batch(self._ask, clock=clock, gap_seconds=1.0, most=most)

    async def _ask(self, keys: Sequence[int]) -> Mapping[int, str]:
        self.questions.append((self._clock.monotonic(), keys))
        if self._takes:
            await self._clock.sleep(self._takes)
        if self.wrong is not None:
            raise self.wrong
        return {key: str(key) for key in keys if not key % 2}

    def get(self, key: int) -> asyncio.Task[str | None]:
        return asyncio.create_task(self.batch.get(key))


async def test_those_who_ask_at_once_share_questions() -> None:
    """Ten keys, asked for twice each in one turn: each is in one question, none of which is longer than allowed, and
    everybody gets the answer for its own key, None where there is nothing.
    """
    register = Register(VirtualClock())
    asking = [register.get(key) for key in range(10) for _ in range(2)]

    answers = await asyncio.gather(*asking)

    assert [None if key % 2 else str(key) for key in range(10) for _ in range(2)] == answers
    assert [len(keys) for _, keys in register.questions] == [4, 4, 2]
    assert sorted(key for _, keys in register.questions for key in keys) == list(range(10))


async def test_the_first_after_a_pause_does_not_wait_and_the_next_do() -> None:
    """Asked at 0, 0.2, 0.4 and 5 s, with a gap of 1 s: questions are put at 0, 1 and 5 s."""
    clock = VirtualClock()
    register = Register(clock)
    asking = []
    for key, seconds in ((0, 0.2), (2, 0.2), (4, 4.6), (6, 0)):
        asking.append(register.get(key))
        await turn()
        await clock.advance(seconds)

    assert register.questions == [(0, [0]), (1, [2, 4]), (5, [6])]
    assert await asyncio.gather(*asking) == ["0", "2", "4", "6"]


async def test_an_answer_is_of_a_question_put_after_asking() -> None:
    """Who asks for a key that is being asked for already gets a question of its own, not that answer."""
    clock = VirtualClock()
    register = Register(clock, takes=3.0)
    first = register.get(2)
    await turn()
    await clock.advance(0.5)
    second = register.get(2)
    await turn()
    await clock.advance(2.6)

    assert first.done()
    assert not second.done()

    await clock.advance(1.0)

    assert second.done()
    assert register.questions == [(0, [2]), (1, [2])]


async def test_a_failed_question_fails_for_its_keys_only() -> None:
    """Those of the next question hear nothing of it."""
    clock = VirtualClock()
    register = Register(clock)
    register.wrong = LookupError("no")
    heard = await asyncio.gather(register.get(2), register.get(4), return_exceptions=True)
    register.wrong = None
    later = register.get(2)
    await clock.advance(1.0)

    assert [str(error) for error in heard] == ["no", "no"]
    assert await later == "2"


async def test_keys_of_those_who_left_are_not_asked_for() -> None:
    """A caller that is cancelled before the question takes its key along."""
    clock = VirtualClock()
    register = Register(clock)
    await register.get(0)
    leaving, staying = register.get(2), register.get(4)
    await clock.advance(0.5)
    leaving.cancel()
    await clock.advance(0.5)

    assert await staying == "4"
    assert register.questions == [(0, [0]), (1, [4])]
