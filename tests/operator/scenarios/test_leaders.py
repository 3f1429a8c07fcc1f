"""Leaders that die in flight, that stall and wake, and two that lead at once."""

import asyncio
import itertools
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from support.agreement import Json
from support.fleet import Fleet, fleet_on, numbered, spread
from support.modes import Mode, cases
from support.operator_process import operator_process, steps, unless_dead
from support.operator_site import Site, end, eventually, free_lease, lead_site, settings_for
from support.vigil import keeping_vigil
from underlay.core.api.kubernetes import Lease
from underlay.core.kube.client import KubeClient
from underlay.core.runtime.checkpoints import passing
from underlay.operator.steps import WarmStep
from world.api import Api

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

_ATTACHED = f"{WarmStep.ANSWERED}:AttachNetworkInterface"
READS = ("Describe", "Get")


@pytest.mark.parametrize("mode", cases("secondary"))
async def test_a_leader_killed_in_flight_is_followed_by_the_next(
    mode: Mode, client: KubeClient, apiserver: "ApiServer", api: Api, tmp_path: Path
) -> None:
    """Leaders take turns while pods come and go on 4 nodes, each killed amid cloud writes: before one was sent, before
    one was answered, before one was recorded. No address is in two pools at any time, and readings agree in the end.
    """
    async with fleet_on(client, api, mode, subnet="10.80.0.0/22") as fleet:
        site = fleet.site
        await fleet.add_provider()
        await fleet.add_nodes(4, mode.small)
        await free_lease(site)
        settings = settings_for(site, apiserver.kubeconfig, log_level="warning", lease_seconds=4, renew_seconds=2)
        demand = itertools.cycle((4 * mode.many, 4 * mode.few))
        async with fleet.stand_ins(), keeping_vigil(api):
            for turn, step in enumerate((WarmStep.INTENDED, WarmStep.CALLED, _ATTACHED)):
                dying = msgspec.structs.replace(settings, identity=f"killed{turn}")
                async with (
                    operator_process(dying, tmp_path, "--at", step, "--nth", "3") as process,
                    asyncio.timeout(90),
                ):
                    while process.returncode is None:
                        await _want(fleet, next(demand))
                        await eventually(partial(unless_dead, process, fleet.differences), seconds=60)
                assert process.returncode == -signal.SIGKILL
            await _want(fleet, next(demand))
            async with operator_process(msgspec.structs.replace(settings, identity="last"), tmp_path):
                await fleet.settled(seconds=90)


@pytest.mark.parametrize("mode", cases("secondary"))
@pytest.mark.parametrize(
    "step", [WarmStep.INTENDED, f"{WarmStep.SENDING}:CreateNetworkInterface"], ids=["before", "amid"]
)
async def test_a_leader_that_stalls_and_wakes_changes_nothing(
    step: str, mode: Mode, client: KubeClient, apiserver: "ApiServer", api: Api, tmp_path: Path
) -> None:
    """A leader stops (as a frozen machine does) with its intent written. Another takes over and comes to rest. Waked,
    the first sends no write but the one that had been let through, which the cloud knows by its token; nothing comes
    of that, and the process ends with an error.
    """
    async with fleet_on(client, api, mode) as fleet:
        site = fleet.site
        await fleet.add_provider(interfaces={"usePrimary": False})
        await fleet.add_nodes(2, "m5.large")
        await free_lease(site)
        first, second = (
            # With one worker nothing else is under way where it stops.
            settings_for(site, apiserver.kubeconfig, identity=name, log_level="warning", workers=1)
            for name in ("first", "second")
        )
        async with fleet.stand_ins(), keeping_vigil(api):
            await fleet.start(spread(numbered(f"{site.name}-p", 10), fleet.nodes))
            async with operator_process(first, tmp_path, "--at", step, "--stop") as stalled:
                await eventually(lambda: _not_passed(tmp_path, "first", step), seconds=30)
                async with operator_process(second, tmp_path):
                    await fleet.settled(seconds=60)
                    passed, written, table = steps(tmp_path, "first"), _written(site), _interfaces(site)

                    stalled.send_signal(signal.SIGCONT)
                    async with asyncio.timeout(30):
                        assert await stalled.wait() == 1

                    waked = steps(tmp_path, "first")[len(passed) :]
                    assert [step for step in waked if step.startswith(WarmStep.SENDING)] == []
                    allowed = {"CreateNetworkInterface"} if step.startswith(WarmStep.SENDING) else set()
                    assert {name for name, count in _written(site).items() if count != written[name]} <= allowed
                    assert _interfaces(site) == table
                    await fleet.settled()
                    lease = await client.get(Lease, site.name, "kube-system")
                    assert lease.spec.holder_identity == "second"


@pytest.mark.parametrize("mode", cases("dual"))
async def test_two_leaders_at_once_do_no_harm(mode: Mode, client: KubeClient, apiserver: "ApiServer", api: Api) -> None:
    """Should the Lease fail altogether and two operators serve the same nodes, no address has two owners and no pod
    loses one; once there is one leader again readings agree.
    """
    async with fleet_on(client, api, mode) as fleet:
        site = fleet.site
        await fleet.add_provider(garbageCollection={"minAgeSeconds": 2})
        await fleet.add_nodes(3, "m5.large")
        settings = settings_for(site, apiserver.kubeconfig)
        pods = numbered(f"{site.name}-p", 45)
        async with fleet.stand_ins(), keeping_vigil(api), asyncio.TaskGroup() as group:
            leaders = [group.create_task(lead_site(site, settings, passing)) for _ in range(2)]
            for present in (12, 45, 6, 30):
                await fleet.start(spread(pods[:present], fleet.nodes))
                await fleet.stop(pods[present:])
                await eventually(fleet.unserved, seconds=60)
            await end(leaders.pop())
            await fleet.settled(seconds=60)
            await end(leaders.pop())


async def _want(fleet: Fleet, count: int) -> None:
    pods = numbered(f"{fleet.site.name}-p", 4 * fleet.mode.many)
    await fleet.start(spread(pods[:count], fleet.nodes))
    await fleet.stop(pods[count:])


async def _not_passed(folder: Path, identity: str, step: str) -> str:
    return "" if step in steps(folder, identity) else f"{step} was not passed"


def _interfaces(site: Site) -> list[Json]:
    rows: list[Json] = site.sim.control("GET", "/table")["interfaces"]
    return rows


def _written(site: Site) -> dict[str, dict[str, int]]:
    """Cloud writes so far, by operation and outcome."""
    return {name: dict(codes) for name, codes in site.calls().items() if not name.startswith(READS)}
