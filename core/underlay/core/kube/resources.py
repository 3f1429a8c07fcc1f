"""Which kinds there are and where the API server serves them: one line per kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, TypeVar

import msgspec

from underlay.core.api.coordinator import SpiderCoordinator
from underlay.core.api.endpoint import SpiderEndpoint
from underlay.core.api.ipblock import SpiderIPBlock
from underlay.core.api.ippool import SpiderIPPool
from underlay.core.api.kubernetes import (
    Event,
    Job,
    Lease,
    Namespace,
    Node,
    Pod,
    ReplicaSet,
    Secret,
    StatefulSet,
    VirtualMachine,
    VirtualMachineInstance,
)
from underlay.core.api.meta import GROUP, ObjectMeta
from underlay.core.api.multusconfig import SpiderMultusConfig
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.api.reservedip import SpiderReservedIP
from underlay.core.api.subnet import SpiderSubnet


class KubeObject(Protocol):
    """What every kind's Struct has."""

    @property
    def metadata(self) -> ObjectMeta:
        """metav1.ObjectMeta."""
        ...

    @property
    def api_version(self) -> str:
        """``group/version``, or ``v1``."""
        ...

    @property
    def kind(self) -> str:
        """The kind's name on the wire."""
        ...


T = TypeVar("T", bound=KubeObject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Where a kind is served. ``whole``: its Struct has every field, so that an object may be replaced without losing
    one.
    """

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    whole: bool

    @property
    def prefix(self) -> str:
        """The path before namespace and plural."""
        return f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"


def _line(kind: type[KubeObject], plural: str, *, namespaced: bool) -> tuple[type[KubeObject], Resource]:
    """The wire's names are the defaults of the Struct's ``api_version`` and ``kind``."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(kind)}  # type: ignore[arg-type]
    api_version = str(defaults["api_version"])
    return kind, Resource(
        api_version=api_version,
        kind=str(defaults["kind"]),
        plural=plural,
        namespaced=namespaced,
        whole=api_version.startswith(f"{GROUP}/"),
    )


RESOURCES: Mapping[type[KubeObject], Resource] = MappingProxyType(
    dict(
        (
            _line(Event, "events", namespaced=True),
            _line(Job, "jobs", namespaced=True),
            _line(Lease, "leases", namespaced=True),
            _line(Namespace, "namespaces", namespaced=False),
            _line(Node, "nodes", namespaced=False),
            _line(Pod, "pods", namespaced=True),
            _line(ReplicaSet, "replicasets", namespaced=True),
            _line(Secret, "secrets", namespaced=True),
            _line(SpiderCoordinator, "spidercoordinators", namespaced=False),
            _line(SpiderEndpoint, "spiderendpoints", namespaced=True),
            _line(SpiderIPBlock, "spideripblocks", namespaced=False),
            _line(SpiderIPPool, "spiderippools", namespaced=False),
            _line(SpiderMultusConfig, "spidermultusconfigs", namespaced=True),
            _line(SpiderNetworkProvider, "spidernetworkproviders", namespaced=False),
            _line(SpiderNodeNetwork, "spidernodenetworks", namespaced=False),
            _line(SpiderReservedIP, "spiderreservedips", namespaced=False),
            _line(SpiderSubnet, "spidersubnets", namespaced=False),
            _line(StatefulSet, "statefulsets", namespaced=True),
            _line(VirtualMachine, "virtualmachines", namespaced=True),
            _line(VirtualMachineInstance, "virtualmachineinstances", namespaced=True),
        )
    )
)


def resource_of(kind: type[KubeObject]) -> Resource:
    """Where ``kind`` is served. Raises ``TypeError`` for a kind that has no line above."""
    try:
        return RESOURCES[kind]
    except KeyError:
        raise TypeError(f"{kind.__name__} has no line in core.kube.resources") from None
