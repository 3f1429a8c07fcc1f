"""Pods and pools of a node → how many addresses it needs. Known at pod binding, before any CNI call."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from underlay.core.api.ippool import SpiderIPPool, parse_allocations
from underlay.core.api.kubernetes import Pod
from underlay.core.cloud.model import IPAddress

_ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """``pods`` need or hold an address; ``held`` are the addresses in use."""

    pods: int
    held: frozenset[IPAddress]


def need(pods: Iterable[Pod], pools: Iterable[SpiderIPPool]) -> Need:
    """Pods bound to the node that will need an address, and pods that still hold one though they are gone."""
    wanting = {pod.metadata.uid for pod in pods if wants_address(pod)}
    held: set[IPAddress] = set()
    holding: set[str] = set()
    for pool in pools:
        for address, claim in parse_allocations(pool.status.allocated_ips if pool.status else None).items():
            held.add(ip_address(address))
            holding.add(claim.pod_uid)
    return Need(pods=len(wanting | holding), held=frozenset(held))


def wants_address(pod: Pod) -> bool:
    """A bound pod with a network of its own that has not ended."""
    ended = pod.status.phase in _ENDED
    return bool(pod.spec.node_name) and not pod.spec.host_network and not ended
