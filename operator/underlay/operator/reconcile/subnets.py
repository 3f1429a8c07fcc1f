"""Which subnets a new interface of a node may be made in, best first."""

from collections.abc import Collection, Iterable, Mapping

from underlay.core.api.networkprovider import SubnetSelector
from underlay.core.cloud.model import Instance, Subnet, SubnetQuery
from underlay.core.identity import SubnetId


def query(selector: SubnetSelector, instance: Instance) -> SubnetQuery:
    """What to ask the cloud: the ids, the tagged ones of the instance's zone, or the primary interface's own subnet."""
    if selector.ids:
        return SubnetQuery(ids=tuple(SubnetId(id_) for id_ in selector.ids), tags={})
    if selector.tags:
        return SubnetQuery(network=instance.network, zone=instance.zone, tags=selector.tags)
    primary = next(interface for interface in instance.interfaces if interface.primary)
    return SubnetQuery(ids=(primary.subnet,), tags={})


def fitting(subnets: Iterable[Subnet], asked: SubnetQuery) -> list[Subnet]:
    """Those that a query is about; they are known from many."""
    return [
        subnet
        for subnet in subnets
        if (subnet.id in asked.ids if asked.ids else all(subnet.tags.get(k) == v for k, v in asked.tags.items()))
    ]


def candidates(
    subnets: Collection[Subnet],
    selector: SubnetSelector,
    instance: Instance,
    blocked_until: Mapping[SubnetId, float],
    now: float,
) -> tuple[Subnet, ...]:
    """Those of the instance's zone that are not blocked, ordered by the provider's policy."""
    usable = [
        subnet
        for subnet in subnets
        if subnet.zone == instance.zone and blocked_until.get(subnet.id, now) <= now and subnet.free != 0
    ]
    match selector.policy:
        case "ordered":
            return tuple(sorted(usable, key=lambda subnet: (_place(selector.ids, subnet.id), subnet.id)))
        case "mostFree":
            return tuple(sorted(usable, key=lambda subnet: (-(subnet.free or 0), subnet.id)))
        case "spread":
            used = [interface.subnet for interface in instance.interfaces]
            return tuple(sorted(usable, key=lambda subnet: (used.count(subnet.id), -(subnet.free or 0), subnet.id)))


def _place(ids: list[str], subnet: str) -> int:
    return ids.index(subnet) if subnet in ids else len(ids)
