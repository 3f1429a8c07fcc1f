"""What a test of the agent waits for in the API server."""

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from support.node import NodeUnderTest, Refused
from underlay.cni.journal import decode
from underlay.cni.state import State, replay
from underlay.core.api.endpoint import SpiderEndpoint
from underlay.core.api.ippool import SpiderIPPool, parse_allocations
from underlay.core.api.nodenetwork import SpiderNodeNetworkStatus
from underlay.core.kube.errors import NotFound


async def added(node: NodeUnderTest, pod: str, container: str) -> IPv4Address:
    """An ADD although the pools may not have arrived yet."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await node.add(pod, container)
            except Refused as refused:
                if refused.code != 11:
                    raise


async def reported(node: NodeUnderTest, holds: Callable[[SpiderNodeNetworkStatus], bool]) -> SpiderNodeNetworkStatus:
    async with asyncio.timeout(10):
        while True:
            status = (await node.network()).status
            if status and holds(status):
                return status
            await asyncio.sleep(0.05)


async def settled(holds: Callable[[], bool]) -> None:
    """Until what the agent told its kernel is so."""
    async with asyncio.timeout(20):
        while True:
            if holds():
                return
            await asyncio.sleep(0.02)


def journaled(node: NodeUnderTest) -> State:
    """What the agent has written down by now."""
    records, _ = decode((Path(node.settings.state_dir) / "journal").read_bytes())
    return replay(records)


async def released(node: NodeUnderTest, release: str) -> tuple[list[str], list[str]]:
    """(fenced, held) once the agent has answered."""
    status = await reported(node, lambda status: any(item.id == release for item in status.released))
    answer = next(item for item in status.released if item.id == release)
    return answer.fenced, answer.held


async def no_release(node: NodeUnderTest) -> None:
    await reported(node, lambda status: not status.released)


async def endpoint(node: NodeUnderTest, pod: str) -> SpiderEndpoint:
    async with asyncio.timeout(10):
        while True:
            try:
                return await node.client.get(SpiderEndpoint, f"{node.name}-{pod}", "default")
            except NotFound:
                await asyncio.sleep(0.05)


async def no_endpoint(node: NodeUnderTest, pod: str) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await node.client.get(SpiderEndpoint, f"{node.name}-{pod}", "default")
            except NotFound:
                return
            await asyncio.sleep(0.05)


async def allocated(node: NodeUnderTest, pool: SpiderIPPool, expected: dict[str, str]) -> None:
    """Until the pool's status says exactly this."""
    async with asyncio.timeout(10):
        while True:
            status = (await node.client.get(SpiderIPPool, pool.metadata.name)).status
            found = {ip: item.pod for ip, item in parse_allocations(status.allocated_ips if status else None).items()}
            counted = status.allocated_ip_count if status else None
            if found == expected and counted == len(expected):
                return
            await asyncio.sleep(0.05)
