"""Which subnets a new interface of a node may be made in, best first."""

from collections.abc import Collection, Iterable, Mapping

from underlay.core.api.networkprovider import SubnetSelector
from underlay.core.cloud.model import Instance, Subnet, SubnetQuery
from underlay.core.identity import SubnetId

ROLE = "kubernetes.io/role/cni"
"""Tag of a subnet: ``1``, pods may have its addresses; ``0``, they may not. EKS's tools read it, too."""


def query(selector: SubnetSelector, instance: Instance) -> SubnetQuery:
    """What to ask the cloud: the ids, the tagged ones of the instance's zone, or all of that zone, to discover those
    that are meant for pods.
    """
    if selector.ids:
        return SubnetQuery(ids=tuple(SubnetId(id_) for id_ in selector.ids), tags={})
    return SubnetQuery(network=instance.network, zone=instance.zone, tags=selector.tags)


def fits(subnet: Subnet, selector: SubnetSelector, instance: Instance) -> bool:
    """The selector means the subnet, for a node that is ``instance``. Without ids and tags: the subnet of its primary
    interface unless ``ROLE`` is 0, and those of its network and zone with ``ROLE`` 1.
    """
    if selector.ids:
        return subnet.id in selector.ids
    if (subnet.network, subnet.zone) != (instance.network, instance.zone):
        return False
    if selector.tags:
        return all(subnet.tags.get(name) == value for name, value in selector.tags.items())
    own = any(interface.primary and interface.subnet == subnet.id for interface in instance.interfaces)
    role = subnet.tags.get(ROLE)
    return role == "1" or (own and role != "0")


def fitting(subnets: Iterable[Subnet], selector: SubnetSelector, instance: Instance) -> list[Subnet]:
    """Those that the selector means; they are known from many questions."""
    return [subnet for subnet in subnets if fits(subnet, selector, instance)]


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
