"""What the API server says about this node becomes records: pods, pools, the SpiderNodeNetwork, the Node.

The journal's copies are what is served; they follow the reflectors and outlive them. After each complete list, what
the list no longer has is dropped from the copies too.
"""

import asyncio

import msgspec

from underlay.cni import records
from underlay.cni.book import Book
from underlay.cni.records import BoundPod
from underlay.core.api.ippool import INTERFACE_ANNOTATION, MAC_ANNOTATION, NODE_LABEL, SpiderIPPool
from underlay.core.api.kubernetes import Node, Pod
from underlay.core.api.meta import ObjectMeta
from underlay.core.api.nodenetwork import SpiderNodeNetwork, SpiderNodeNetworkStatus
from underlay.core.identity import PodRef, node_label_value
from underlay.core.ipam.ownership import may_be_fixed, names_pools
from underlay.core.kube.client import KubeClient
from underlay.core.kube.reflector import Change, Reflector, Removed

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
"""A static pod's own uid, by which a runtime names it; its object in the API server has another."""


class Watch:
    """The agent's four selections; nothing else of the cluster is read."""

    def __init__(self, *, node_name: str, book: Book, client: KubeClient) -> None:
        self._node_name = node_name
        self._book = book
        by_name = f"metadata.name={node_name}"
        self.pods = Reflector(client, Pod, fields=f"spec.nodeName={node_name}")
        self.pools = Reflector(client, SpiderIPPool, labels=f"{NODE_LABEL}={node_label_value(node_name)}")
        self.node_networks = Reflector(client, SpiderNodeNetwork, fields=by_name)
        self.nodes = Reflector(client, Node, fields=by_name)
        self.pods.subscribe(self._on_pod)
        self.pools.subscribe(self._on_pool)
        self.node_networks.subscribe(self._on_node_network)
        self.nodes.subscribe(self._on_node)
        self.pods.after_list(self._prune_pods)
        self.pools.after_list(self._prune_pools)
        self.node_networks.after_list(self._prune_node_network)

    async def synced(self) -> None:
        """Until everything has been listed once."""
        for reflector in (self.pods, self.pools, self.node_networks, self.nodes):
            await reflector.synced.wait()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in (self.pods, self.pools, self.node_networks, self.nodes):
                group.create_task(reflector.run())

    def _on_pod(self, change: Change[Pod]) -> None:
        pod = bound_pod(change.object, self._node_name)
        if isinstance(change, Removed) or pod is None:
            gone = reference(change.object)
            known = self._book.state.pods.get((gone.namespace, gone.name))
            if known and known.ref == gone:
                self._book.record(records.PodGone(ref=gone))
        elif self._book.state.pods.get((pod.ref.namespace, pod.ref.name)) != pod:
            self._book.record(records.PodBound(pod=pod))

    def _on_pool(self, change: Change[SpiderIPPool]) -> None:
        name = change.object.metadata.name
        known = self._book.state.pools.get(name)
        if isinstance(change, Removed):
            if known and known.metadata.uid == change.object.metadata.uid:
                self._book.record(records.PoolForgotten(name=name))
            return
        copy = pool_copy(change.object)
        if known and known.metadata.uid == copy.metadata.uid and _generation(known) > _generation(copy):
            return  # older than what was accepted before
        if copy != known:
            self._book.record(records.PoolAccepted(pool=copy))

    def _on_node_network(self, change: Change[SpiderNodeNetwork]) -> None:
        copy = None if isinstance(change, Removed) else node_network_copy(change.object)
        if copy != self._book.state.node_network:
            self._book.record(records.NodeNetworkAccepted(node_network=copy))

    def _on_node(self, change: Change[Node]) -> None:
        if isinstance(change, Removed):
            return  # a Node that comes back has another uid, and then nothing is served until the operator knows it
        node = change.object
        seen = records.NodeSeen(
            uid=node.metadata.uid or "",
            provider_id=node.spec.provider_id or "",
            addresses=[item.address for item in node.status.addresses if item.type == "InternalIP"],
        )
        if seen != self._book.state.node:
            self._book.record(seen)

    def _prune_pods(self) -> None:
        alive = {pod.ref for item in self.pods.store.items() if (pod := bound_pod(item, self._node_name))}
        gone = [pod.ref for pod in self._book.state.pods.values() if pod.ref not in alive]
        if gone:
            self._book.record(*(records.PodGone(ref=ref) for ref in gone))

    def _prune_pools(self) -> None:
        gone = [name for name in self._book.state.pools if self.pools.store.get(None, name) is None]
        if gone:
            self._book.record(*(records.PoolForgotten(name=name) for name in gone))

    def _prune_node_network(self) -> None:
        if self._book.state.node_network and not self.node_networks.store.get(None, self._node_name):
            self._book.record(records.NodeNetworkAccepted(node_network=None))


def reference(pod: Pod) -> PodRef:
    """The pod's incarnation."""
    return PodRef(namespace=pod.metadata.namespace or "", name=pod.metadata.name, uid=pod.metadata.uid or "")


def bound_pod(pod: Pod, node_name: str) -> BoundPod | None:
    """The pod if it is bound here, lives, and needs an address of its own."""
    if pod.spec.node_name != node_name or pod.spec.host_network or pod.status.phase in {"Succeeded", "Failed"}:
        return None
    owner = next((item for item in pod.metadata.owner_references if item.controller), None)
    return BoundPod(
        ref=reference(pod),
        owner_kind=owner.kind if owner else "Pod",
        owner_name=owner.name if owner else pod.metadata.name,
        static_uid=pod.metadata.annotations.get(MIRROR_ANNOTATION, ""),
        fixed="named" if names_pools(pod.metadata) else "owner" if may_be_fixed(pod.metadata) else "",
    )


def pool_copy(pool: SpiderIPPool) -> SpiderIPPool:
    """What of a pool is served: its identity and spec."""
    meta = pool.metadata
    kept = {key: meta.annotations[key] for key in (INTERFACE_ANNOTATION, MAC_ANNOTATION) if key in meta.annotations}
    slim = ObjectMeta(
        name=meta.name,
        uid=meta.uid,
        generation=meta.generation,
        deletion_timestamp=meta.deletion_timestamp,
        annotations=kept,
    )
    return SpiderIPPool(metadata=slim, spec=pool.spec)


def node_network_copy(node_network: SpiderNodeNetwork) -> SpiderNodeNetwork:
    """What of a SpiderNodeNetwork is acted on: its spec, the interfaces' order, and the epoch last recorded."""
    status = node_network.status
    slim_status = status and SpiderNodeNetworkStatus(
        interfaces=[msgspec.structs.replace(item, addresses=[], prefixes=[], state="") for item in status.interfaces],
        journal_epoch=status.journal_epoch,
    )
    meta = ObjectMeta(
        name=node_network.metadata.name, uid=node_network.metadata.uid, generation=node_network.metadata.generation
    )
    return SpiderNodeNetwork(metadata=meta, spec=node_network.spec, status=slim_status)


def _generation(pool: SpiderIPPool) -> int:
    return pool.metadata.generation or 0
