"""Fixed addresses of a site: a pool, owners and their pods, and who has an address by each of the readings."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from support.agent import StandInAgent
from support.operator_site import Site
from underlay.core.api.ipblock import BlockEntry, SpiderIPBlock
from underlay.core.api.ippool import NODE_LABEL, PROVIDER_ANNOTATION, SHARED, SpiderIPPool, parse_allocations
from underlay.core.api.kubernetes import Node, Pod, StatefulSet
from underlay.core.api.reservedip import SpiderReservedIP
from underlay.core.kube import errors as kube_errors

POOL = ["10.80.1.200-10.80.1.203"]
MINE = "10.80.1.200"


@dataclass(slots=True, kw_only=True)
class FixedSite:
    """A site with a pool of fixed addresses named as the site."""

    site: Site
    made: list[tuple[type[Any], str, str | None]] = field(default_factory=list)

    async def pool(self, ips: list[str] = POOL, *, name: str = "", subnet: str = "10.80.1.0/24", **spec: object) -> str:
        """A pool of the site's provider, for stable owners unless ``default`` says otherwise."""
        name = name or f"{self.site.name}-fixed"
        body = {
            "metadata": {
                "labels": {NODE_LABEL: SHARED},
                "annotations": {PROVIDER_ANNOTATION: self.site.name},
            },
            "spec": {"subnet": subnet, "ips": ips, "default": True, **spec},
        }
        await self.site.client.apply(SpiderIPPool, name, body, manager="test")
        self.made.append((SpiderIPPool, name, None))
        return name

    async def reserve(self, ips: list[str]) -> None:
        """A SpiderReservedIP named as the site."""
        await self.site.client.apply(SpiderReservedIP, self.site.name, {"spec": {"ips": ips}}, manager="test")
        self.made.append((SpiderReservedIP, self.site.name, None))

    async def stateful_set(self, replicas: int, name: str = "") -> str:
        """The StatefulSet alone; nobody makes its pods here."""
        name = name or f"{self.site.name}-db"
        labels = {"app": name}
        container = {"name": "c", "image": "none"}
        body = {
            "spec": {
                "replicas": replicas,
                "serviceName": name,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            }
        }
        await self.site.client.apply(StatefulSet, name, body, manager="test", namespace="default")
        self.made.append((StatefulSet, name, "default"))
        return name

    async def owned_pod(self, node: str, owner: Mapping[str, str], name: str) -> str:
        """A pod of that controller, bound to the node; its uid."""
        reference = {"controller": True, "uid": "1", **owner}
        return await self.any_pod(node, name, {"ownerReferences": [reference]})

    async def set_pod(self, node: str, number: int = 0) -> str:
        """The pod of that number of the site's StatefulSet; its uid."""
        name = f"{self.site.name}-db"
        owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name}
        return await self.owned_pod(node, owner, f"{name}-{number}")

    async def any_pod(self, node: str, name: str, metadata: Mapping[str, object]) -> str:
        """A pod bound to the node; its uid."""
        spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "none"}]}
        pod = await self.site.client.apply(
            Pod, name, {"metadata": metadata, "spec": spec}, manager="test", namespace="default"
        )
        self.made.append((Pod, name, "default"))
        return pod.metadata.uid or ""

    async def delete_pod(self, name: str) -> None:
        await self.site.client.delete(Pod, name, "default")

    async def delete_set_pod(self, number: int = 0) -> None:
        await self.delete_pod(f"{self.site.name}-db-{number}")

    async def not_ready(self, node: str) -> None:
        """As the node controller says of a node that does not answer."""
        condition = {
            "type": "Ready",
            "status": "Unknown",
            "lastHeartbeatTime": "2026-01-02T03:04:05Z",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
            "reason": "NodeStatusUnknown",
            "message": "",
        }
        body = {"status": {"conditions": [condition]}}
        await self.site.client.apply(Node, node, body, manager="test-kubelet", subresource="status")

    async def entry(self, address: str) -> BlockEntry | None:
        """What the block says, live."""
        for block in (await self.site.client.list(SpiderIPBlock)).items:
            if address in block.status.entries:
                return block.status.entries[address]
        return None

    def at_cloud(self, address: str) -> list[str]:
        """Nodes on whose interfaces the simulator has it."""
        return [
            node
            for node in self.site.nodes
            if any(address in addresses for addresses in self.site.interfaces(node).values())
        ]

    async def lacks(self, agent: StandInAgent, uid: str, address: str, node: str) -> str:
        """Why the pod has not ``address`` by all readings; empty when it has."""
        entry = await self.entry(address)
        if agent.fixed.get(uid) != address:
            return f"pod has {agent.fixed.get(uid)}"
        if self.at_cloud(address) != [node]:
            return f"{address} is on {self.at_cloud(address)} at the cloud"
        if entry is None or (entry.uid, entry.node, entry.cooling_since) != (uid, node, None):
            return f"block says {entry}"
        pool = await self.site.client.get(SpiderIPPool, f"{self.site.name}-fixed")
        told = parse_allocations(pool.status.allocated_ips if pool.status else None)
        if address not in told or told[address].pod_uid != uid:
            return f"pool says {told}"
        return ""

    async def events_of(self, pod: str) -> dict[str, list[str]]:
        """Reason → what was said about it."""
        said: dict[str, list[str]] = {}
        for event in await self.site.events(pod):
            said.setdefault(event.reason, []).append(event.message)
        return said

    async def unsaid(self, pod: str, reason: str, *words: str) -> str:
        """Empty once an Event of that reason has all words."""
        said = (await self.events_of(pod)).get(reason, [])
        return "" if any(all(word in text for word in words) for text in said) else f"{reason}: {said}"

    async def clean(self) -> None:
        """Removes what was made here, and what is recorded of the site's own subnets: others may be at work."""
        for kind, name, namespace in reversed(self.made):
            with contextlib.suppress(kube_errors.NotFound):
                await self.site.client.delete(kind, name, namespace)
        subnets = [ip_network(row["cidr"]) for row in self.site.sim.control("GET", "/table")["subnets"]]
        for block in (await self.site.client.list(SpiderIPBlock)).items:
            window = ip_network(block.spec.window)
            if any(subnet.overlaps(window) for subnet in subnets):
                with contextlib.suppress(kube_errors.NotFound):
                    await self.site.client.delete(SpiderIPBlock, block.metadata.name)
