"""Work off the path of calls waits for a lull, but not for ever."""

import asyncio

from support.clock import VirtualClock
from underlay.cni.lull import Lull


async def test_work_waits_while_calls_are_under_way() -> None:
    """With a call under way nothing is done; once it has ended and none has followed for a moment, it is."""
    clock = VirtualClock()
    lull = Lull(clock)
    with lull.disturbed():
        work = asyncio.create_task(lull.wait(1000.0))
        await clock.advance(1.0)
        during = work.done()
    await clock.advance(0.0)
    just_after = work.done()
    await clock.advance(1.0)

    assert (during, just_after, work.done()) == (False, False, True)


async def test_a_burst_is_one_disturbance() -> None:
    """A call that follows at once prolongs the wait."""
    clock = VirtualClock()
    lull = Lull(clock)
    work = asyncio.create_task(lull.wait(1000.0))
    await clock.advance(0.0)
    with lull.disturbed():
        pass
    await clock.advance(0.02)
    prolonged = not work.done()
    await clock.advance(0.02)

    assert prolonged
    assert work.done()


async def test_work_does_not_wait_for_ever() -> None:
    """Calls without end put work off for the longest time given, no longer."""
    lull = Lull()
    with lull.disturbed():
        async with asyncio.timeout(10):
            await lull.wait(0.05)

        assert lull.busy
