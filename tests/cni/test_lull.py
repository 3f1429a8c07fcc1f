"""Work off the path of calls waits for a lull, but not for ever."""

import asyncio

from support.clock import VirtualClock
from underlay.cni.lull import Lull
from underlay.cni.metrics import Metrics
from underlay.cni.podqueue import PodQueue
from underlay.core.identity import PodRef
from underlay.core.kube.errors import Unavailable

POD, OTHER = (PodRef(namespace="default", name=name, uid=name) for name in "ab")


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


async def test_what_is_told_of_pods_waits_for_a_lull_and_is_told_again_after_a_failure() -> None:
    """While a call is under way nothing is written; then all pods that waited, each once; what failed is counted and
    done again.
    """
    clock, metrics, written, refused = VirtualClock(), Metrics(), list[str](), [POD]
    lull = Lull(clock)

    async def write(pod: PodRef) -> None:
        written.append(pod.name)
        if pod in refused:
            refused.remove(pod)
            raise Unavailable(0, "", "no API server")

    queue = PodQueue(what="endpoint", write=write, metrics=metrics, lull=lull, clock=clock)
    work = asyncio.create_task(queue.run())
    with lull.disturbed():
        for pod in (POD, OTHER, POD):
            queue.add(pod)
        await clock.advance(0.5)
        during = list(written)
    await clock.advance(0.0)
    await clock.advance(0.1)
    at_once = list(written)
    await clock.advance(3.0)
    await clock.advance(0.1)
    work.cancel()

    assert (during, at_once, written) == ([], ["a", "b"], ["a", "b", "a"])
    assert metrics.registry.get_sample_value("underlay_api_failures_total", {"what": "endpoint"}) == 1
