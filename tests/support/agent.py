"""The agent's side of the protocol with the operator, over the API alone: no journal, no kernel, no CNI.

It gives each pod bound to its node an address of the node's pools, writes the pools' status, answers releases with what
it fenced and what is held, and lifts fences by the rule in ``underlay.core.api.nodenetwork``.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from support.ownership import Ownership
from underlay.core.addresses import RangeSet
from underlay.core.api.ippool import INTERFACE_ANNOTATION, NODE_LABEL, PoolAllocation, SpiderIPPool, render_allocations
from underlay.core.api.kubernetes import Node, Pod
from underlay.core.api.nodenetwork import AGENT_MANAGER, AgentStatus, Release, Released, SpiderNodeNetwork
from underlay.core.identity import node_label_value
from underlay.core.ipam.ownership import names_pools, owner_of
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.core.kube.reflector import Reflector
from underlay.core.runtime.aio import supervise


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """Given to nobody: ``fenced``. In use when it was set: ``held``."""

    pool: str
    pool_uid: str
    fenced: frozenset[str]
    held: frozenset[str]


class StandInAgent:
    """``answering`` False: releases stay unanswered; ``confirming`` False: recalls do. ``clinging``: sandboxes keep
    fixed addresses although their pods are gone. ``fixed``: pod's uid → its fixed address.
    ``unplugged``: interfaces whose link is gone from the host, as a real agent sees at once. ``problems`` says what an
    operator must never do to an agent.

    ``ownership`` hears of every address a pod gets or gives back.
    """

    def __init__(self, client: KubeClient, node: str, ownership: Ownership | None = None) -> None:
        self._client = client
        self._node = node
        self._ownership = ownership or Ownership()
        self._networks = Reflector(client, SpiderNodeNetwork, fields=f"metadata.name={node}")
        self._pools = Reflector(client, SpiderIPPool, labels=f"{NODE_LABEL}={node_label_value(node)}")
        self._pods = Reflector(client, Pod, fields=f"spec.nodeName={node}")
        self._nodes = Reflector(client, Node, fields=f"metadata.name={node}")
        self._dirty = asyncio.Event()
        self._written: dict[str, str | None] = {}
        self._said: AgentStatus | None = None
        self.answering = True
        self.claims: dict[str, tuple[str, Pod]] = {}
        self.fixed: dict[str, str] = {}
        self.unplugged: set[str] = set()
        self.clinging = False
        self.confirming = True
        self.fences: dict[str, Fence] = {}
        self.answered: list[Released] = []
        self.problems: list[str] = []

    async def run(self) -> None:
        """Until cancelled."""
        for reflector in (self._nodes, self._networks, self._pools, self._pods):
            reflector.subscribe(lambda _: self._dirty.set())
        await supervise(
            nodes=self._nodes.run(),
            networks=self._networks.run(),
            pools=self._pools.run(),
            pods=self._pods.run(),
            work=self._work(),
        )

    def allow(self) -> None:
        """Answer releases from now on."""
        self.answering = True
        self._dirty.set()

    def confirm(self) -> None:
        """Answer recalls from now on, those that came meanwhile too."""
        self.confirming = True
        self._dirty.set()

    def held(self) -> set[str]:
        """Addresses pods have of the node's pools."""
        return set(self.claims)

    async def _work(self) -> None:
        for reflector in (self._nodes, self._networks, self._pools, self._pods):
            await reflector.synced.wait()
        self._dirty.set()
        while True:
            with contextlib.suppress(TimeoutError):
                # Live reads that did not settle a doubt are repeated without an event.
                async with asyncio.timeout(0.5 if self.fences else None):
                    await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._step()
            except kube_errors.KubeError:
                self._dirty.set()

    async def _step(self) -> None:
        network = self._networks.store.get(None, self._node)
        if network is None:
            self.fences.clear()
            self._said = None
            return
        node = self._nodes.store.get(None, self._node)
        named = (network.spec.node_uid, network.spec.provider_id)
        if node is None or named != (node.metadata.uid, node.spec.provider_id):
            return  # an earlier machine's of that name
        if self.answering:
            for release in network.spec.release:
                self._fence(release)
        self._recall(network)
        for fence_id in list(self.fences):
            if await self._may_lift(fence_id, network):
                del self.fences[fence_id]
        self._take_fixed(network)
        self._claim(network)
        await self._write_pools()
        await self._answer()

    def _fence(self, release: Release) -> None:
        if release.id not in self.fences:
            held = frozenset(release.addresses) & self.claims.keys()
            fenced = frozenset(release.addresses) - held
            self.fences[release.id] = Fence(pool=release.pool, pool_uid=release.pool_uid, fenced=fenced, held=held)

    def _recall(self, network: SpiderNodeNetwork) -> None:
        for recall in network.spec.recall if self.confirming else []:
            if recall.address not in self.fixed.values() and recall.id not in self.fences:
                self.fences[recall.id] = Fence(
                    pool="", pool_uid="", fenced=frozenset({recall.address}), held=frozenset()
                )

    def _take_fixed(self, network: SpiderNodeNetwork) -> None:
        pods = {pod.metadata.uid for pod in self._pods.store.items()}
        for uid in [uid for uid in self.fixed if uid not in pods and not self.clinging]:
            self._ownership.free(self.fixed.pop(uid))
        ordinary = {verdict.pod_uid for verdict in network.spec.fixed if verdict.ordinary}
        fenced = {ip for fence in self.fences.values() for ip in fence.fenced}
        for interface in network.status.interfaces if network.status else []:
            for item in interface.floating:
                free = item.address not in fenced and item.address not in self.fixed.values()
                if item.pod_uid in pods - ordinary and free:
                    self.fixed[item.pod_uid] = item.address
                    self._ownership.take(item.address, item.pod_uid)

    def _waits(self, pod: Pod, network: SpiderNodeNetwork) -> bool:
        """It waits for the operator's word about a fixed address, or has one."""
        uid = pod.metadata.uid or ""
        stable = network.spec.fixed_address and owner_of(pod.metadata).kind != "Pod"
        ordinary = any(verdict.pod_uid == uid and verdict.ordinary for verdict in network.spec.fixed)
        return uid in self.fixed or (bool(stable or names_pools(pod.metadata)) and not ordinary)

    async def _may_lift(self, fence_id: str, network: SpiderNodeNetwork) -> bool:
        fence = self.fences[fence_id]
        if not fence.pool:
            return all(recall.id != fence_id for recall in network.spec.recall)
        done = next((entry for entry in network.spec.release_done if entry.id == fence_id), None)
        if done is not None:
            pool = self._pools.store.get(None, fence.pool)
            if pool is not None and pool.metadata.uid == fence.pool_uid:
                return (pool.metadata.generation or 0) >= done.generation
            live = await self._live_pool(fence.pool)
            return live is None or live.metadata.uid != fence.pool_uid
        if any(entry.id == fence_id for entry in network.spec.release):
            return False
        spec = (await self._client.get(SpiderNodeNetwork, self._node)).spec
        if fence_id in {wish.id for wish in spec.release} | {entry.id for entry in spec.release_done}:
            return False
        live = await self._live_pool(fence.pool)
        if live is None or live.metadata.uid != fence.pool_uid:
            return True
        if not fence.fenced <= _addresses(live):
            self.problems.append(f"release {fence_id} vanished although its pool had shrunk")
        return True

    def _claim(self, network: SpiderNodeNetwork) -> None:
        pods = {pod.metadata.uid: pod for pod in self._pods.store.items()}
        for ip in [ip for ip, (_, pod) in self.claims.items() if pod.metadata.uid not in pods]:
            del self.claims[ip]
            self._ownership.free(ip)
        pools = {pool.metadata.name: _addresses(pool) for pool in self._pools.store.items()}
        for ip, (pool, pod) in self.claims.items():
            if ip not in pools.get(pool, frozenset({ip})):
                self.problems.append(f"{ip} of pod {pod.metadata.name} left pool {pool}")
        fenced = {ip for fence in self.fences.values() for ip in fence.fenced}
        waiting = pods.keys() - {pod.metadata.uid for _, pod in self.claims.values()}
        waiting -= {uid for uid, pod in pods.items() if self._waits(pod, network)}
        free = self._free(pools, self.claims.keys() | fenced)
        for uid, taken in zip(sorted(waiting, key=lambda uid: pods[uid].metadata.name), free, strict=False):
            for ip, name in taken:
                self.claims[ip] = (name, pods[uid])
                self._ownership.take(ip, uid or "")

    def _free(self, pools: Mapping[str, frozenset[str]], taken: Collection[str]) -> Iterator[Sequence[tuple[str, str]]]:
        """What each next pod gets: an (address, pool) of each family, of one interface."""
        network = self._networks.store.get(None, self._node)
        families = [4 if name == "ipv4" else 6 for name in network.spec.families] if network else [4]
        of: dict[str, dict[int | None, list[tuple[str, str]]]] = {}
        for pool in sorted(self._pools.store.items(), key=lambda pool: pool.metadata.name):
            name = pool.metadata.name
            interface = pool.metadata.annotations[INTERFACE_ANNOTATION]
            if interface not in self.unplugged:
                mine = [(ip, name) for ip in sorted(pools[name]) if ip not in taken]
                of.setdefault(interface, {})[pool.spec.ip_version] = mine
        for offered in of.values():
            yield from zip(*(offered.get(family, []) for family in families), strict=False)

    async def _write_pools(self) -> None:
        for pool in list(self._pools.store.items()):
            mine = {ip: pod for ip, (name, pod) in self.claims.items() if name == pool.metadata.name}
            text = render_allocations(
                {
                    ip: PoolAllocation(pod=f"default/{pod.metadata.name}", pod_uid=pod.metadata.uid or "")
                    for ip, pod in mine.items()
                }
            )
            key = f"{pool.metadata.name}/{pool.metadata.uid}"
            if self._written.get(key) == text:
                continue
            body: dict[str, Any] = {"allocatedIPs": text, "allocatedIPCount": len(mine)}
            with contextlib.suppress(kube_errors.NotFound):
                await self._client.merge_patch(SpiderIPPool, pool.metadata.name, {"status": body}, subresource="status")
            self._written[key] = text

    async def _answer(self) -> None:
        released = [
            Released(id=fence_id, fenced=sorted(fence.fenced), held=sorted(fence.held))
            for fence_id, fence in sorted(self.fences.items())
        ]
        said = AgentStatus(journal_epoch="stand-in", released=released)
        if said == self._said:
            return
        with contextlib.suppress(kube_errors.NotFound):
            await self._client.apply(
                SpiderNodeNetwork, self._node, {"status": said}, manager=AGENT_MANAGER, subresource="status"
            )
            known = {entry.id for entry in self.answered}
            self.answered += [entry for entry in released if entry.id not in known]
            self._said = said

    async def _live_pool(self, name: str) -> SpiderIPPool | None:
        try:
            return await self._client.get(SpiderIPPool, name)
        except kube_errors.NotFound:
            return None


def _addresses(pool: SpiderIPPool) -> frozenset[str]:
    return frozenset(map(str, RangeSet.parse(pool.spec.ips or [], field="spec.ips")))
