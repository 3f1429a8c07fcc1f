"""SpiderEndpoints of this node's pods, written off the path of any call.

One endpoint per pod, made of the claims the pod has; two writes in a pod's life: create and delete. What cannot be
written now is tried again; what an agent did not get to is removed by Kubernetes with the pod, its owner.
"""

import msgspec
import structlog

from underlay.cni.book import Book
from underlay.cni.fixed import subnet_of
from underlay.cni.lull import Lull
from underlay.cni.metrics import Metrics
from underlay.cni.podqueue import PodQueue
from underlay.cni.records import BoundPod
from underlay.cni.state import State
from underlay.core.api.endpoint import EndpointCurrent, EndpointIP, SpiderEndpoint, SpiderEndpointStatus
from underlay.core.api.kubernetes import Job, ReplicaSet
from underlay.core.api.meta import ObjectMeta, OwnerReference
from underlay.core.identity import PodRef
from underlay.core.ipam.claims import Claim
from underlay.core.kube.client import KubeClient
from underlay.core.kube.errors import AlreadyExists, Conflict, KubeError, NotFound

_OWNERS_KEPT = 1000
_INTERMEDIATE: dict[str, type[ReplicaSet] | type[Job]] = {"ReplicaSet": ReplicaSet, "Job": Job}
"""Controllers that are made by another one, in whose name people think: Deployment, CronJob."""


def endpoint_of(state: State, pod: PodRef, node_name: str) -> SpiderEndpoint | None:
    """The endpoint that says what ``pod`` holds; None when it holds nothing."""
    claims = sorted(
        (claim for claim in state.ledger.claims.values() if claim.pod == pod),
        key=lambda claim: (claim.attachment.ifname, claim.since),
    )
    # A sandbox that is being replaced may still hold addresses: the newest claim of an interface counts.
    by_interface = {claim.attachment.ifname: claim for claim in claims}
    if not by_interface:
        return None
    known = state.pods.get((pod.namespace, pod.name)) or BoundPod(ref=pod, owner_name=pod.name)
    return SpiderEndpoint(
        metadata=ObjectMeta(
            name=pod.name,
            namespace=pod.namespace,
            owner_references=[OwnerReference(api_version="v1", kind="Pod", name=pod.name, uid=pod.uid)],
        ),
        status=SpiderEndpointStatus(
            current=EndpointCurrent(
                uid=pod.uid, node=node_name, ips=[_interface(state, claim) for claim in by_interface.values()]
            ),
            owner_controller_type=known.owner_kind,
            owner_controller_name=known.owner_name,
        ),
    )


class Endpoints:
    """The writer."""

    def __init__(self, *, node_name: str, book: Book, client: KubeClient, metrics: Metrics, lull: Lull) -> None:
        self._node_name = node_name
        self._book = book
        self._client = client
        self._queue = PodQueue(what="endpoint", write=self._write, metrics=metrics, lull=lull)
        self._written: dict[PodRef, str] = {}
        self._owners: dict[tuple[str, str, str], tuple[str, str]] = {}
        self._log = structlog.get_logger()

    def touch(self, pod: PodRef) -> None:
        """The pod's addresses may have changed. A pod nobody knows has no endpoint."""
        if pod.uid:
            self._queue.add(pod)

    async def run(self) -> None:
        """Until cancelled. What is held already is written once more: an earlier agent may not have come to it."""
        for claim in self._book.state.ledger.claims.values():
            self.touch(claim.pod)
        await self._queue.run()

    async def _write(self, pod: PodRef) -> None:
        wanted = endpoint_of(self._book.state, pod, self._node_name)
        if wanted is None or wanted.status is None:
            await self._remove(pod)
            return
        kind, name = await self._top_owner(
            pod.namespace, wanted.status.owner_controller_type, wanted.status.owner_controller_name
        )
        status = msgspec.structs.replace(wanted.status, owner_controller_type=kind, owner_controller_name=name)
        wanted = msgspec.structs.replace(wanted, status=status)
        try:
            made = await self._client.create(wanted)
        except AlreadyExists:
            made = await self._correct(wanted)
        except NotFound:
            return  # its namespace is gone, and the pod with it
        self._written[pod] = made.metadata.uid or ""

    async def _top_owner(self, namespace: str, kind: str, name: str) -> tuple[str, str]:
        """Kind and name of what made the pod's controller; the controller itself where that cannot be told. One read
        per controller.
        """
        key = namespace, kind, name
        if kind not in _INTERMEDIATE:
            return kind, name
        if key not in self._owners:
            try:
                controller = await self._client.get(_INTERMEDIATE[kind], name, namespace)
            except KubeError as unknown:
                self._log.info("owner.not_read", owner=f"{kind} {namespace}/{name}", reason=str(unknown))
                return kind, name
            owner = next((item for item in controller.metadata.owner_references if item.controller), None)
            if len(self._owners) >= _OWNERS_KEPT:
                self._owners.clear()
            self._owners[key] = (owner.kind, owner.name) if owner else (kind, name)
        return self._owners[key]

    async def _correct(self, wanted: SpiderEndpoint) -> SpiderEndpoint:
        there = await self._client.get(SpiderEndpoint, wanted.metadata.name, wanted.metadata.namespace)
        if there.status == wanted.status:
            return there
        meta = wanted.metadata
        return await self._client.replace(
            SpiderEndpoint(
                metadata=ObjectMeta(
                    name=meta.name,
                    namespace=meta.namespace,
                    uid=there.metadata.uid,
                    resource_version=there.metadata.resource_version,
                    labels=there.metadata.labels,
                    annotations=there.metadata.annotations,
                    finalizers=there.metadata.finalizers,
                    owner_references=meta.owner_references,
                ),
                status=wanted.status,
            )
        )

    async def _remove(self, pod: PodRef) -> None:
        uid = self._written.pop(pod, "")
        try:
            if not uid:
                there = await self._client.get(SpiderEndpoint, pod.name, pod.namespace)
                if there.status is None or there.status.current.uid != pod.uid:
                    return
                uid = there.metadata.uid or ""
            await self._client.delete(SpiderEndpoint, pod.name, pod.namespace, uid=uid)
        except (NotFound, Conflict):
            return  # gone, or another pod's by now


def _interface(state: State, claim: Claim) -> EndpointIP:
    parts: dict[str, str | None] = {}
    for item in claim.addresses:
        pool = state.pools.get(item.pool)
        family = f"ipv{item.address.version}"
        subnet, gateway = (pool.spec.subnet, pool.spec.gateway) if pool else subnet_of(state, item.address)
        length = subnet.partition("/")[2] or str(item.address.max_prefixlen)
        parts |= {family: f"{item.address}/{length}", f"{family}_pool": item.pool}
        parts[f"{family}_gateway"] = gateway or None
    return EndpointIP(interface=claim.attachment.ifname, **parts)  # type: ignore[arg-type]
