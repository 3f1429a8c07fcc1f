"""A runtime that never gives up on a node whose agent keeps dying, and what must hold whenever it pauses.

Each agent it starts dies at the next of the given points; a call that failed because the agent died is made again.
"""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from support.agent_process import PREFIX, AgentProcess, addresses, ip
from underlay.cni.errors import Code
from underlay.cni.journal import decode
from underlay.cni.state import replay

Point = tuple[str, int]
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """``container`` as long as a real one, and different in the eleven characters that name its veth."""

    pod: str
    container: str
    netns: str


class InsistingRuntime:
    """``points`` still to be died at; ``deaths``: where agents did. ``given``: what pods have, as it was told."""

    def __init__(self, process: AgentProcess, pool: Iterable[IPv4Address], points: Iterable[Point]) -> None:
        self.process = process
        self.pool = frozenset(pool)
        self.points = deque(points)
        self.deaths: list[str] = []
        self.given: dict[Sandbox, IPv4Address] = {}
        self._reviving = asyncio.Lock()

    async def revive(self, *, within_seconds: float = 0.05) -> None:
        """Have an agent that serves, whatever happened to the one before."""
        async with self._reviving:
            if self.process.running is not None:
                if not await self.process.has_died(within_seconds):
                    return
                self.deaths.append(self.process.died_at)
            while not await self.process.start_to_die(*(self.points.popleft() if self.points else ("", 1))):
                self.deaths.append(self.process.died_at)

    async def add(self, pod: str) -> Sandbox:
        """The pod gets its address: by the same call again, or every other time in another sandbox, as kubelet does."""
        sandbox = self._sandbox(pod)
        async with asyncio.timeout(40):
            while "code" in (answer := await self._call("ADD", sandbox)):
                assert answer["code"] == Code.TRY_AGAIN, answer
                if int(sandbox.container[:8], 16) % 2:
                    await self._remove(sandbox)
                    sandbox = self._sandbox(pod)
        self.given[sandbox] = IPv4Address(answer["ips"][0]["address"].partition("/")[0])
        return sandbox

    async def fail_to_add(self, pod: str) -> None:
        """The namespace has a link of that name already, so the ADD is undone, and says so."""
        sandbox = self._sandbox(pod)
        ip("-n", sandbox.netns, "link", "add", "eth0", "type", "bridge")
        async with asyncio.timeout(40):
            while (answer := await self._call("ADD", sandbox))["code"] == Code.TRY_AGAIN:
                pass
        assert answer["code"] == Code.INVALID_ENVIRONMENT
        await self._remove(sandbox)

    async def delete(self, sandbox: Sandbox) -> None:
        """Twice, as kubelet does."""
        del self.given[sandbox]
        assert await self._call("DEL", sandbox) == {}
        await self._remove(sandbox)

    async def check(self) -> None:
        """Runtime, journal and kernel tell the same; raises AssertionError or TimeoutError where they do not."""
        await self.revive()
        await _until(lambda: not self.process.node.spooled())
        ledger = replay(decode((Path(self.process.node.settings.state_dir) / "journal").read_bytes())[0]).ledger
        told = {sandbox.container: address for sandbox, address in self.given.items()}
        assert len(set(told.values())) == len(told), "an address has two owners"
        assert {claim.attachment.container_id: claim.addresses[0].address for claim in ledger.claims.values()} == told
        assert ledger.held.keys() | ledger.freed.keys() <= self.pool
        found = {sandbox.container: addresses(sandbox.netns).get("eth0") for sandbox in self.given}
        assert found == {container: [str(address)] for container, address in told.items()}
        links = {f"veth{container[:11]}": str(address) for container, address in told.items()}
        await _until(lambda: self._host() == links)  # a namespace's links go a moment after the namespace

    async def exhaust(self) -> None:
        """Every address can still be given, each once."""
        sandboxes = await asyncio.gather(*(self.add(f"p{index}") for index in range(len(self.pool))))
        assert set(self.given.values()) == self.pool
        await self.check()
        await asyncio.gather(*(self.delete(sandbox) for sandbox in sandboxes))
        await self.check()

    def _host(self) -> dict[str, str]:
        """The pods' links at the host, each with the address that is routed there."""
        links = json.loads(ip("-n", self.process.machine, "-j", "link"))
        routed = dict.fromkeys((link["ifname"] for link in links if link["ifname"].startswith("veth")), "")
        routes = json.loads(ip("-n", self.process.machine, "-j", "route", "show", "table", "all"))
        return routed | {route["dev"]: route["dst"] for route in routes if route.get("table") == "500"}

    async def _call(self, command: str, sandbox: Sandbox) -> dict[str, Any]:
        answer = await self.process.call(command, sandbox.pod, sandbox.netns, container=sandbox.container)
        if answer.get("code") == Code.TRY_AGAIN:
            await self.revive(within_seconds=0.5)
        return answer

    def _sandbox(self, pod: str) -> Sandbox:
        number = next(_numbers)
        name = f"{PREFIX}-s{number}"
        ip("netns", "add", name)
        return Sandbox(pod=pod, container=f"{number:08x}" * 8, netns=name)

    async def _remove(self, sandbox: Sandbox) -> None:
        assert await self._call("DEL", sandbox) == {}
        ip("netns", "delete", sandbox.netns)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if holds():
                return
            await asyncio.sleep(0.05)
