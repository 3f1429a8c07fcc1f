"""Interfaces of a node → its SpiderIPPools: one per interface and family, made and shaped by the operator alone."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec import structs

from underlay.core.addresses import RangeSet
from underlay.core.api.ippool import (
    INTERFACE_ANNOTATION,
    MAC_ANNOTATION,
    NODE_LABEL,
    SpiderIPPool,
    SpiderIPPoolSpec,
    parse_allocations,
)
from underlay.core.api.meta import API_VERSION, ObjectMeta, OwnerReference
from underlay.core.api.nodenetwork import InterfaceStatus, SpiderNodeNetwork
from underlay.core.cloud import items
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import IPAddress
from underlay.core.identity import node_label_value

CIDR_LABEL = "ipam.spidernet.io/ippool-cidr"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolWrites:
    """What makes the pools as desired, in this order."""

    create: tuple[SpiderIPPool, ...]
    reshape: tuple[SpiderIPPool, ...]
    delete: tuple[SpiderIPPool, ...]


def desired(
    network: SpiderNodeNetwork, interfaces: Iterable[InterfaceStatus], *, use_primary: bool
) -> tuple[SpiderIPPool, ...]:
    """The pools of a node, in order of its families. An interface without addresses for pods has none.

    Where pods get both families an interface without IPv4 addresses has no IPv6 pool either: no pod could use it.
    """
    families = sorted(4 if name == "ipv4" else 6 for name in network.spec.families)
    found = []
    for interface in interfaces:
        if not interface.managed or interface.state != "in-use" or (interface.primary and not use_primary):
            continue
        had = [items.parse(text) for text in (*interface.addresses, *interface.prefixes)]
        of_family = {family: [item for item in had if item.version == family] for family in families}
        if of_family[families[0]]:
            found += [_pool(network, interface, family, of_family[family]) for family in families if of_family[family]]
    return tuple(found)


def writes(wanted: Sequence[SpiderIPPool], existing: Iterable[SpiderIPPool]) -> PoolWrites:
    """What turns ``existing`` (this node's pools) into ``wanted``. A pool that holds an address is never deleted."""
    have = {pool.metadata.name: pool for pool in existing if pool.metadata.deletion_timestamp is None}
    names = {pool.metadata.name for pool in wanted}
    return PoolWrites(
        create=tuple(pool for pool in wanted if pool.metadata.name not in have),
        reshape=tuple(
            pool
            for pool in wanted
            if (held := have.get(pool.metadata.name)) is not None and held.spec.ips != pool.spec.ips
        ),
        delete=tuple(pool for name, pool in have.items() if name not in names and not holds(pool)),
    )


def without(pool: SpiderIPPool, gone: frozenset[IPAddress]) -> SpiderIPPool | None:
    """The pool lacking ``gone``; None when it lists none of them."""
    return reshaped(pool, ips=addresses(pool).difference(RangeSet.of(gone)).render())


def reshaped(pool: SpiderIPPool, *, ips: list[str] | None) -> SpiderIPPool | None:
    """The pool listing ``ips``; None when it does already."""
    return None if pool.spec.ips == ips else structs.replace(pool, spec=structs.replace(pool.spec, ips=ips))


def holds(pool: SpiderIPPool) -> bool:
    """Some pod has an address of the pool."""
    return bool(parse_allocations(pool.status.allocated_ips if pool.status else None))


def addresses(pool: SpiderIPPool) -> RangeSet:
    """The addresses a pool lists."""
    return RangeSet.parse(pool.spec.ips or [], field="spec.ips")


def pool_name(node: str, interface: str, family: int) -> str:
    """Readable, and within the 253 characters of an object's name."""
    return f"{node[:200]}-{interface}-v{family}".lower()


def _pool(network: SpiderNodeNetwork, interface: InterfaceStatus, family: int, has: Iterable[Item]) -> SpiderIPPool:
    """Without a gateway the agent learns it from the network."""
    cidr, gateway = interface.ipv4_cidr, interface.ipv4_gateway
    if family == 6:
        cidr, gateway = interface.ipv6_cidr, interface.ipv6_gateway
    return SpiderIPPool(
        metadata=_metadata(network, interface, family, cidr),
        spec=SpiderIPPoolSpec(
            subnet=cidr,
            ip_version=4 if family == 4 else 6,
            ips=RangeSet(items.served(item) for item in has).render(),
            gateway=gateway or None,
            node_name=[network.metadata.name],
            default=True,
            disable=False,
        ),
    )


def _metadata(network: SpiderNodeNetwork, interface: InterfaceStatus, family: int, cidr: str) -> ObjectMeta:
    node = network.metadata.name
    owner = OwnerReference(api_version=API_VERSION, kind=network.kind, name=node, uid=network.metadata.uid or "")
    return ObjectMeta(
        name=pool_name(node, interface.id, family),
        labels={NODE_LABEL: node_label_value(node), CIDR_LABEL: re.sub(r"[.:/]", "-", cidr)},
        annotations={INTERFACE_ANNOTATION: interface.id, MAC_ANNOTATION: interface.mac},
        owner_references=[owner],
    )
