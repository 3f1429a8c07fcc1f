"""Two replicas of the operator of which one leads; whoever leads is killed, stopped or told to go, again and again."""

import asyncio
import os
import signal
import sys
from collections import Counter
from contextlib import suppress
from random import Random

import msgspec

from controlplane.process import Process
from soak.stage import Stage
from support.operations import WRITES
from support.operator_site import eventually
from underlay.operator.settings import Settings
from underlay.operator.steps import WarmStep

_STALL_SECONDS = (2.0, 14.0)
"""Shorter than the lease, and so long that another one leads before it wakes."""
_LONGEST_SECONDS = 40.0
REPLICAS = 2


class Operators:
    """``ends``: how often one ended, by what was done to it."""

    def __init__(self, stage: Stage, settings: Settings, chance: Random, operations: list[str]) -> None:
        self._stage = stage
        self._settings = settings
        self._chance = chance
        per_call = (WarmStep.SENDING, WarmStep.ANSWERED)
        self._steps = [step.value for step in WarmStep if step not in per_call]
        self._steps += [f"{step}:{operation}" for operation in operations for step in per_call]
        self._running: list[Process] = []
        self._made = 0
        self.ends: Counter[str] = Counter()

    def start(self) -> None:
        """As many as there should be; half of them with a step at which they die by themselves."""
        while len(self._running) < REPLICAS:
            dies = ("--at", self._chance.choice(self._steps), "--nth", str(self._chance.randint(1, 20)))
            self._running.append(self._spawn(*(dies if self._made % 2 else ())))

    async def disturb(self, *, writes: tuple[int, int]) -> None:
        """Until cancelled: after so many writes at the cloud something happens to the leader. Were it by the clock, a
        busy machine would see hardly one that comes to do anything.
        """
        while True:
            await self._let_work(self._chance.randint(*writes))
            what = self._chance.choice(("kill", "stall", "go", "nothing"))
            self._bury("died at a step, or lost the lease")
            leader = await self._leader()
            if leader is None:
                continue
            if what == "kill":
                await asyncio.to_thread(leader.kill, signal.SIGKILL)
            elif what == "go":
                await asyncio.to_thread(leader.kill, signal.SIGTERM)
            elif what == "stall":
                _signal(leader, signal.SIGSTOP)
                await asyncio.sleep(self._chance.uniform(*_STALL_SECONDS))
                _signal(leader, signal.SIGCONT)
            if what != "nothing":
                self.ends[what] += 1
            self._running = [process for process in self._running if process.alive()]
            self.start()

    async def calm(self) -> None:
        """From now on one that nothing happens to."""
        for process in self._running:
            await asyncio.to_thread(process.kill, signal.SIGKILL)
        self._running = [self._spawn()]

    async def _let_work(self, writes: int) -> None:
        """Until there were so many more, or nothing is left to write."""
        before = await self._written()

        async def lacking() -> int:
            return max(before + writes - await self._written(), 0)

        with suppress(AssertionError):
            await eventually(lacking, seconds=_LONGEST_SECONDS)

    async def _written(self) -> int:
        calls = await asyncio.to_thread(self._stage.sim.control, "GET", "/calls")
        return sum(sum(codes.values()) for operation, codes in calls.items() if operation in WRITES)

    def _bury(self, why: str) -> None:
        dead = [process for process in self._running if not process.alive()]
        self.ends[why] += len(dead)
        self._running = [process for process in self._running if process not in dead]
        self.start()

    async def _leader(self) -> Process | None:
        path = f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{self._settings.lease_name}"
        holder = (await self._stage.api.get(path))["spec"].get("holderIdentity")
        return next((process for process in self._running if process.name == holder), None)

    def _spawn(self, *words: str) -> Process:
        self._made += 1
        name = f"operator{self._made}"
        settings = msgspec.structs.replace(self._settings, identity=name)
        config, steps = self._stage.folder / f"{name}.json", self._stage.folder / "steps"
        config.write_bytes(msgspec.json.encode(msgspec.to_builtins(settings, enc_hook=str)))
        command = (sys.executable, "-m", "support.killed_operator", "--config", str(config), "--log", str(steps))
        return self._stage.spawn(name, [*command, *words])


def _signal(process: Process, number: signal.Signals) -> None:
    if process.alive():
        os.kill(process.pid, number)
