"""The operator ends between any two effects, or never learns what the cloud did: in the end all readings agree."""

import asyncio
import gc
import traceback
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from support import operator_site
from support.operator_site import Site, agent, end, eventually, lead_site, settings_for
from underlay.core.api.kubernetes import Node
from underlay.core.kube.client import KubeClient
from underlay.operator.settings import Settings
from underlay.operator.steps import WarmStep

T = TypeVar("T")

pytestmark = [pytest.mark.apiserver, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

WRITES = (
    "CreateNetworkInterface",
    "AttachNetworkInterface",
    "ModifyNetworkInterfaceAttribute",
    "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses",
    "DetachNetworkInterface",
    "DeleteNetworkInterface",
)
PER_CALL = (WarmStep.SENDING, WarmStep.ANSWERED)
LABELS = (
    *(step.value for step in WarmStep if step not in PER_CALL),
    *(f"{step}:{operation}" for operation in WRITES for step in PER_CALL),
)
STORIES = 9
"""So many lives of a node take all crashes between them."""
AT_ONCE = 9
"""Stories mostly wait, so that many run beside each other, each with its own account, node and operator."""


class Crash(BaseException):
    """The process ends here: nothing that handles errors may run."""


class CrashAt:
    """Raises at the nth time each of ``labels`` is passed, and counts all."""

    def __init__(self, labels: Iterable[str] = (), nth: int = 1) -> None:
        self._labels = frozenset(labels)
        self._nth = nth
        self.hits: Counter[str] = Counter()
        self.crashes: Counter[str] = Counter()

    def __call__(self, label: str) -> None:
        self.hits[label] += 1
        if label in self._labels and self.hits[label] == self._nth:
            self.crashes[label] += 1
            raise Crash(label)


@pytest.fixture(autouse=True)
def _unclosed() -> Iterator[None]:
    """A process that dies closes nothing."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.parametrize(
    ("stories", "nth"),
    [
        pytest.param(STORIES, 1, id="some-in-one-life"),
        pytest.param(len(LABELS), 1, id="each-alone", marks=pytest.mark.soak),
        pytest.param(len(LABELS), 2, id="each-second-time", marks=pytest.mark.soak),
    ],
)
async def test_a_crash_at_any_step_changes_nothing_in_the_end(
    stories: int, nth: int, client: KubeClient, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Whatever the step: a new operator, which knows nothing but what API server and cloud tell, brings cloud,
    SpiderNodeNetwork and pools to agreement, without orphans, intents or releases left, and takes nothing from a pod.
    """
    crashes = [CrashAt(LABELS[first::stories], nth) for first in range(stories)]

    async def story(number: int) -> None:
        async with operator_site.opened(client) as site:
            await _live_and_die(site, settings_for(site, tmp_path), crashes[number])

    await _all(story, range(stories))

    hits, crashed = Counter[str](), Counter[str]()
    for crash in crashes:
        hits.update(crash.hits)
        crashed.update(crash.crashes)
    record_property("hits", ", ".join(f"{label} {hits[label]} ({crashed[label]} crashes)" for label in LABELS))
    assert set(hits) == set(LABELS)
    assert nth > 1 or set(crashed) == set(LABELS)


FAULTS: tuple[dict[str, object], ...] = (
    {"kind": "lost_reply"},
    {"kind": "error", "code": "RequestLimitExceeded", "count": 2},
    {"kind": "error", "code": "InternalError"},
    {"kind": "hang"},
)


async def test_what_the_cloud_does_not_answer_is_found_out(client: KubeClient, tmp_path: Path) -> None:
    """A lost reply, throttling, a server error and no reply, one after the other, of each kind of write: readings agree
    in the end, nothing remains twice.
    """

    async def story(operation: str) -> None:
        async with operator_site.opened(client) as site:
            for fault in FAULTS:
                site.sim.control("POST", "/faults", {"operation": operation, **fault})
            await _live_and_die(site, settings_for(site, tmp_path, call_seconds=1), CrashAt())
            assert site.sim.control("GET", "/faults")["faults"] == [], f"{operation}: not all struck"

    await _all(story, WRITES)


async def _all(story: Callable[[T], Awaitable[None]], of: Iterable[T]) -> None:
    """Some of them at a time; a failure says in which."""
    places = asyncio.Semaphore(AT_ONCE)

    async def told(item: T) -> str:
        async with places:
            try:
                await story(item)
            except (AssertionError, ExceptionGroup) as failure:
                return f"{item}: {''.join(traceback.format_exception(failure))}"
        return ""

    outcomes = await asyncio.gather(*map(told, of))
    assert [outcome for outcome in outcomes if outcome] == []


async def _live_and_die(site: Site, settings: Settings, crash: CrashAt) -> None:
    """3 pods want 8 addresses, 8 want 12, none wants 4: every kind of write happens. Then the machine ends."""
    await site.add_provider()
    node = await site.add_node()
    await site.bind(node, 3)
    async with _immortal(site, settings, crash):
        async with agent(site, node) as stand_in:
            await site.rest(node, addresses=8, interfaces=2, seconds=60)
            await site.bind(node, 8)
            await site.rest(node, addresses=12, interfaces=3, seconds=60)
            await eventually(lambda: _held(stand_in.held(), 8))
            await site.bind(node, 0)
            await site.rest(node, addresses=4, interfaces=1, seconds=60)
        site.terminate(node)
        await site.client.delete(Node, node)
        await eventually(lambda: site.pools(node))
        await eventually(lambda: site.network(node))


@asynccontextmanager
async def _immortal(site: Site, settings: Settings, crash: CrashAt) -> AsyncIterator[None]:
    """An operator; when it crashes, another that remembers nothing."""
    stopping = False

    async def run() -> None:
        # A crash while the end of the test cancels this hides the cancellation.
        while not stopping:
            try:
                await lead_site(site, settings, crash)
            except BaseExceptionGroup as ended:
                if ended.subgroup(Crash) is None:
                    raise

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        yield
        stopping = True
        await end(task)


async def _held(held: set[str], count: int) -> str:
    return "" if len(held) == count else f"{len(held)} of {count} held"
