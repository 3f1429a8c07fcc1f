"""Blocks that a provider keeps for fixed addresses → the pools of them that the operator makes. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from underlay.core.addresses import AddressRange, IPNetwork
from underlay.core.api.ippool import NODE_LABEL, PROVIDER_ANNOTATION, SHARED, SpiderIPPool, SpiderIPPoolSpec
from underlay.core.api.meta import API_VERSION, ObjectMeta, OwnerReference
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.cloud.model import Subnet, Use
from underlay.core.identity import SubnetId
from underlay.operator.reconcile import reservations

MADE_LABEL = "underlay.spidernet.io/made-for"
"""On a pool the operator made: ``reservation``. People's own pools are never touched."""
RESERVATION = "reservation"
RETIRING = "underlay.spidernet.io/retiring"
"""On such a pool: the operator disabled it, since its block is asked for no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolChanges:
    """``apply``: missing, of other addresses than the block's, or retiring and asked for again. ``retire``: their block
    is asked for no more.
    """

    apply: tuple[SpiderIPPool, ...]
    retire: tuple[SpiderIPPool, ...]


def wanted(provider: SpiderNetworkProvider, subnets: Mapping[SubnetId, Subnet]) -> tuple[SpiderIPPool, ...]:
    """One pool for each IPv4 block for fixed addresses that lies in a subnet known. Raises ``InvalidInput``."""
    wishes, _ = reservations.place(_blocks(provider), subnets.values())
    return tuple(_pool(provider, wish.cidr, subnets[wish.subnet]) for wish in wishes)


def changes(
    provider: SpiderNetworkProvider, pools: Iterable[SpiderIPPool], existing: Iterable[SpiderIPPool]
) -> PoolChanges:
    """``pools``: what is ``wanted``. What people changed otherwise stays, and so does the pool of a block whose subnet
    is not known yet.
    """
    asked = {pool_name(provider.metadata.name, block) for block in _blocks(provider)}
    have = {
        pool.metadata.name: pool
        for pool in existing
        if pool.metadata.labels.get(MADE_LABEL) == RESERVATION
        and pool.metadata.annotations.get(PROVIDER_ANNOTATION) == provider.metadata.name
        and pool.metadata.deletion_timestamp is None
    }
    by_name = {pool.metadata.name: pool for pool in pools}
    return PoolChanges(
        apply=tuple(pool for name, pool in by_name.items() if not _serves(have.get(name), pool)),
        retire=tuple(pool for name, pool in have.items() if name not in asked),
    )


def pool_name(provider: str, block: IPNetwork) -> str:
    """``aws-fixed-10-0-1-192-28``."""
    return f"{provider[:200]}-fixed-{block}".replace(".", "-").replace("/", "-")


def _pool(provider: SpiderNetworkProvider, block: IPNetwork, subnet: Subnet) -> SpiderIPPool:
    meta = provider.metadata
    cidr, gateway = next(
        (cidr, gateway)
        for cidr, gateway in zip(subnet.cidrs, subnet.gateways, strict=True)
        if cidr.version == 4 and block[0] in cidr
    )
    owner = OwnerReference(api_version=API_VERSION, kind=provider.kind, name=meta.name, uid=meta.uid or "")
    return SpiderIPPool(
        metadata=ObjectMeta(
            name=pool_name(meta.name, block),
            labels={NODE_LABEL: SHARED, MADE_LABEL: RESERVATION},
            annotations={PROVIDER_ANNOTATION: meta.name},
            owner_references=[owner],
        ),
        spec=SpiderIPPoolSpec(
            subnet=str(cidr),
            ip_version=4,
            ips=[str(AddressRange(block[0], block[-1]))],
            gateway=str(gateway) if gateway else None,
            default=True,
        ),
    )


def _blocks(provider: SpiderNetworkProvider) -> Mapping[IPNetwork, Use]:
    asked = reservations.parse(provider.spec.subnets.reservations)
    return {block: use for block, use in asked.items() if use is Use.FIXED and block.version == 4}


def _serves(pool: SpiderIPPool | None, wanted: SpiderIPPool) -> bool:
    return (
        pool is not None
        and (pool.spec.subnet, pool.spec.ips) == (wanted.spec.subnet, wanted.spec.ips)
        and RETIRING not in pool.metadata.annotations
    )
