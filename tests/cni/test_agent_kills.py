"""The real agent killed by SIGKILL at its steps; launcher, kernel and API server are real too."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from ipaddress import IPv4Address

import pytest
import pytest_asyncio

from support.agent_process import AgentProcess, agent_on_a_node
from support.insisting import InsistingRuntime, Point
from support.observing import allocated, no_endpoint
from underlay.cni.fences import FenceStep
from underlay.cni.verbs import Step
from underlay.core.api.ippool import SpiderIPPool

pytestmark = [pytest.mark.apiserver, pytest.mark.netns, pytest.mark.asyncio(loop_scope="module")]

POOL = [IPv4Address("10.9.0.10") + index for index in range(12)]
ADD_POINTS: list[Point] = [
    (Step.ADD_RECEIVED, 1),
    (Step.ADD_RECEIVED, 6),
    (Step.ADD_CLAIMED, 1),
    (Step.ADD_CLAIMED, 3),
    (Step.ADD_ATTACHED, 2),
    (Step.ADD_ATTACHED, 5),
    (Step.ADD_ANSWERED, 1),
    (Step.ADD_CONFIRMED, 2),
    (Step.ADD_UNDONE, 1),
    (Step.ADD_UNDONE, 2),
]
DEL_POINTS: list[Point] = [
    (Step.DEL_RECEIVED, 2),
    (Step.SPOOL_REPLAYED, 1),
    (Step.DEL_RECEIVED, 5),
    (Step.SPOOL_REPLAYED, 2),
    (Step.DEL_DETACHED, 1),
    (Step.DEL_DETACHED, 4),
    (Step.DEL_RELEASED, 2),
    (Step.DEL_RELEASED, 7),
    (Step.DEL_ANSWERED, 1),
    (Step.DEL_ANSWERED, 3),
]
FENCE_POINTS: list[Point] = [(step, 1) for step in FenceStep]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AgentProcess]:
    async with agent_on_a_node(tmp_path_factory.mktemp("kills"), "kills", cooldown_seconds=1) as process:
        await process.node.pool("a", [f"{POOL[0]}-{POOL[-1]}"])
        await asyncio.gather(*(process.node.pod(f"p{index}") for index in range(len(POOL))))
        yield process


async def live(runtime: InsistingRuntime) -> None:
    """Four pods come at once, one fails, all go."""
    sandboxes = await asyncio.gather(*(runtime.add(f"p{index}") for index in range(4)))
    await runtime.check()
    await runtime.fail_to_add("p4")
    await runtime.check()
    await asyncio.gather(*(runtime.delete(sandbox) for sandbox in sandboxes))
    await runtime.check()


async def release(runtime: InsistingRuntime) -> None:
    """The operator takes two addresses away, one of which a pod has, and gives the free one again later."""
    node = runtime.process.node
    sandbox = await runtime.add("p0")
    held = runtime.given[sandbox]
    free = next(address for address in POOL if address != held)
    pool = await node.client.get(SpiderIPPool, f"{node.name}-a")
    wish: dict[str, object] = {"id": f"r{free}{len(runtime.deaths)}", "pool": pool.metadata.name}
    wish["poolUID"] = pool.metadata.uid

    await node.wish(release=[wish | {"addresses": [str(free), str(held)]}])
    fenced = await _eventually(runtime, lambda: _fenced(runtime))

    assert fenced == [str(free)]
    shrunk = await node.resize("a", [str(address) for address in POOL if address != free])
    await node.wish(release=[], releaseDone=[wish | {"generation": shrunk.metadata.generation}])
    await _eventually(runtime, lambda: _lifted(runtime))
    await runtime.check()
    await node.wish(releaseDone=[])
    await node.resize("a", [f"{POOL[0]}-{POOL[-1]}"])
    await runtime.delete(sandbox)


async def die_at_all(
    process: AgentProcess, points: Sequence[Point], story: Callable[[InsistingRuntime], Awaitable[None]]
) -> str:
    """Live until an agent has died at every point; then nothing is missing and nothing is left.

    Returns how often an agent was killed at which step.
    """
    runtime = InsistingRuntime(process, POOL, points)
    await runtime.revive()
    for _ in range(3 * len(points)):
        await story(runtime)
        if len(runtime.deaths) == len(points):
            break
    await runtime.exhaust()

    assert runtime.deaths == [f"{label} pass {count}" for label, count in points]
    node = process.node
    await allocated(node, await node.client.get(SpiderIPPool, f"{node.name}-a"), {})
    for index in range(len(POOL)):
        await no_endpoint(node, f"p{index}")
    killed = Counter(death.split()[0] for death in runtime.deaths)
    return ", ".join(f"{label} {count} (killed)" for label, count in sorted(killed.items()))


@pytest.mark.parametrize(
    ("points", "story"),
    [
        pytest.param(ADD_POINTS, live, id="add"),
        pytest.param(DEL_POINTS, live, id="del"),
        pytest.param(FENCE_POINTS, release, id="fence"),
    ],
)
async def test_killed_at_any_step_an_agent_loses_nothing(
    process: AgentProcess,
    points: Sequence[Point],
    story: Callable[[InsistingRuntime], Awaitable[None]],
    record_property: Callable[[str, object], None],
) -> None:
    """After each restart repeated calls succeed; no address has two owners, none is lost, nothing without an owner is
    left in the kernel.
    """
    await _end(process)
    record_property("hits", await die_at_all(process, points, story))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
async def test_killed_at_random_steps_an_agent_loses_nothing(
    process: AgentProcess, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """Likewise, at thirty random points each."""
    await _end(process)
    chosen = random.Random(seed)
    steps = [step for step in Step if step is not Step.SPOOL_REPLAYED]
    points = [(chosen.choice(steps).value, chosen.randint(1, 5)) for _ in range(30)]
    record_property("hits", await die_at_all(process, points, live))


async def _end(process: AgentProcess) -> None:
    """The one that an earlier test has left; where it was does not matter either."""
    if process.running is not None:
        await process.kill()


async def _eventually(runtime: InsistingRuntime, look: Callable[[], Awaitable[list[str] | None]]) -> list[str]:
    async with asyncio.timeout(30):
        while (found := await look()) is None:
            await runtime.revive()
    return found


async def _fenced(runtime: InsistingRuntime) -> list[str] | None:
    status = (await runtime.process.node.network()).status
    return status.released[0].fenced if status and status.released else None


async def _lifted(runtime: InsistingRuntime) -> list[str] | None:
    status = (await runtime.process.node.network()).status
    return None if status is None or status.released else []
