"""The agent ends at every labelled step, in-process; the next one goes on from journal, kernel and API server."""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.node import Crash, NodeUnderTest, Refused
from support.observing import journaled
from underlay.cni.datapath.errors import KernelRefused
from underlay.cni.fences import FenceStep
from underlay.cni.verbs import Step
from underlay.core.api.ippool import SpiderIPPool, parse_allocations

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver
_numbers = count()
LABELS = [*Step, *FenceStep]


class CrashOnce:
    """Ends the process at the first pass of ``label`` and counts how often it did."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.hits = 0

    def __call__(self, label: str) -> None:
        if label == self.label and not self.hits:
            self.hits += 1
            raise Crash(label)


class Story:
    """Calls as a runtime makes them: what fails because the agent ended is made again with the next agent."""

    def __init__(self, node: NodeUnderTest, checkpoint: CrashOnce) -> None:
        self.node = node
        self.checkpoint = checkpoint

    async def start(self) -> None:
        try:
            await self.node.start(checkpoint=self.checkpoint)
        except BaseExceptionGroup as ended:
            if ended.subgroup(Crash) is None:
                raise
            await self.node.start(checkpoint=self.checkpoint)

    async def insist(self, call: Callable[[], Awaitable[object]]) -> None:
        """Until ``call`` succeeds; the agent is started again when it has ended."""
        async with asyncio.timeout(20):
            while True:
                try:
                    await call()
                except (ConnectionError, FileNotFoundError):
                    await self.node.stop()
                    await self.start()
                except Refused as refused:
                    # Answered, and the agent ended before it could say so: the runtime has its interface.
                    if refused.code != 11:
                        raise
                else:
                    break
        await self.revive()

    async def revive(self) -> None:
        """An agent that ended after its answer is started again by its supervisor."""
        await asyncio.sleep(0)
        if self.node.agent is None or self.node.agent.done():
            await self.node.stop()
            await self.start()


@pytest.mark.parametrize("label", LABELS)
async def test_a_crash_at_any_step_changes_nothing_in_the_end(
    label: str, apiserver: "ApiServer", tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Whatever the step: repeated calls succeed, no address has two owners, none is lost, journal, kernel and pool
    agree.
    """
    checkpoint = CrashOnce(label)
    async with apiserver.client("test-crashes/1") as client:
        node = NodeUnderTest(f"crash-{next(_numbers)}", client, apiserver.kubeconfig, tmp_path)
        await node.create(cooldown_seconds=0)
        pool = await node.pool("a", ["10.9.0.10-10.9.0.14"])
        for name in ("one", "two", "three"):
            await node.pod(name)
        try:
            await _play(Story(node, checkpoint), pool)
        finally:
            await node.stop()

    record_property("hits", checkpoint.hits)
    assert checkpoint.hits == 1
    assert node.kernel.problems == []
    state = journaled(node)
    assert set(state.ledger.held) == set(node.kernel.addresses())
    assert {claim.pod.name for claim in state.ledger.claims.values()} == {f"{node.name}-two", f"{node.name}-three"}
    assert state.ledger.fences == {}
    assert len(state.ledger.held) == 2


async def _play(story: Story, pool: SpiderIPPool) -> None:
    node = story.node
    await story.start()
    await story.insist(lambda: node.add("one", "c1"))
    await story.insist(lambda: node.add("two", "c2"))
    node.kernel.fail_next = KernelRefused(12, "add an address")
    with pytest.raises((Refused, ConnectionError)):
        await node.add("three", "c3")
    await story.revive()
    node.kernel.fail_next = None
    await story.insist(lambda: node.add("three", "c4"))
    await story.insist(lambda: node.delete("one", "c1"))
    await story.insist(lambda: node.add("one", "c5"))
    await node.stop()
    node.spool("one", "c5")
    node.kernel.remove_namespace(str(node.folder / "netns" / "c5"))
    await story.start()
    await _release(story, pool)
    held = {str(address) for address in node.kernel.addresses()}
    await _until(story, lambda: _shown(node, pool, held))


async def _release(story: Story, pool: SpiderIPPool) -> None:
    """The operator takes two addresses away, whatever the agent goes through meanwhile."""
    node = story.node
    release: dict[str, object] = {"id": "r1", "pool": pool.metadata.name, "poolUID": pool.metadata.uid}
    await node.wish(release=[release | {"addresses": ["10.9.0.10", "10.9.0.12", "10.9.0.13", "10.9.0.14"]}])
    await _until(story, lambda: _answered(node, expected=True))
    status = (await node.network()).status
    fenced = {IPv4Address(ip) for item in (status.released if status else []) for ip in item.fenced}
    assert fenced
    assert not fenced & node.kernel.addresses().keys()
    assert not fenced & node.kernel.known()
    rest = [f"10.9.0.{last}" for last in range(10, 15) if IPv4Address(f"10.9.0.{last}") not in fenced]
    shrunk = await node.resize("a", rest)
    await node.wish(release=[], releaseDone=[release | {"generation": shrunk.metadata.generation}])
    await _until(story, lambda: _answered(node, expected=False))


async def _until(story: Story, holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(15):
        while not await holds():
            await story.revive()
            await asyncio.sleep(0.05)
    await story.revive()


async def _answered(node: NodeUnderTest, *, expected: bool) -> bool:
    status = (await node.network()).status
    return status is not None and any(item.id == "r1" for item in status.released) is expected


async def _shown(node: NodeUnderTest, pool: SpiderIPPool, held: set[str]) -> bool:
    status = (await node.client.get(SpiderIPPool, pool.metadata.name)).status
    return status is not None and set(parse_allocations(status.allocated_ips)) == held
