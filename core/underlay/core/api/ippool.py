"""SpiderIPPool: addresses pods may get. Pure. Fields, defaults and status encoding are Spiderpool's.

Node pools (one per interface and family of a node) are made by the operator, which alone writes their ``spec``; the
node's agent alone gives out their addresses and alone writes their ``status``.
"""

from typing import Literal

import msgspec

from underlay.core.api.meta import API_VERSION, Natural, ObjectMeta, Selector, parse_map, render_map, wire_name

NODE_LABEL = "underlay.spidernet.io/node"
"""``node_label_value`` of the node a pool belongs to, or ``shared``."""
SHARED = "shared"
PROVIDER_ANNOTATION = "underlay.spidernet.io/provider"
"""On a shared pool: its addresses are that SpiderNetworkProvider's, brought to the node of whoever has one."""
INTERFACE_ANNOTATION = "underlay.spidernet.io/interface"
MAC_ANNOTATION = "underlay.spidernet.io/mac"


class Route(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``dst`` a CIDR, ``gw`` an address within the pool's subnet."""

    dst: str
    gw: str


class SpiderIPPoolSpec(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``ips`` and ``exclude_ips`` hold single addresses or inclusive ``start-end`` ranges.

    A name list replaces the affinity of the same subject.
    """

    subnet: str
    ip_version: Literal[4, 6] | None = None
    ips: list[str] | None = None
    exclude_ips: list[str] | None = msgspec.field(default=None, name="excludeIPs")
    gateway: str | None = None
    routes: list[Route] | None = None
    pod_affinity: Selector | None = None
    namespace_affinity: Selector | None = None
    node_affinity: Selector | None = None
    namespace_name: list[str] | None = None
    node_name: list[str] | None = None
    multus_name: list[str] | None = None
    default: bool = False
    disable: bool = False


class PoolAllocation(msgspec.Struct, frozen=True, kw_only=True):
    """One value of ``status.allocatedIPs``. ``pod`` is ``namespace/name``."""

    pod: str
    pod_uid: str = msgspec.field(name="podUid")


class SpiderIPPoolStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``allocated_ips`` is a JSON object as text, keyed by address (``render_allocations``); None: nothing is held."""

    allocated_ips: str | None = None
    total_ip_count: Natural | None = None
    allocated_ip_count: Natural | None = None


class SpiderIPPool(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Addresses that pods may get."""

    metadata: ObjectMeta
    spec: SpiderIPPoolSpec
    status: SpiderIPPoolStatus | None = None
    api_version: str = API_VERSION
    kind: str = "SpiderIPPool"


def render_allocations(allocations: dict[str, PoolAllocation]) -> str | None:
    """``status.allocatedIPs``, by address (``render_map``)."""
    return render_map(allocations)


def parse_allocations(text: str | None) -> dict[str, PoolAllocation]:
    """Inverse of ``render_allocations``."""
    return parse_map(text, PoolAllocation)
