"""Fence before release, the agent's part, against a real API server (core.api.nodenetwork describes the protocol)."""

import asyncio
from ipaddress import IPv4Address

import msgspec
import pytest

from support.node import NodeUnderTest, Refused
from support.observing import added, no_release, released
from underlay.core.api.ippool import SpiderIPPool

pytestmark = pytest.mark.apiserver


async def test_a_release_fences_what_is_free_and_lists_what_is_held(node: NodeUnderTest) -> None:
    """The whole protocol: fenced addresses are given to nobody until the pool without them, of that generation, is
    seen.
    """
    pool = await node.pool("a", ["10.9.0.10-10.9.0.12"])
    await node.pod("one")
    await node.pod("two")
    node.settings = msgspec.structs.replace(node.settings, add_wait_seconds=0.2)
    await node.start()
    await added(node, "one", "c1")
    release: dict[str, object] = {"id": "r1", "pool": pool.metadata.name, "poolUID": pool.metadata.uid}

    await node.wish(release=[release | {"addresses": ["10.9.0.10", "10.9.0.11", "10.9.0.12"]}])

    assert await released(node, "r1") == (["10.9.0.11", "10.9.0.12"], ["10.9.0.10"])
    with pytest.raises(Refused, match="2 being released"):
        await node.add("two", "c2")

    shrunk = await node.resize("a", ["10.9.0.10"])
    await node.wish(release=[], releaseDone=[release | {"generation": shrunk.metadata.generation}])

    await no_release(node)
    await node.resize("a", ["10.9.0.10", "10.9.0.12"])
    node.settings = msgspec.structs.replace(node.settings, add_wait_seconds=5)
    async with asyncio.timeout(5):
        while True:
            try:
                assert await node.add("two", "c2") == IPv4Address("10.9.0.12")
                break
            except Refused:
                continue


async def test_the_nodes_pods_have_forgotten_a_released_address(node: NodeUnderTest) -> None:
    """It may be another node's next, so when the release is answered no pod knows where it was; what is held is known
    as before.
    """
    pool = await node.pool("a", ["10.9.0.10-10.9.0.12"])
    for name in ("one", "two"):
        await node.pod(name)
    await node.start()
    addresses = [await added(node, "one", "c1"), await added(node, "two", "c2")]
    await node.delete("two", "c2")
    assert node.kernel.known() == set(addresses)
    release: dict[str, object] = {"id": "r1", "pool": pool.metadata.name, "poolUID": pool.metadata.uid}

    await node.wish(release=[release | {"addresses": list(map(str, addresses))}])

    assert await released(node, "r1") == ([str(addresses[1])], [str(addresses[0])])
    assert node.kernel.known() == {addresses[0]}


async def test_a_fence_outlives_the_agent(node: NodeUnderTest) -> None:
    """What was fenced before a restart is given to nobody after it, also while the API server is away."""
    pool = await node.pool("a", ["10.9.0.10"])
    await node.pod("one")
    await node.start()
    release = {"id": "r1", "pool": pool.metadata.name, "poolUID": pool.metadata.uid, "addresses": ["10.9.0.10"]}
    await node.wish(release=[release])
    await released(node, "r1")
    await node.stop()
    node.point_at("https://127.0.0.1:1")
    node.settings = msgspec.structs.replace(node.settings, add_wait_seconds=0.1)

    await node.start()

    with pytest.raises(Refused, match="1 being released"):
        await node.add("one", "c1")


async def test_a_release_whose_pool_is_gone_ends(node: NodeUnderTest) -> None:
    """A live read that shows no pool of that uid lifts the fence."""
    pool = await node.pool("a", ["10.9.0.10"])
    await node.start()
    release: dict[str, object] = {"id": "r1", "pool": pool.metadata.name, "poolUID": pool.metadata.uid}
    await node.wish(release=[release | {"addresses": ["10.9.0.10"]}])
    await released(node, "r1")

    await node.client.delete(SpiderIPPool, pool.metadata.name)
    await node.wish(release=[], releaseDone=[release | {"generation": 99}])

    await no_release(node)


async def test_a_cancelled_release_gives_the_addresses_back(node: NodeUnderTest) -> None:
    """A wish that is withdrawn while the pool still has the addresses: they are given again."""
    pool = await node.pool("a", ["10.9.0.10"])
    await node.pod("one")
    await node.start()
    release = {"id": "r1", "pool": pool.metadata.name, "poolUID": pool.metadata.uid, "addresses": ["10.9.0.10"]}
    await node.wish(release=[release])
    await released(node, "r1")

    await node.wish(release=[])

    assert await node.add("one", "c1") == IPv4Address("10.9.0.10")
