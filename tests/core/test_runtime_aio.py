"""Keyed queue, bounded threads, supervised tasks."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.clock import VirtualClock
from underlay.core.runtime.aio import KeyedQueue, offload, supervise

KEYS = st.sampled_from("abcde")
STEPS = st.lists(st.one_of(KEYS.map(lambda key: ("add", key)), st.sampled_from([("get", ""), ("done", "")])))


@given(steps=STEPS)
def test_no_key_is_lost_and_none_is_given_twice_at_once(steps: list[tuple[str, str]]) -> None:
    """For every order of adding, getting and finishing: each added key is given after its last add, never to two."""

    async def scenario() -> None:
        queue: KeyedQueue[str] = KeyedQueue()
        owed: set[str] = set()
        working: list[str] = []
        for step, key in [*steps, *[("done", ""), ("get", "")] * (2 * len(steps) + 2)]:
            if step == "add":
                queue.add(key)
                owed.add(key)
            elif step == "done" and working:
                queue.done(working.pop(0))
            elif step == "get" and owed - set(working):
                async with asyncio.timeout(1):
                    given_key = await queue.get()
                assert given_key not in working
                assert given_key in owed
                owed.remove(given_key)
                working.append(given_key)
        assert owed == set()
        assert len(queue) == 0

    asyncio.run(scenario())


@given(additions=st.lists(KEYS, max_size=60), workers=st.integers(1, 4))
def test_workers_see_the_newest_state_of_every_key(additions: list[str], workers: int) -> None:
    """With workers that wait amid their work, the last state of each key is seen, and no key is worked on twice."""

    async def scenario() -> None:
        queue: KeyedQueue[str] = KeyedQueue()
        state: Counter[str] = Counter()
        seen: Counter[str] = Counter()
        busy: set[str] = set()

        async def worker() -> None:
            while True:
                key = await queue.get()
                assert key not in busy
                busy.add(key)
                seen[key] = state[key]
                await asyncio.sleep(0)
                busy.remove(key)
                queue.done(key)

        tasks = [asyncio.create_task(worker()) for _ in range(workers)]
        for number, key in enumerate(additions):
            state[key] += 1
            queue.add(key)
            if number % 3 == 0:
                await asyncio.sleep(0)
        for _ in range(4 * len(additions) + 10):
            await asyncio.sleep(0)
        for task in tasks:
            assert not task.done()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert state == seen

    asyncio.run(scenario())


async def test_the_smallest_priority_comes_first_and_adding_again_moves_a_key() -> None:
    """Priority is read at each add; equal ones come in order of their first add."""
    deficit = {"a": 1, "b": 5, "c": 1, "d": 3}
    queue: KeyedQueue[str] = KeyedQueue(priority=lambda key: -deficit[key])
    for key in "abcd":
        queue.add(key)
    deficit["c"] = 9
    queue.add("c")
    deficit["b"] = 0
    queue.add("b")
    order = [await queue.get() for _ in range(4)]

    assert order == ["c", "d", "a", "b"]


async def test_of_several_delays_the_earliest_counts() -> None:
    """A delayed key comes once, at the earliest time asked for; a later wish does not push it back."""
    clock = VirtualClock()
    queue: KeyedQueue[str] = KeyedQueue(clock=clock)
    queue.add_after("k", 10)
    queue.add_after("k", 3)
    queue.add_after("k", 20)
    await clock.asleep()
    await clock.advance(2.9)
    early = len(queue)
    await clock.advance(0.2)
    in_time = len(queue)
    async with asyncio.timeout(1):
        key = await queue.get()
    queue.done(key)
    await clock.advance(100)

    assert (early, in_time, key, len(queue)) == (0, 1, "k", 0)


async def test_a_waiting_worker_can_be_cancelled_without_losing_a_key() -> None:
    """A key added just as its waiting worker is cancelled goes to the next worker."""
    queue: KeyedQueue[str] = KeyedQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("k")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(1):
        key = await queue.get()

    assert key == "k"


async def test_closing_forgets_delays() -> None:
    """After close no delayed key comes."""
    clock = VirtualClock()
    queue: KeyedQueue[str] = KeyedQueue(clock=clock)
    queue.add_after("k", 10)
    await clock.asleep()
    await queue.close()
    await clock.advance(20)

    assert len(queue) == 0


async def test_offload_runs_no_more_at_once_than_its_pool_has_threads() -> None:
    """Of ten calls offered to three threads three run, even when callers give up waiting."""
    go = threading.Event()
    lock = threading.Lock()
    running = peak = 0

    def work(number: int) -> int:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        go.wait(10)
        with lock:
            running -= 1
        return number

    with ThreadPoolExecutor(3) as pool:
        calls = [asyncio.create_task(offload(work, number, pool=pool)) for number in range(10)]
        await asyncio.sleep(0)
        calls[0].cancel()
        await asyncio.gather(calls[0], return_exceptions=True)
        go.set()
        async with asyncio.timeout(10):
            results = await asyncio.gather(*calls[1:])

    assert list(range(1, 10)) == results
    assert peak == 3


async def test_offload_passes_errors_and_context() -> None:
    """What the call raises is raised here; context variables are seen there."""
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("seen")

    def fail() -> None:
        raise ZeroDivisionError

    with ThreadPoolExecutor(1) as pool:
        seen = await offload(variable.get, pool=pool)
        with pytest.raises(ZeroDivisionError):
            await offload(fail, pool=pool)

    assert seen == "seen"


async def test_one_failing_part_ends_all() -> None:
    """When a part fails the others are cancelled, and the failure is raised."""
    cancelled = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as failed:
        await supervise(waiting=waits(), failing=fails())

    assert cancelled.is_set()
    assert failed.group_contains(ZeroDivisionError)


async def test_parts_that_end_well_end_nothing() -> None:
    """A part that returns leaves the others running; all returned, it returns."""
    order: list[str] = []

    async def part(name: str, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        order.append(name)

    await supervise(short=part("short", 1), long=part("long", 5))

    assert order == ["short", "long"]
