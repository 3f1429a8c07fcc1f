"""Fixed addresses, the agent's part, against a real API server: given to the one pod they are listed for, waited for,
kept from everybody else, given up on recall.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

import msgspec
import pytest

from support.node import MACS, NodeUnderTest, Refused
from support.observing import released
from support.operator_site import eventually
from underlay.core.api.endpoint import SpiderEndpoint
from underlay.core.api.ipblock import BlockEntry, SpiderIPBlock, block
from underlay.core.api.kubernetes import Pod
from underlay.core.api.nodenetwork import OPERATOR_MANAGER, SpiderNodeNetwork
from underlay.core.kube import errors as kube_errors

pytestmark = pytest.mark.apiserver

FIXED = IPv4Address("10.9.0.77")


@dataclass(slots=True, kw_only=True)
class Owned:
    """What the operator writes about the pods of a StatefulSet."""

    node: NodeUnderTest

    async def pod(self, name: str = "db-0", annotations: Mapping[str, str] | None = None) -> str:
        """A pod of a StatefulSet, bound here; its uid."""
        owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "1", "controller": True}
        body = {
            "metadata": {"ownerReferences": [] if annotations else [owner], "annotations": annotations or {}},
            "spec": {
                "nodeName": self.node.name,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": "none"}],
            },
        }
        pod = await self.node.client.apply(Pod, f"{self.node.name}-{name}", body, manager="test", namespace="default")
        return pod.metadata.uid or ""

    async def record(self, uid: str, pod: str = "db-0") -> None:
        """The operator's claim."""
        entry = BlockEntry(
            pod=f"default/{self.node.name}-{pod}",
            uid=uid,
            container="",
            interface="",
            node=self.node.name,
            owner="StatefulSet/default/db-0",
            since="2026-01-02T03:04:05Z",
        )
        wanted = block(FIXED, {str(FIXED): entry})
        try:
            await self.node.client.create(wanted)
        except kube_errors.AlreadyExists:
            live = await self.node.client.get(SpiderIPBlock, wanted.metadata.name)
            await self.node.client.replace(msgspec.structs.replace(wanted, metadata=live.metadata))

    async def listed(self, uid: str, *, there: bool = True) -> None:
        """The address is on the second interface, for the pod of that uid."""
        floating = [{"address": str(FIXED), "owner": "StatefulSet/default/db-0", "podUID": uid, "pool": "fixed"}]
        interface: dict[str, Any] = {
            "id": "eni-2",
            "mac": MACS[1],
            "deviceIndex": 1,
            "primary": False,
            "state": "in-use",
            "subnet": "subnet-1",
            "ipv4CIDR": "10.9.0.0/16",
            "ipv4Gateway": "10.9.0.1",
            "floating": floating if there else [],
        }
        await self.node.client.apply(
            SpiderNodeNetwork,
            self.node.name,
            {"status": {"interfaces": [interface]}},
            manager=OPERATOR_MANAGER,
            subresource="status",
        )

    async def entry(self) -> BlockEntry:
        live = await self.node.client.get(SpiderIPBlock, "10.9.0.64")
        return live.status.entries[str(FIXED)]


@pytest.fixture
async def owned(node: NodeUnderTest) -> AsyncIterator[Owned]:
    """A node with a pool of its own, whose provider has pools of fixed addresses."""
    await node.pool("a", ["10.9.0.10-10.9.0.12"])
    await node.wish(fixedAddress="required")
    node.settings = msgspec.structs.replace(node.settings, add_wait_seconds=0.3)
    yield Owned(node=node)
    with contextlib.suppress(kube_errors.NotFound):
        await node.client.delete(SpiderIPBlock, "10.9.0.64")


async def test_a_pod_waits_for_its_own_address(owned: Owned) -> None:
    """A stable owner's pod never gets an ordinary address meanwhile; what is listed for it is given to it alone, on the
    interface that has it; the block is told of its container, and of its end.
    """
    node = owned.node
    uid = await owned.pod()
    await owned.pod("db-1")
    await node.pod("other")
    await node.start()
    with pytest.raises(Refused, match="has not brought") as refused:
        await node.add("db-0", "c1")
    assert refused.value.code == 11

    await owned.record(uid)
    await owned.listed(uid)
    node.settings = msgspec.structs.replace(node.settings, add_wait_seconds=5)
    await eventually(lambda: _not_added(node, "db-0", "c2"))
    assert await node.add("other", "c3") == IPv4Address("10.9.0.10")
    with pytest.raises(Refused, match="has not brought"):
        await node.add("db-1", "c4")
    await eventually(lambda: _container_is_not(owned, "c2"))
    endpoint = await node.client.get(SpiderEndpoint, f"{node.name}-db-0", "default")
    assert endpoint.status is not None
    assert endpoint.status.current.ips[0].ipv4 == f"{FIXED}/16"

    await node.delete("db-0", "c2")
    await eventually(lambda: _container_is_not(owned, ""))
    entry = await owned.entry()
    assert (entry.uid, entry.owner, entry.cooling_since) == (uid, "StatefulSet/default/db-0", None)
    assert await node.add("db-0", "c5") == FIXED


