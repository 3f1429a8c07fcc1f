"""Kubernetes' own kinds, only the fields Underlay reads or writes. Pure.

Because fields are missing here, these kinds are never replaced as a whole (what is not modelled would be lost): they
are created, merge-patched, applied and deleted. Every field has a default, so that whatever an API server sends can be
read.
"""

import msgspec

from underlay.core.api.meta import ObjectMeta, wire_name


class PodIP(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """v1.PodIP."""

    ip: str = ""


class PodSpec(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``node_name`` is empty until the pod is bound."""

    node_name: str = ""
    host_network: bool = False
    restart_policy: str = "Always"


class PodStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``phase``: Pending, Running, Succeeded, Failed or Unknown. ``reason``: Evicted, NodeLost, …"""

    phase: str = ""
    reason: str = ""
    pod_ips: list[PodIP] = []


class Pod(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name, gc=False):
    """v1.Pod. As there may be 150,000, the collector of cycles does not look at them: they have none."""

    metadata: ObjectMeta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()
    api_version: str = "v1"
    kind: str = "Pod"


class ReplicaSet(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """apps/v1.ReplicaSet: who made it is all that is read."""

    metadata: ObjectMeta
    api_version: str = "apps/v1"
    kind: str = "ReplicaSet"


class Job(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """batch/v1.Job, likewise."""

    metadata: ObjectMeta
    api_version: str = "batch/v1"
    kind: str = "Job"


class StatefulSetOrdinals(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``start``: the first pod's number."""

    start: int = 0


class StatefulSetSpec(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Pods ``name-start`` … ``name-(start + replicas - 1)``."""

    replicas: int | None = None
    ordinals: StatefulSetOrdinals | None = None


class StatefulSet(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """apps/v1.StatefulSet: which of its pods there should be."""

    metadata: ObjectMeta
    spec: StatefulSetSpec = StatefulSetSpec()
    api_version: str = "apps/v1"
    kind: str = "StatefulSet"


class VirtualMachine(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """kubevirt.io/v1 VirtualMachine: whether it exists, running or not."""

    metadata: ObjectMeta
    api_version: str = "kubevirt.io/v1"
    kind: str = "VirtualMachine"


class VirtualMachineInstance(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """kubevirt.io/v1 VirtualMachineInstance: a running machine; it has the VirtualMachine's name if one made it."""

    metadata: ObjectMeta
    api_version: str = "kubevirt.io/v1"
    kind: str = "VirtualMachineInstance"


class Taint(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """v1.Taint. ``effect``: NoSchedule, PreferNoSchedule or NoExecute."""

    key: str
    effect: str
    value: str | None = None
    time_added: str | None = None


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``provider_id``: the cloud's name of the machine, ``aws:///eu-central-1a/i-0123``; empty until the cloud
    provider has set it.
    """

    provider_id: str | None = None
    unschedulable: bool | None = None
    taints: list[Taint] | None = None


class NodeAddress(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``type``: InternalIP, ExternalIP, Hostname, InternalDNS or ExternalDNS."""

    type: str = ""
    address: str = ""


class NodeCondition(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """v1.NodeCondition."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_heartbeat_time: str | None = None
    last_transition_time: str | None = None


class NodeStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``capacity`` and ``allocatable`` hold quantities as text (``"110"``, ``"3920m"``)."""

    addresses: list[NodeAddress] = []
    capacity: dict[str, str] = {}
    allocatable: dict[str, str] = {}
    conditions: list[NodeCondition] = []


class Node(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """v1.Node, cluster-scoped."""

    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()
    api_version: str = "v1"
    kind: str = "Node"


class Namespace(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """v1.Namespace, cluster-scoped. The UID of ``kube-system`` names the cluster at a cloud."""

    metadata: ObjectMeta
    api_version: str = "v1"
    kind: str = "Namespace"


class Secret(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """v1.Secret. ``data`` is decoded already."""

    metadata: ObjectMeta
    data: dict[str, bytes] = {}
    type: str = "Opaque"
    api_version: str = "v1"
    kind: str = "Secret"

    def __repr__(self) -> str:
        return f"Secret({self.metadata.namespace}/{self.metadata.name}, keys={sorted(self.data)})"


class LeaseSpec(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Times are metav1.MicroTime: ``2026-01-02T03:04:05.678901Z``. ``holder_identity`` empty or None: nobody."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """coordination.k8s.io/v1 Lease."""

    metadata: ObjectMeta
    spec: LeaseSpec = LeaseSpec()
    api_version: str = "coordination.k8s.io/v1"
    kind: str = "Lease"


class ObjectReference(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """v1.ObjectReference: what an Event is about."""

    api_version: str
    kind: str
    name: str
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None


class EventSource(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Who saw it, and where."""

    component: str = ""
    host: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """v1.Event, the form ``kubectl describe`` counts and shows. Times are metav1.Time: whole seconds."""

    metadata: ObjectMeta
    involved_object: ObjectReference
    reason: str = ""
    message: str = ""
    type: str = "Normal"
    count: int | None = None
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    source: EventSource = EventSource()
    reporting_component: str = ""
    reporting_instance: str = ""
    api_version: str = "v1"
    kind: str = "Event"
