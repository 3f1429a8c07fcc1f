"""How a fixed address comes to an interface of the node where it is wanted. Pure.

It can be on an interface of its own subnet only. In this order: it is there; an interface has a place free; another
interface may be attached; an idle address of a node pool may go. What is on its way is counted as being there
(``reserved``), so that the node's own plan does not fill the place.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from underlay.core.api.networkprovider import InterfacePolicy
from underlay.core.cloud import items, tags
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import (
    Instance,
    InstanceState,
    InterfaceState,
    IPAddress,
    Limits,
    NetworkInterface,
    Subnet,
    kind_of,
)
from underlay.core.cloud.planning import slots
from underlay.core.cloud.planning.slots import Slot
from underlay.core.identity import InterfaceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """One node. ``fixed``: addresses of its interfaces that are no node pool's. ``busy``: addresses of node pools that
    may not go now (held, cooling). ``leaving``: those about to go.
    """

    instance: Instance
    limits: Limits
    cluster: str
    policy: InterfacePolicy
    fixed: frozenset[IPAddress]
    busy: frozenset[IPAddress]
    leaving: frozenset[IPAddress]


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """It is on ``interface``."""

    interface: InterfaceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Bring:
    """Assign it to ``interface``, which has a place."""

    interface: InterfaceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Make an interface in ``subnet`` first."""

    subnet: Subnet
    slot: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeRoom:
    """Have ``item``, which nobody uses, released from ``interface`` first."""

    interface: InterfaceId
    item: Item


@dataclass(frozen=True, slots=True, kw_only=True)
class OnTheWay:
    """Nothing to do but wait for ``what``; ``interface``: where the place will be."""

    interface: InterfaceId
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """It cannot come here; ``why`` begins with what is in the way: ``zone``, ``instance`` or ``room``."""

    why: str


Way = Here | Bring | Attach | MakeRoom | OnTheWay | Blocked


def way(ground: Ground, address: IPAddress, subnet: Subnet) -> Way:
    """The next step that brings ``address`` of ``subnet`` to the node."""
    instance, mine = ground.instance, tuple(_mine(ground))
    here = next((interface for interface in mine if address in interface.addresses), None)
    if here is not None:
        return Here(interface=here.id)
    if subnet.zone not in ("", instance.zone):
        return Blocked(
            why=f"zone: {address} is of subnet {subnet.id} in zone {subnet.zone}, the node is in zone {instance.zone}"
        )
    if instance.state is not InstanceState.RUNNING:
        return Blocked(why=f"instance: {instance.id} is {instance.state}, not running")
    fitting = tuple(interface for interface in mine if interface.subnet == subnet.id)
    return _by_what_is_free(ground, fitting, subnet) or _by_what_goes(ground, fitting, address, subnet)


def _by_what_is_free(ground: Ground, fitting: tuple[NetworkInterface, ...], subnet: Subnet) -> Way | None:
    for interface in fitting:
        if interface.state is InterfaceState.IN_USE and _places(ground, interface) > 0:
            return Bring(interface=interface.id)
    for interface in fitting:
        if interface.state is InterfaceState.ATTACHING:
            return OnTheWay(interface=interface.id, what=f"interface {interface.id} to be attached")
    slot = next(iter(_slots(ground)), None)
    return Attach(subnet=subnet, slot=slot) if slot is not None else None


def _by_what_goes(
    ground: Ground, fitting: tuple[NetworkInterface, ...], address: IPAddress, subnet: Subnet
) -> OnTheWay | MakeRoom | Blocked:
    ready = [interface for interface in fitting if interface.state is InterfaceState.IN_USE]
    for interface in ready:
        if any(items.within(item, ground.leaving) for item in items.of_interface(interface)):
            return OnTheWay(interface=interface.id, what=f"a place on {interface.id}, where an address is released")
    for interface in ready:
        idle = [
            item
            for item in items.of_interface(interface)
            if item.version == address.version and not items.within(item, ground.busy) and item not in ground.fixed
        ]
        if idle:
            return MakeRoom(interface=interface.id, item=max(idle, key=_dearness))
    if not fitting:
        machine = f"{ground.instance.id} ({ground.instance.type})"
        return Blocked(why=f"instance: {machine} has no interface in subnet {subnet.id}, and can have no more")
    return Blocked(why=f"room: every place of {', '.join(item.id for item in fitting)} is used by a pod")


def making_room(ground: Ground, step: MakeRoom | OnTheWay) -> frozenset[Item]:
    """What gives its place on that interface to a fixed address, or has been asked to."""
    if isinstance(step, MakeRoom):
        return frozenset({step.item})
    found = next((item for item in ground.instance.interfaces if item.id == step.interface), None)
    there = items.of_interface(found) if found is not None else frozenset()
    going = sorted((item for item in there if items.within(item, ground.leaving)), key=_dearness)
    return frozenset(going[-1:])


def reserved(instance: Instance, coming: Mapping[IPAddress, InterfaceId], going: frozenset[Item]) -> Instance:
    """``instance`` as if what is ``coming`` were there, and what is ``going`` to make room for it were not."""
    if not coming:
        return instance
    return replace(
        instance,
        interfaces=tuple(
            items.having(
                each,
                (items.of_interface(each) - going) | {address for address, at in coming.items() if at == each.id},
            )
            for each in instance.interfaces
        ),
    )


def _mine(ground: Ground) -> Iterator[NetworkInterface]:
    """Interfaces that pods may use, by device index."""
    for item in sorted(ground.instance.interfaces, key=lambda item: (item.device_index or 0, item.id)):
        if tags.is_managed(item, ground.cluster) and (ground.policy.use_primary or not item.primary):
            yield item


def _places(ground: Ground, interface: NetworkInterface) -> int:
    used = sum(item.version == 4 for item in (*interface.addresses, *interface.prefixes))
    return ground.limits.ipv4_per_interface - 1 - used


def _slots(ground: Ground) -> tuple[Slot, ...]:
    """Where another interface may be attached."""
    policy, attached = ground.policy, ground.instance.interfaces
    foreign = sum(not item.primary and not tags.is_owned(item, ground.cluster) for item in attached)
    most = ground.limits.interfaces - len(attached) - max(policy.reserved - foreign, 0)
    if policy.max > 0:
        most = min(most, policy.max - (len(attached) - foreign))
    return slots.free(ground.instance, ground.limits, most=max(most, 0))


def _dearness(item: Item) -> tuple[int, int]:
    """Single addresses before prefixes, then the highest."""
    first = item if isinstance(item, IPv4Address | IPv6Address) else item.network_address
    return -kind_of(item).size, int(first)
