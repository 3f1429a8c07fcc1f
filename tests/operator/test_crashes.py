"""The operator ends between any two effects, or never learns what the cloud did: in the end all readings agree."""

import asyncio
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

import pytest

from support import operator_site
from support.crashing import CrashAt, immortal
from support.lives import whole_life
from support.modes import MODES, Mode
from support.operations import SENT, WRITES
from support.operator_site import FAST, Site, settings_for
from underlay.core.kube.client import KubeClient
from underlay.operator.settings import Settings
from underlay.operator.steps import WarmStep
from world.api import Api

T = TypeVar("T")

pytestmark = [pytest.mark.apiserver, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

PER_CALL = (WarmStep.SENDING, WarmStep.ANSWERED)
STEPS = tuple(step.value for step in WarmStep if step not in PER_CALL)
CALLS = tuple(f"{step}:{operation}" for operation in sorted(WRITES & SENT) for step in PER_CALL)
LABELS = (*(step for step in STEPS if step != WarmStep.POOL_CONFIRMED), *CALLS, WarmStep.POOL_CONFIRMED.value)
"""Every ninth is in one story: of two that hide each other, at the end of a node, one would never be reached."""
OFTEN = tuple(mode for mode in MODES if mode.name in ("secondary", "dual"))
"""Together these send every write; what other modes do beside is left to the long counts."""
STORIES = 9
"""So many lives of a node take all crashes between them."""
AT_ONCE = 3
"""Each with its own account, node and operator. More would not be faster: what they have to wait for is then the
processor.
"""


@pytest.mark.parametrize(
    ("mode", "stories", "nth"),
    [
        *(pytest.param(mode, STORIES, 1, id=f"{mode}-some-in-one-life") for mode in OFTEN),
        *(pytest.param(mode, len(LABELS), 1, id=f"{mode}-each-alone", marks=pytest.mark.soak) for mode in MODES),
        *(pytest.param(mode, len(LABELS), 2, id=f"{mode}-each-second-time", marks=pytest.mark.soak) for mode in MODES),
    ],
)
async def test_a_crash_at_any_step_changes_nothing_in_the_end(
    mode: Mode,
    stories: int,
    nth: int,
    client: KubeClient,
    api: Api,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """Whatever the step: a new operator, which knows nothing but what API server and cloud tell, brings cloud,
    SpiderNodeNetwork and pools to agreement, without orphans, intents or releases left, and takes nothing from a pod.
    Every write that the mode sends is cut off before it and after it.
    """
    crashes = [CrashAt(LABELS[first::stories], nth) for first in range(stories)]

    async def story(number: int) -> None:
        async with operator_site.opened(client, ipv6=mode.ipv6) as site:
            await _live_and_die(site, api, mode.roomy, settings_for(site, tmp_path), crashes[number])

    await _all(story, range(stories))

    hits, crashed = Counter[str](), Counter[str]()
    for crash in crashes:
        hits.update(crash.hits)
        crashed.update(crash.crashes)
    record_property("hits", ", ".join(f"{label} {hits[label]} ({crashed[label]} crashes)" for label in sorted(hits)))
    assert set(STEPS) <= set(hits) <= set(LABELS)
    # The stories share one API server: a node may be buried by another's operator, which knows no provider of it.
    assert nth > 1 or set(hits) - set(crashed) <= {WarmStep.FAREWELL_POOLS_DELETED, WarmStep.FAREWELL_DONE}


FAULTS: tuple[dict[str, object], ...] = (
    {"kind": "lost_reply"},
    {"kind": "error", "code": "RequestLimitExceeded", "count": 2},
    {"kind": "error", "code": "InternalError"},
    {"kind": "hang"},
)


async def test_what_the_cloud_does_not_answer_is_found_out(client: KubeClient, api: Api, tmp_path: Path) -> None:
    """A lost reply, throttling, a server error and no reply, one after the other, of each kind of write: readings agree
    in the end, nothing remains twice.
    """
    mode = MODES[0]
    async with operator_site.opened(client, ipv6=mode.ipv6) as site:
        await _live_and_die(site, api, mode, settings_for(site, tmp_path), CrashAt())
        sent = [operation for operation in sorted(WRITES & SENT) if operation in site.calls()]

    async def story(operation: str) -> None:
        async with operator_site.opened(client, ipv6=mode.ipv6) as site:
            for fault in FAULTS:
                site.sim.control("POST", "/faults", {"operation": operation, **fault})
            await _live_and_die(site, api, mode, settings_for(site, tmp_path, call_seconds=1), CrashAt())
            assert site.sim.control("GET", "/faults")["faults"] == [], f"{operation}: not all struck"

    await _all(story, sent)


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


async def _live_and_die(site: Site, api: Api, mode: Mode, settings: Settings, crash: CrashAt) -> None:
    await site.add_provider(addresses=FAST | dict(mode.addresses))
    async with immortal(site, settings, crash):
        await whole_life(site, api, mode)
