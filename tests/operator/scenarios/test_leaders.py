"""Leaders that die in flight, that stall and wake, and two that lead at once."""

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from support import operator_site
from support.fleet import fleet_of, numbered, spread
from support.modes import MODES, Mode
from support.operator_process import operator_process, steps
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


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_leader_killed_in_flight_is_followed_by_the_next(
    mode: Mode, client: KubeClient, apiserver: "ApiServer", api: Api, tmp_path: Path
) -> None:
    """Leaders take turns while 60 pods come and go on 4 nodes, each killed amid cloud writes: before one was
    sent, before one was answered, before one was recorded. No address is in two pools at any time, and readings agree
    in the end.
    """
    async with operator_site.opened(client, subnet="10.80.0.0/22") as site, fleet_of(site, api, mode) as fleet:
        await fleet.add_provider()
        await fleet.add_nodes(4, "m5.large")
        await free_lease(site)
        settings = settings_for(site, apiserver.kubeconfig, log_level="warning", lease_seconds=4, renew_seconds=2)
        pods = numbered(f"{site.name}-p", 60)
        async with fleet.stand_ins(), keeping_vigil(api):
            for turn, step in enumerate((WarmStep.INTENDED, WarmStep.CALLED, _ATTACHED)):
                dying = msgspec.structs.replace(settings, identity=f"killed{turn}")
                async with operator_process(dying, tmp_path, "--at", step, "--nth", "5") as process:
                    await (fleet.stop(pods[10:]) if turn == 1 else fleet.start(spread(pods, fleet.nodes)))
                    async with asyncio.timeout(60):
                        assert await process.wait() == -signal.SIGKILL
            await fleet.start(spread(pods, fleet.nodes))
            async with operator_process(msgspec.structs.replace(settings, identity="last"), tmp_path):
                await fleet.settled(seconds=90)


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_leader_that_stalls_and_wakes_writes_nothing(
    mode: Mode, client: KubeClient, apiserver: "ApiServer", api: Api, tmp_path: Path
) -> None:
    """A leader stops (as a frozen machine does) with its intent written and its call not sent. Another takes over and
    comes to rest. Waked, the first sends no write and ends with an error.
    """
    async with operator_site.opened(client) as site, fleet_of(site, api, mode) as fleet:
        await fleet.add_provider(interfaces={"usePrimary": False})
        await fleet.add_nodes(2, "m5.large")
        await free_lease(site)
        first, second = (
            settings_for(site, apiserver.kubeconfig, identity=name, log_level="warning") for name in ("first", "second")
        )
        async with fleet.stand_ins(), keeping_vigil(api):
            await fleet.start(spread(numbered(f"{site.name}-p", 10), fleet.nodes))
            async with operator_process(first, tmp_path, "--at", WarmStep.INTENDED, "--nth", "2", "--stop") as stalled:
                await eventually(lambda: _not_passed(tmp_path, "first", WarmStep.INTENDED, 2), seconds=30)
                async with operator_process(second, tmp_path):
                    await fleet.settled(seconds=60)
                    passed, written = steps(tmp_path, "first"), _written(site)

                    stalled.send_signal(signal.SIGCONT)
                    async with asyncio.timeout(30):
                        assert await stalled.wait() == 1

                    waked = steps(tmp_path, "first")[len(passed) :]
                    assert [step for step in waked if step.startswith(WarmStep.SENDING)] == []
                    assert _written(site) == written
                    await fleet.settled()
                    lease = await client.get(Lease, site.name, "kube-system")
                    assert lease.spec.holder_identity == "second"


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_two_leaders_at_once_do_no_harm(mode: Mode, client: KubeClient, apiserver: "ApiServer", api: Api) -> None:
    """Should the Lease fail altogether and two operators serve the same nodes, no address has two owners and no pod
    loses one; once there is one leader again readings agree.
    """
    async with operator_site.opened(client) as site, fleet_of(site, api, mode) as fleet:
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


async def _not_passed(folder: Path, identity: str, step: str, times: int) -> str:
    found = steps(folder, identity).count(step)
    return "" if found == times else f"{step} was passed {found} times"


def _written(site: Site) -> dict[str, dict[str, int]]:
    """Cloud writes so far, by operation and outcome."""
    return {name: dict(codes) for name, codes in site.calls().items() if not name.startswith(READS)}
