"""The real process, killed; and two that take turns."""

import asyncio
import itertools
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from support.agent import StandInAgent
from support.operator_site import Site, agent, eventually, free_lease, settings_for, whole_operator
from underlay.core.api.kubernetes import Lease
from underlay.operator.settings import Settings
from underlay.operator.steps import WarmStep

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = [pytest.mark.apiserver, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

POINTS = (
    WarmStep.NETWORK_OPENED,
    f"{WarmStep.ANSWERED}:AssignPrivateIpAddresses",
    f"{WarmStep.ANSWERED}:CreateNetworkInterface",
    f"{WarmStep.ANSWERED}:AttachNetworkInterface",
    WarmStep.CALLED,
    WarmStep.POOL_RESHAPED,
    WarmStep.RELEASE_ASKED,
    WarmStep.RELEASE_SHRUNK,
    f"{WarmStep.ANSWERED}:UnassignPrivateIpAddresses",
    f"{WarmStep.SENDING}:DeleteNetworkInterface",
)


class Death(Exception):
    """How a process under test ends."""


async def test_a_killed_process_is_taken_over_by_the_next(
    site: Site,
    apiserver: "ApiServer",
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    """SIGKILL at ten points of growth and shrink, each followed by a fresh process: readings agree in the end, and no
    pod lost an address.
    """
    soak = "soak" in (request.config.option.markexpr or "") and "not soak" not in request.config.option.markexpr
    config, log = tmp_path / "operator.json", tmp_path / "steps"
    log.touch()
    config.write_bytes(msgspec.json.encode(_plain(settings_for(site, apiserver.kubeconfig, log_level="warning"))))
    await site.add_provider()
    node = await site.add_node()
    demand = itertools.cycle(((8, 12, 3), (0, 4, 1)))
    async with agent(site, node) as stand_in:
        for point in POINTS * (10 if soak else 1):
            await free_lease(site)  # nobody has to wait for one that is known to be dead
            process = await _start(config, log, "--at", point)
            try:
                async with asyncio.timeout(60):
                    while not await _lived_through(process, site, node, stand_in, next(demand)):
                        pass
                assert process.returncode == -signal.SIGKILL, point
            finally:
                await _end(process)
        await free_lease(site)
        process = await _start(config, log)
        try:
            await site.bind(node, 8)
            await site.rest(node, addresses=12, interfaces=3)
            await eventually(lambda: _held(stand_in, 8))
            await site.bind(node, 0)
            await site.rest(node, addresses=4, interfaces=1)
        finally:
            process.terminate()
            await _end(process)
        assert process.returncode == 0
    hits = Counter(log.read_text().split())
    killed = {point: " (killed here)" if point in POINTS else "" for point in hits}
    record_property("hits", ", ".join(f"{point} {hits[point]}{killed[point]}" for point in sorted(hits)))


async def test_the_second_operator_continues_what_the_first_began(site: Site, apiserver: "ApiServer") -> None:
    """While the first leads the second waits; the first ends with an interface made and not recorded; the second
    attaches that very interface. When the second is stopped, a third leads at once.
    """
    await free_lease(site)
    settings = settings_for(site, apiserver.kubeconfig)
    await site.add_provider(interfaces={"usePrimary": False})
    first, second = (msgspec.structs.replace(settings, identity=name) for name in ("first", "second"))
    second_leads, stop_second = asyncio.Event(), asyncio.Event()
    steps: list[str] = []
    waiting: list[asyncio.Task[None]] = []

    def die(label: str) -> None:
        steps.append("first")
        if label == f"{WarmStep.ANSWERED}:CreateNetworkInterface":
            raise Death(label)

    async def wait_and_lead() -> None:
        async with whole_operator(second, lambda _: steps.append("second")):
            second_leads.set()
            await stop_second.wait()

    async def lead_and_die() -> None:
        async with whole_operator(first, die) as task:
            waiting.append(asyncio.create_task(wait_and_lead()))
            await site.add_node()
            await task

    with pytest.raises(ExceptionGroup) as ended:
        await lead_and_die()
    assert ended.group_contains(Death)
    (node,) = site.nodes
    (made,) = _made(site)

    async with agent(site, node):
        await site.rest(node, addresses=4, interfaces=2)
        assert second_leads.is_set()
        assert _made(site) == [made]
        stop_second.set()
        await waiting[0]
        assert (await site.client.get(Lease, site.name, "kube-system")).spec.holder_identity == ""

        async with asyncio.timeout(settings.lease_seconds), whole_operator(first):
            await site.rest(node, addresses=4, interfaces=2)
    assert steps == sorted(steps)
    assert set(steps) == {"first", "second"}


def _made(site: Site) -> list[str]:
    rows = site.sim.control("GET", "/table")["interfaces"]
    return [row["id"] for row in rows if row["tags"]]


def _plain(settings: Settings) -> object:
    return msgspec.to_builtins(settings, enc_hook=str)


async def _start(config: Path, log: Path, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "support.killed_operator", "--config", str(config), "--log", str(log), *words
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _lived_through(
    process: asyncio.subprocess.Process, site: Site, node: str, stand_in: StandInAgent, goal: tuple[int, int, int]
) -> bool:
    """Pods come or go until that is served or the process is dead; True: dead."""
    pods, addresses, interfaces = goal
    await site.bind(node, pods)

    async def unserved() -> object:
        if process.returncode is not None:
            return None
        return await site.unrest(node, addresses, interfaces) or await _held(stand_in, pods)

    await eventually(unserved, seconds=50)
    return process.returncode is not None


async def _held(stand_in: StandInAgent, count: int) -> str:
    return "" if len(stand_in.held()) == count else f"{len(stand_in.held())} of {count} held"