async def test_the_operators_verdict_is_told_and_obeyed(owned: Owned) -> None:
    """A refusal is the error's text; only the word that the pod gets an ordinary address gives it one."""
    node = owned.node
    uid = await owned.pod()
    await node.start()
    verdict: dict[str, object] = {"podUID": uid, "pod": "default/db-0", "reason": "zone: it is in zone b"}

    await node.wish(fixed=[verdict | {"ordinary": False}])
    await eventually(lambda: _not_refused(node, "db-0", "zone: it is in zone b"))
    await node.wish(fixed=[verdict | {"ordinary": True}])
    await eventually(lambda: _not_added(node, "db-0", "c2", IPv4Address("10.9.0.10")))


async def test_a_pod_that_names_a_pool_waits_for_the_operator(owned: Owned) -> None:
    """Whatever the provider has: which kind of pool the name means only the operator knows."""
    node = owned.node
    await node.wish(fixedAddress="")
    await owned.pod("web", {"ipam.spidernet.io/ippool": '{"ipv4": ["fixed"]}'})
    await owned.pod("db-0")
    await node.start()

    with pytest.raises(Refused, match="has not brought"):
        await node.add("web", "c1")
    assert await node.add("db-0", "c2") == IPv4Address("10.9.0.10")


async def test_a_recall_is_confirmed_when_no_sandbox_has_the_address(owned: Owned) -> None:
    """Not before; after it nobody gets the address until the recall is gone, also after a restart of the agent."""
    node = owned.node
    uid = await owned.pod()
    await owned.record(uid)
    await owned.listed(uid)
    await node.start()
    assert await node.add("db-0", "c1") == FIXED

    await node.wish(recall=[{"id": "r1", "address": str(FIXED)}])
    await asyncio.sleep(1.5)
    network = await node.network()
    assert network.status is not None
    assert network.status.released == []

    await node.delete("db-0", "c1")
    assert await released(node, "r1") == ([str(FIXED)], [])
    await node.stop()
    await node.start()
    with pytest.raises(Refused, match="being recalled"):
        await node.add("db-0", "c2")
    await node.wish(recall=[])
    await eventually(lambda: _not_added(node, "db-0", "c3"))


async def test_the_nodes_pods_have_forgotten_what_is_confirmed(owned: Owned) -> None:
    """Once the address may be on another node, no pod here knows where it was; an agent that was not there when its pod
    went does it as well.
    """
    node = owned.node
    uid = await owned.pod()
    await node.pod("other")
    await owned.record(uid)
    await owned.listed(uid)
    await node.start()
    assert await node.add("other", "c1") == IPv4Address("10.9.0.10")
    assert await node.add("db-0", "c2") == FIXED
    await node.delete("db-0", "c2")
    assert FIXED in node.kernel.known()
    await node.stop()

    await node.start()
    await node.wish(recall=[{"id": "r1", "address": str(FIXED)}])

    assert await released(node, "r1") == ([str(FIXED)], [])
    assert FIXED not in node.kernel.known()


async def test_a_lost_journal_does_not_lose_a_fixed_address(owned: Owned) -> None:
    """What a pod's namespace has counts as held: the new journal neither gives it away nor confirms a recall."""
    node = owned.node
    uid = await owned.pod()
    await owned.record(uid)
    await owned.listed(uid)
    await node.start()
    assert await node.add("db-0", "c1") == FIXED
    await node.stop()
    for file in (node.folder / "state").iterdir():
        file.unlink()
    await node.record_epoch("an earlier journal")

    await node.start()
    await node.wish(recall=[{"id": "r1", "address": str(FIXED)}])
    await asyncio.sleep(1.5)

    network = await node.network()
    assert network.status is not None
    assert network.status.released == []
    await node.delete("db-0", "c1")
    assert await released(node, "r1") == ([str(FIXED)], [])


async def _not_added(node: NodeUnderTest, pod: str, container: str, address: IPv4Address = FIXED) -> str:
    try:
        found = await node.add(pod, container)
    except Refused as refused:
        return str(refused)
    assert found == address
    return ""


async def _not_refused(node: NodeUnderTest, pod: str, text: str) -> str:
    try:
        await node.add(pod, "never")
    except Refused as refused:
        return "" if text in str(refused) else str(refused)
    raise AssertionError("it got an address")


async def _container_is_not(owned: Owned, container: str) -> str:
    found = (await owned.entry()).container
    return "" if found == container else f"container {found!r}"
