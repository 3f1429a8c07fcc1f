"""SpiderSubnet: a range of addresses that pools are cut from, by hand or per application. Pure. Spiderpool's fields."""

from typing import Literal

import msgspec

from underlay.core.api.ippool import Route
from underlay.core.api.meta import API_VERSION, Natural, ObjectMeta, parse_map, render_map, wire_name


class SpiderSubnetSpec(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``ips`` and ``exclude_ips`` hold single addresses or inclusive ``start-end`` ranges."""

    subnet: str
    ip_version: Literal[4, 6] | None = None
    ips: list[str] | None = None
    exclude_ips: list[str] | None = msgspec.field(default=None, name="excludeIPs")
    gateway: str | None = None
    routes: list[Route] | None = None


class PoolShare(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One value of ``status.controlledIPPools``: the ranges a pool was given.

    ``application`` names whom an automatic pool serves: ``apps_v1_Deployment_namespace_name``, without the group for
    the core one.
    """

    ips: list[str]
    application: str | None = None


class SpiderSubnetStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``controlled_ip_pools`` is a JSON object as text, keyed by pool (``render_shares``); None: no pool.

    ``allocated_ip_count`` counts the addresses given to pools, not those given to pods.
    """

    controlled_ip_pools: str | None = None
    total_ip_count: Natural | None = None
    allocated_ip_count: Natural | None = None


class SpiderSubnet(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """A range of addresses that pools are cut from."""

    metadata: ObjectMeta
    spec: SpiderSubnetSpec
    status: SpiderSubnetStatus | None = None
    api_version: str = API_VERSION
    kind: str = "SpiderSubnet"


def render_shares(shares: dict[str, PoolShare]) -> str | None:
    """``status.controlledIPPools``, by pool (``render_map``)."""
    return render_map(shares)


def parse_shares(text: str | None) -> dict[str, PoolShare]:
    """Inverse of ``render_shares``."""
    return parse_map(text, PoolShare)
