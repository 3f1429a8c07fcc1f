"""The shell round ``reconcile.existing``: what a node had before Underlay is left alone or taken over."""

from collections.abc import Callable, Iterable

import structlog

from underlay.core.addresses import RangeSet
from underlay.core.api.ippool import INTERFACE_ANNOTATION, SpiderIPPool
from underlay.core.api.kubernetes import Pod
from underlay.core.cloud.model import Instance, Owner
from underlay.core.identity import InterfaceId
from underlay.core.kube.client import KubeClient
from underlay.operator.nodework import NodeWork
from underlay.operator.reconcile import existing
from underlay.operator.reconcile import pools as shapes


class Adoption:
    """``pools_of`` gives a node's pools as last seen."""

    def __init__(self, *, client: KubeClient, cluster: str, pools_of: Callable[[str], Iterable[SpiderIPPool]]) -> None:
        self._client = client
        self._cluster = cluster
        self._pools_of = pools_of
        self._log = structlog.get_logger()

    async def ours(self, work: NodeWork, read: Instance) -> Instance:
        """``read`` with ours only. What is not is remembered: where it is left alone, what there was at first sight."""
        memory, status = work.memory, work.memory.network.status
        recorded = status.interfaces if status else []
        foreign = memory.foreign
        if foreign is None and (recorded or not work.adopts):
            foreign = existing.foreign(read, recorded, work.own_addresses)
        if work.adopts and (foreign is None or foreign):
            pods = await self._client.list(Pod, fields=f"spec.nodeName={work.name}")
            foreign = existing.of_others(read, pods.items, self._listed(work.name), work.own_addresses)
        memory.foreign = foreign or {}
        return existing.without(read, memory.foreign, work.own_addresses)

    async def take(self, work: NodeWork) -> bool:
        """Makes one interface ours that is nobody's; True when it did."""
        if work.retiring or not work.adopts:
            return False
        for interface in existing.adoptable(work.known.instance):
            if interface.id not in work.memory.adopted:
                await work.driver.adopt(interface.id, Owner(cluster=self._cluster, node=work.node.metadata.uid or ""))
                work.memory.adopted.add(interface.id)
                work.memory.read_at = float("-inf")
                self._log.info("interface.adopted", node=work.name, interface=interface.id)
                return True
        return False

    def _listed(self, node: str) -> dict[InterfaceId, RangeSet]:
        found: dict[InterfaceId, RangeSet] = {}
        for pool in self._pools_of(node):
            interface = InterfaceId(pool.metadata.annotations.get(INTERFACE_ANNOTATION, ""))
            found[interface] = found.get(interface, RangeSet()).union(shapes.addresses(pool))
        return found
