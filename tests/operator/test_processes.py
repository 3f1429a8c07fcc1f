"""The real process, killed; and two that take turns."""

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from support.fleet import Fleet, fleet_on, numbered
from support.modes import MODES, Mode
from support.operator_process import operator_process, steps, unless_dead
from support.operator_site import Site, agent, eventually, free_lease, settings_for, whole_operator
from support.vigil import keeping_vigil
from underlay.core.api.kubernetes import Lease
from underlay.core.kube.client import KubeClient
from underlay.operator.steps import WarmStep
from world.api import Api

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


@pytest.mark.parametrize(
    "mode", [MODES[0], *(pytest.param(mode, marks=pytest.mark.soak) for mode in MODES[1:])], ids=str
)
async def test_a_killed_process_is_taken_over_by_the_next(
    mode: Mode,
    client: KubeClient,
    apiserver: "ApiServer",
    api: Api,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    """SIGKILL at ten points of growth and shrink, each followed by a fresh process: readings agree in the end, and no
    pod lost an address.
    """
    mode = mode.roomy
    points = tuple(map(_of_ipv6, POINTS)) if mode.addresses.get("families") == ["ipv6"] else POINTS
    soak = "soak" in (request.config.option.markexpr or "") and "not soak" not in request.config.option.markexpr
    async with fleet_on(client, api, mode) as fleet:
        site = fleet.site
        await fleet.add_provider()
        node = await site.add_node(instance=mode.small)
        settings = settings_for(site, apiserver.kubeconfig, log_level="warning", identity="killed")
        demand = itertools.cycle((mode.many, 0))
        async with fleet.stand_ins(), keeping_vigil(api):
            for point in points * (10 if soak else 1):
                await free_lease(site)  # nobody has to wait for one that is known to be dead
                async with operator_process(settings, tmp_path, "--at", point) as process, asyncio.timeout(60):
                    while process.returncode is None:
                        await _want(fleet, node, next(demand))
                        await eventually(partial(unless_dead, process, fleet.differences), seconds=50)
                assert process.returncode == -signal.SIGKILL, point
            await free_lease(site)
            async with operator_process(settings, tmp_path) as process:
                for count in (mode.many, 0):
                    await _want(fleet, node, count)
                    await fleet.settled()
                process.terminate()
                async with asyncio.timeout(10):
                    assert await process.wait() == 0
    hits = Counter(steps(tmp_path, "killed"))
    killed = {point: " (killed here)" if point in points else "" for point in hits}
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
    passed: list[str] = []
    waiting: list[asyncio.Task[None]] = []

    def die(label: str) -> None:
        passed.append("first")
        if label == f"{WarmStep.ANSWERED}:CreateNetworkInterface":
            raise Death(label)

    async def wait_and_lead() -> None:
        async with whole_operator(second, lambda _: passed.append("second")):
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
    assert passed == sorted(passed)
    assert set(passed) == {"first", "second"}


def _made(site: Site) -> list[str]:
    rows = site.sim.control("GET", "/table")["interfaces"]
    return [row["id"] for row in rows if row["tags"]]


def _of_ipv6(point: str) -> str:
    """EC2 has operations of their own for IPv6."""
    return point.replace("PrivateIpAddresses", "Ipv6Addresses")


async def _want(fleet: Fleet, node: str, count: int) -> None:
    pods = numbered(f"{node}-p", fleet.mode.many)
    await fleet.start((pod, node) for pod in pods[:count])
    await fleet.stop(pods[count:])
