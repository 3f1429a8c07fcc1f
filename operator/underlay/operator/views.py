"""The operator's windows on the cluster: what it watches, once for all its parts."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from underlay.core.api.ipblock import SpiderIPBlock
from underlay.core.api.ippool import NODE_LABEL, SpiderIPPool
from underlay.core.api.kubernetes import Namespace, Node, Pod
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.api.reservedip import SpiderReservedIP
from underlay.core.kube.client import KubeClient
from underlay.core.kube.reflector import Reflector
from underlay.core.runtime.clock import Clock
from underlay.operator.podkeeper import PodKeeper


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Pods are indexed by ``node``, pools by ``node`` (the label's value)."""

    nodes: Reflector[Node]
    pods: Reflector[Pod]
    pools: Reflector[SpiderIPPool]
    networks: Reflector[SpiderNodeNetwork]
    blocks: Reflector[SpiderIPBlock]
    namespaces: Reflector[Namespace]
    reserved: Reflector[SpiderReservedIP]

    @classmethod
    def of(cls, client: KubeClient, clock: Clock) -> "Views":
        """Nothing is watched before they run."""
        views = cls(
            nodes=Reflector(client, Node, clock=clock),
            pods=Reflector(client, Pod, clock=clock, fields="spec.nodeName!=", keep=PodKeeper().keep),
            pools=Reflector(client, SpiderIPPool, clock=clock, labels=NODE_LABEL),
            networks=Reflector(client, SpiderNodeNetwork, clock=clock),
            blocks=Reflector(client, SpiderIPBlock, clock=clock),
            namespaces=Reflector(client, Namespace, clock=clock),
            reserved=Reflector(client, SpiderReservedIP, clock=clock),
        )
        views.pods.store.index("node", lambda pod: (pod.spec.node_name,))
        views.pools.store.index("node", lambda pool: (pool.metadata.labels.get(NODE_LABEL),))
        return views

    def __iter__(self) -> Iterator[tuple[str, Reflector]]:  # type: ignore[type-arg]  # of any kind
        """Each with its name."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))
