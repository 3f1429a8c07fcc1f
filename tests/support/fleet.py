"""Many nodes of one site with pods that come and go, and the readings of all of them at once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from support import agreement, operator_site
from support.agent import StandInAgent
from support.agreement import Reading
from support.modes import Mode
from support.operator_site import FAST, Site, end, eventually
from support.ownership import Ownership
from underlay.core.api.kubernetes import Pod
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from world.api import Api

_AT_ONCE = 16


class Fleet:
    """``ownership`` knows which pod has which address; whoever plays agents tells it."""

    def __init__(self, site: Site, api: Api, mode: Mode, ownership: Ownership | None = None) -> None:
        self.site = site
        self.api = api
        self.mode = mode
        self.ownership = ownership or Ownership()
        self.pods: dict[str, str] = {}

    @property
    def nodes(self) -> Sequence[str]:
        return list(self.site.nodes)

    async def add_provider(self, name: str = "", *, addresses: dict[str, object] | None = None, **spec: object) -> str:
        """As the site's, in the mode of the fleet."""
        wanted = FAST | dict(self.mode.addresses) | (addresses or {})
        return await self.site.add_provider(name, addresses=wanted, **spec)

    async def add_nodes(self, count: int, type_: str) -> None:
        for number in range(count):
            await self.site.add_node(f"n{number}", instance=type_)

    async def start(self, pods: Iterable[tuple[str, str]]) -> None:
        """Pods by name, each bound to its node from the beginning, as fast as the API server takes them."""
        await _all(partial(self._start, name, node) for name, node in pods)

    async def stop(self, names: Iterable[str]) -> None:
        await _all(partial(self._stop, name) for name in names)

    async def settled(self, *, seconds: float = 60) -> None:
        """Until every reading agrees, and every pod has its address."""
        await eventually(self.differences, seconds=seconds)

    async def differences(self) -> list[str]:
        return (await self.reading()).differences()

    async def reading(self) -> Reading:
        return await agreement.read(
            self.api,
            lambda: self.site.sim.control("GET", "/table"),
            machines=self.site.nodes,
            owners=lambda: dict(self.ownership.owners),
            loose=self.nodes if self.mode.whole else (),
        )

    async def unserved(self) -> str:
        """How many of the pods have no address."""
        lacking = len(self.pods) - len(set(self.ownership.owners.values()) & await self._uids())
        return f"{lacking} of {len(self.pods)} pods have no address" if lacking else ""

    @asynccontextmanager
    async def stand_ins(self, nodes: Iterable[str] | None = None) -> AsyncIterator[dict[str, StandInAgent]]:
        """An agent without kernel or journal on each node (None: all there are)."""
        agents = {
            node: StandInAgent(self.site.client, node, self.ownership)
            for node in (self.nodes if nodes is None else nodes)
        }
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(agent.run()) for agent in agents.values()]
            try:
                yield agents
            finally:
                for task in tasks:
                    await end(task)
        problems = [problem for agent in agents.values() for problem in agent.problems]
        assert problems == [], problems
        assert self.ownership.problems == []

    async def clean(self) -> None:
        """No pod is left."""
        await self.stop(list(self.pods))

    async def _start(self, name: str, node: str) -> None:
        spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "none"}]}
        made = await self.site.client.apply(Pod, name, {"spec": spec}, manager="test", namespace="default")
        self.pods[name] = made.metadata.uid or ""

    async def _stop(self, name: str) -> None:
        with suppress(kube_errors.NotFound):
            await self.site.client.delete(Pod, name, "default")
        self.pods.pop(name, None)

    async def _uids(self) -> set[str]:
        return set(self.pods.values())


async def _all(work: Iterable[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(item: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with places:
            await item()

    await asyncio.gather(*map(one, work))


@asynccontextmanager
async def fleet_on(
    client: KubeClient, api: Api, mode: Mode, *, subnet: str = "10.80.1.0/24", ownership: Ownership | None = None
) -> AsyncIterator[Fleet]:
    """A site of its own with what the mode needs; all of it goes at the end."""
    async with (
        operator_site.opened(client, subnet=subnet, ipv6=mode.ipv6) as site,
        fleet_of(site, api, mode, ownership) as fleet,
    ):
        yield fleet


@asynccontextmanager
async def fleet_of(site: Site, api: Api, mode: Mode, ownership: Ownership | None = None) -> AsyncIterator[Fleet]:
    """Its pods go at the end."""
    fleet = Fleet(site, api, mode, ownership)
    try:
        yield fleet
    finally:
        await fleet.clean()


def spread(names: Iterable[str], nodes: Sequence[str]) -> list[tuple[str, str]]:
    """(pod, node), evenly."""
    return [(name, nodes[place % len(nodes)]) for place, name in enumerate(names)]


def numbered(prefix: str, count: int, *, start: int = 0) -> list[str]:
    return [f"{prefix}-{number}" for number in range(start, start + count)]
