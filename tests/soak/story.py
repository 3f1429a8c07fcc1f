"""What people and workloads do while the operator is disturbed: pods and nodes come and go, owners of fixed addresses
move, blocks are kept, interfaces are attached and detached by hand, agents are killed.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random

from soak.ground import Ground
from soak.machines import Machine
from support.agent import StandInAgent
from support.agreement import CLUSTER_TAG, Json, Reading, read
from support.modes import Mode
from support.operator_site import end
from support.ownership import Ownership
from support.vigil import Vigil
from underlay.core.api.kubernetes import Node
from world.api import Api

_AWAY_SECONDS = (0.1, 1.0)
_REST_SECONDS = (0.3, 6.0)
"""How long a node is left alone: often too short for what was begun to end, often long enough for all of it."""
_PAUSE_SECONDS = 0.1
_ROOM = 0.8
"""The share of its pods that a node gets at most: a full one is another story."""


@dataclass(slots=True, kw_only=True)
class Place:
    """A node: its agent is a machine's process, or a stand-in in ours."""

    name: str
    provider: str
    mode: Mode
    machine: Machine | None = None
    agent: StandInAgent | None = None
    task: asyncio.Task[None] | None = None
    rests_until: float = 0.0
    pods: list[str] = field(default_factory=list)


class Story:
    """``done`` counts what was done."""

    def __init__(
        self,
        *,
        ground: Ground,
        api: Api,
        ownership: Ownership,
        vigil: Vigil,
        chance: Random,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._site = ground.site
        self._api = api
        self._fleets = ground.fleets
        self._subnets = ground.subnets
        self._owners = ground.owners
        self.ownership = ownership
        self._vigil = vigil
        self._chance = chance
        self._tasks = tasks
        self._numbers = 0
        self._adopting = ground.adopting
        self._hands = ground.hands
        self.places: dict[str, Place] = {}
        self.agents: list[StandInAgent] = []
        self.done: Counter[str] = Counter()

    async def join(self, provider: str, *, name: str = "") -> None:
        """A new machine, under a name that was used before or a new one, with a stand-in for its agent."""
        self._numbers += 1
        fleet = self._fleets[provider]
        suffix = name.removeprefix(f"{self._site.name}-") or f"n{self._numbers}"
        made = await asyncio.to_thread(self._site.add_instance, fleet.mode.small, self._subnets[provider])
        name = await self._site.add_node(suffix, provider_id=made["providerID"], site=provider)
        agent = StandInAgent(self._site.client, name, self.ownership)
        self.agents.append(agent)
        place = Place(name=name, provider=provider, mode=fleet.mode, agent=agent)
        place.task = self._tasks.create_task(agent.run())
        self.places[name] = place

    def settle_in(self, machine: Machine, provider: str) -> None:
        """A machine that is there already."""
        mode = self._fleets[provider].mode
        self.places[machine.name] = Place(name=machine.name, provider=provider, mode=mode, machine=machine)

    async def act(self) -> None:
        """One thing, by chance."""
        actions: dict[str, tuple[int, Callable[[Place], Coroutine[None, None, None]]]] = {
            "pods": (80, self.scale),
            "node replaced": (4, self._replace),
            "interface detached by hand": (8, self._detach),
            "interface attached by hand": (5, self._attach),
            "agent killed": (2, self._restart_agent),
            "owner moves": (12, self._move_owner),
            "blocks kept": (6, self._reserve),
        }
        weights = [weight for weight, _ in actions.values()]
        (what,) = self._chance.choices(list(actions), weights=weights)
        now = time.monotonic()
        rested = sorted(name for name, place in self.places.items() if place.rests_until <= now)
        if not rested:
            await asyncio.sleep(_PAUSE_SECONDS)
            return
        place = self.places[self._chance.choice(rested)]
        place.rests_until = now + self._chance.uniform(*_REST_SECONDS)
        await actions[what][1](place)

    async def scale(self, place: Place, count: int | None = None) -> None:
        """Another number of pods on the node."""
        fleet = self._fleets[place.provider]
        most = int(place.mode.many * _ROOM) + 1
        wanted = self._chance.choice((0, 0, most, self._chance.randint(0, most))) if count is None else count
        if wanted > len(place.pods):
            made = [f"{place.name}-{self._next()}" for _ in range(wanted - len(place.pods))]
            place.pods += made
            await fleet.start((name, place.name) for name in made)
        else:
            self._chance.shuffle(place.pods)
            gone, place.pods = place.pods[wanted:], place.pods[:wanted]
            await fleet.stop(gone)
        self.done[f"pods started or stopped, {place.mode}"] += 1

    async def leave(self, place: Place) -> None:
        """The machine ends with its pods; then its Node goes."""
        assert place.task is not None
        fleet = self._fleets[place.provider]
        await fleet.stop(place.pods)
        await self._owners.leave(place.name)
        await end(place.task)
        if place.agent is not None:
            for address in (*place.agent.held(), *place.agent.fixed.values()):
                self.ownership.free(address)
        self._vigil.bury(await self._interfaces(), self._site.nodes[place.name])
        await asyncio.to_thread(self._site.terminate, place.name)
        await self._site.client.delete(Node, place.name)
        del self.places[place.name], self._site.nodes[place.name]

    async def reading(self) -> Reading:
        """Of everything. What pods of real machines have is what the kernel says."""
        held: dict[str, str] = {}
        for place in self.places.values():
            if place.machine is not None:
                held |= await place.machine.kernel()
            elif place.agent is not None:
                held |= {address: pod.metadata.uid or "" for address, (_, pod) in place.agent.claims.items()}
                held |= {address: uid for uid, address in place.agent.fixed.items()}
        return await read(
            self._api,
            lambda: self._site.sim.control("GET", "/table"),
            machines=self._site.nodes,
            owners=lambda: held,
            loose=[place.name for place in self.places.values() if place.mode.whole],
        )

    async def differences(self) -> list[str]:
        table = await asyncio.to_thread(self._site.sim.control, "GET", "/table")
        return [*(await self.reading()).differences(), *await self._owners.differences(table)]

    async def homeless(self) -> list[int]:
        """Owners that cannot be started."""
        return await self._owners.homeless(self._owned(), self._chance)

    async def move_owners(self) -> None:
        """Each owner's pod starts anew, on another node if there is one."""
        for number, home in list(self._owners.homes.items()):
            others = [name for name in self._owned() if name != home] or [home]
            await self._owners.move(number, self._chance.choice(others))

    def _owned(self) -> list[str]:
        return sorted(name for name, place in self.places.items() if place.provider == self._owners.provider)

    async def _move_owner(self, _: Place) -> None:
        if nodes := self._owned():
            await self._owners.act(nodes, self._chance)
            self.done["owners moved"] += 1

    async def _reserve(self, _: Place) -> None:
        await self._owners.reserve(self._chance)
        self.done["blocks to keep changed"] += 1

    async def _replace(self, place: Place) -> None:
        """Another machine takes the place, under the same name or another."""
        if place.machine is not None:
            return
        provider = place.provider
        await self.leave(place)
        await asyncio.sleep(self._chance.uniform(*_AWAY_SECONDS))
        await self.join(provider, name=place.name if self._chance.random() < 0.5 else "")
        self.done["nodes replaced"] += 1

    async def _detach(self, place: Place) -> None:
        """A person detaches an interface and deletes the pods that had addresses of it."""
        machine = self._site.nodes[place.name]
        ours = [
            row
            for row in await self._interfaces()
            if row["attachment"]
            and row["attachment"]["instance"] == machine
            and row["attachment"]["state"] == "attached"
            and CLUSTER_TAG in row["tags"]
        ]
        if not ours:
            return
        row = self._chance.choice(sorted(ours, key=lambda row: str(row["id"])))
        self._vigil.dead.add(row["id"])
        unplugged = place.agent.unplugged if place.agent else set[str]()
        unplugged.add(row["id"])
        detached = await self._hands.detach(row["attachment"]["id"])
        if any(other["attachment"] == row["attachment"] for other in await self._interfaces()):
            unplugged.discard(row["id"])
        await self._fleets[place.provider].stop(place.pods)
        await self._owners.leave(place.name)
        place.pods.clear()
        self.done["interfaces detached by hand"] += detached

    async def _attach(self, _: Place) -> None:
        """A person attaches one to a machine whose provider adopts it."""
        if places := [place for place in self.places.values() if place.provider in self._adopting]:
            place = self._chance.choice(places)
            machine, subnet = self._site.nodes[place.name], self._subnets[place.provider]
            self.done["interfaces attached by hand"] += await self._hands.attach(
                machine, await self._interfaces(), subnet
            )

    async def _restart_agent(self, place: Place) -> None:
        if place.machine is not None:
            await place.machine.restart_agent()
            self.done["agents killed"] += 1

    async def _interfaces(self) -> list[Json]:
        rows: list[Json] = (await asyncio.to_thread(self._site.sim.control, "GET", "/table"))["interfaces"]
        return rows

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers
