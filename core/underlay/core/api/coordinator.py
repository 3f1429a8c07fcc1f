"""SpiderCoordinator: how a pod's routes, host access and Service traffic are arranged. Pure. Spiderpool's fields.

The same settings may be given per network in a SpiderMultusConfig (``spec.coordinator``).
"""

from typing import Annotated, Literal

import msgspec

from underlay.core.api.meta import API_VERSION, ObjectMeta, wire_name


class PolicyRoute(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``dst`` a network, ``gw`` an address of the same family."""

    dst: str
    gw: str


class CoordinatorSpec(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """How routes, host access and Service traffic of a pod are arranged.

    ``pod_cidr_type`` says where the cluster's pod networks are read from. ``hijack_cidr`` goes through the host.
    ``pod_mac_prefix`` is two octets, ``0a:1b``. ``pod_rp_filter`` below 0 and ``tx_queue_len`` 0 leave the kernel's
    value.
    """

    mode: Literal["auto", "underlay", "overlay", "disabled"] = "auto"
    pod_cidr_type: Literal["auto", "cluster", "calico", "cilium", "none"] | None = None
    hijack_cidr: list[str] | None = None
    policy_routes: list[PolicyRoute] | None = None
    pod_mac_prefix: str | None = None
    tune_pod_routes: bool = True
    pod_default_route_nic: str | None = None
    host_rule_table: int = 500
    pod_rp_filter: int = 0
    tx_queue_len: int = 0
    veth_link_address: str | None = None
    veth_mtu: Annotated[int, msgspec.Meta(ge=1)] | None = None


class SpiderCoordinatorStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``phase``: Synced or NotReady, then ``reason`` says why."""

    phase: str
    reason: str | None = None
    overlay_pod_cidr: list[str] | None = None
    service_cidr: list[str] | None = None


class SpiderCoordinator(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """How routes, host access and Service traffic of all pods are arranged."""

    metadata: ObjectMeta
    spec: CoordinatorSpec = CoordinatorSpec()
    status: SpiderCoordinatorStatus | None = None
    api_version: str = API_VERSION
    kind: str = "SpiderCoordinator"
