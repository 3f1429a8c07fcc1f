"""What to ask of the cloud for one node: observed, demand and limits → the cheapest calls, in order. Pure.

Growing is immediate: first on interfaces that have room (one call), then by interfaces created with their addresses
(several calls). Shrinking waits for ``release_delay_seconds`` of surplus and empties the interface of the highest
index first, so that whole interfaces return. What is not tagged as this cluster's own is never touched; of the primary
interface only secondary addresses are used, and only with ``use_primary``.

A plan holds each interface to one action; the shell carries out some or all of them, reads again and plans anew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from underlay.core.api.networkprovider import AddressPolicy, InterfacePolicy
from underlay.core.cloud import demand, tags
from underlay.core.cloud.model import (
    Instance,
    InstanceState,
    InterfaceState,
    IPAddress,
    Limits,
    NetworkInterface,
    Subnet,
)
from underlay.core.cloud.settle import Spot
from underlay.core.identity import InterfaceId, SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """Ask for ``count`` more secondary addresses."""

    interface: InterfaceId
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Make an interface with ``count`` secondary addresses and attach it."""

    subnet: SubnetId
    device_index: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Start the hand-over that takes ``addresses`` out of use, then unassign them."""

    interface: InterfaceId
    addresses: frozenset[IPAddress]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Detach and delete an interface that has no secondary address left."""

    interface: InterfaceId


Action = Assign | Create | Release | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """All that a plan depends on.

    ``subnets``: where addresses may be asked for now, best first; a blocked one is absent, then interfaces in it do
    not grow. ``held``: claimed or cooling at the agent. ``leaving``: named by a release under way. ``appeared``: what
    ``settle.Known`` does not believe yet; it takes room and keeps its interface from deletion. ``floating``: addresses
    of floating pools, which are no node pool's: they take room, are neither counted as usable nor released here.
    ``surplus_since``: since when every plan said ``surplus``.
    """

    instance: Instance
    limits: Limits
    cluster: str
    interface_policy: InterfacePolicy
    addresses: AddressPolicy
    subnets: tuple[Subnet, ...]
    pods: int
    cooling: int
    held: frozenset[IPAddress]
    leaving: frozenset[IPAddress]
    appeared: frozenset[Spot]
    floating: frozenset[IPAddress] = frozenset()
    now: float
    surplus_since: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``usable`` addresses are there for pods now, ``target`` should be. ``surplus``: some have not been needed.

    ``shortage`` says which limit keeps pods or the target from being served: its first word is ``instance``,
    ``policy``, ``interface`` or ``subnet``, the rest is for a person; empty when none does.
    """

    target: int
    usable: int
    actions: tuple[Action, ...]
    surplus: bool
    shortage: str = ""


def plan(view: NodeView) -> Plan:
    """The actions that bring the node to its target, cheapest first. Only a running instance gets any."""
    site = _survey(view)
    target = demand.target(pods=view.pods, cooling=view.cooling, policy=view.addresses, room=site.room)
    if view.instance.state is not InstanceState.RUNNING:
        shortage = f"instance: {view.instance.id} is {view.instance.state}, not running"
        return Plan(target=target, usable=site.usable, actions=(), surplus=False, shortage=shortage)

    lack = max(target - site.usable - site.coming, 0)
    growth = tuple(_grow(view, site, lack))
    shortage = _shortage(view, site, lack=lack, granted=sum(action.count for action in growth))
    if lack > 0:
        return Plan(target=target, usable=site.usable, actions=growth, surplus=False, shortage=shortage)

    # Demand keeps idle addresses to max_idle; up to as many may stay although demand alone would ask for fewer.
    keep = max(target, view.pods + view.cooling + view.addresses.max_idle) if view.addresses.max_idle else target
    excess = site.usable - keep
    due = view.surplus_since is not None and view.now - view.surplus_since >= view.addresses.release_delay_seconds
    actions = (*_delete_empty(view, site), *(_release(view, site, excess) if due else ()))
    return Plan(target=target, usable=site.usable, actions=actions, surplus=excess > 0, shortage=shortage)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """The view, counted. ``mine`` are the primary and this cluster's own; ``serving`` those of them that pods use, by
    device index.

    ``slots``: device indexes for new interfaces. ``spare``: places left on serving interfaces. ``coming`` addresses
    are on interfaces still being attached. ``room`` is what the node can have with all slots filled.
    """

    mine: tuple[NetworkInterface, ...]
    serving: tuple[NetworkInterface, ...]
    foreign: int
    slots: tuple[int, ...]
    spare: Mapping[InterfaceId, int]
    usable: int
    coming: int
    room: int
    per_interface: int


def _survey(view: NodeView) -> _Site:
    policy, attached = view.interface_policy, view.instance.interfaces
    mine = tuple(item for item in attached if item.primary or tags.is_owned(item, view.cluster))
    foreign = len(attached) - len(mine)
    serving = sorted(
        (
            item
            for item in mine
            if item.state in (InterfaceState.IN_USE, InterfaceState.ATTACHING)
            and (policy.use_primary or not item.primary)
        ),
        key=lambda item: (item.device_index or 0, item.id),
    )
    # Foreign interfaces are what slots are reserved for, so those already there use the reservation up.
    free = view.limits.interfaces - len(attached) - max(policy.reserved - foreign, 0)
    if policy.max > 0:
        free = min(free, policy.max - len(mine))
    indexes = {item.device_index for item in attached}
    slots = tuple(index for index in range(len(indexes) + max(free, 0)) if index not in indexes)[: max(free, 0)]
    per_interface = max(view.limits.ipv4_per_interface - 1, 0)
    ready = [item for item in serving if item.state is InterfaceState.IN_USE]
    return _Site(
        mine=mine,
        serving=tuple(serving),
        foreign=foreign,
        slots=slots,
        spare={item.id: max(per_interface - len(_ipv4(item.addresses) | _appeared(view, item)), 0) for item in ready},
        usable=sum(len(_usable(view, item)) for item in ready),
        coming=sum(len(_usable(view, item)) for item in serving if item.state is InterfaceState.ATTACHING),
        room=per_interface * (len(serving) + len(slots)),
        per_interface=per_interface,
    )


def _grow(view: NodeView, site: _Site, lack: int) -> Iterator[Assign | Create]:
    """Fills interfaces from the lowest index, then new ones; never beyond a limit or what a subnet has."""
    plenty = view.limits.interfaces * view.limits.ipv4_per_interface
    free = {subnet.id: plenty if subnet.free is None else subnet.free for subnet in view.subnets}
    for interface in site.serving:
        count = min(site.spare.get(interface.id, 0), free.get(interface.subnet, 0), lack)
        if count > 0:
            free[interface.subnet] -= count
            lack -= count
            yield Assign(interface=interface.id, count=count)
    for index in site.slots:
        wanted = min(site.per_interface, lack)
        subnet = _subnet_for(view, free, wanted)
        if wanted <= 0 or subnet is None:
            return
        # The interface takes one more than pods get: its own primary address.
        count = min(wanted, free[subnet.id] - 1)
        free[subnet.id] -= count + 1
        lack -= count
        yield Create(subnet=subnet.id, device_index=index, count=count)


def _subnet_for(view: NodeView, free: dict[SubnetId, int], count: int) -> Subnet | None:
    """The best subnet that has all of ``count`` and a primary address, else the one with most, if any."""
    near = [subnet for subnet in view.subnets if subnet.zone in ("", view.instance.zone) and free[subnet.id] >= 2]
    whole = [subnet for subnet in near if free[subnet.id] > count]
    return whole[0] if whole else max(near, key=lambda subnet: free[subnet.id], default=None)


def _release(view: NodeView, site: _Site, excess: int) -> Iterator[Release]:
    for interface in reversed(site.serving):
        idle = sorted(_usable(view, interface) - view.held, reverse=True)[: max(excess, 0)]
        if idle and interface.state is InterfaceState.IN_USE:
            excess -= len(idle)
            yield Release(interface=interface.id, addresses=frozenset(idle))


def _delete_empty(view: NodeView, site: _Site) -> Iterator[Delete]:
    for interface in reversed(site.serving):
        empty = not interface.addresses and not interface.prefixes and not _appeared(view, interface)
        if empty and not interface.primary and interface.state is InterfaceState.IN_USE:
            yield Delete(interface=interface.id)


def _shortage(view: NodeView, site: _Site, *, lack: int, granted: int) -> str:
    """Why part of ``lack`` cannot be asked for, or why even the whole target leaves no address for another pod."""
    limits, policy, used = view.limits, view.interface_policy, view.pods + view.cooling
    places = sum(site.spare.values()) + site.per_interface * len(site.slots)
    if granted < min(lack, places):
        asked = sorted({item.subnet for item in site.serving} | {subnet.id for subnet in view.subnets})
        where = f" (asked: {', '.join(asked)})" if asked else ""
        more = f"{lack - granted} more addresses are wanted"
        return f"subnet: {more}, no usable subnet of the node's zone has them free{where}"
    if granted < lack:
        return f"interface: {lack - granted} more addresses wait for an interface or address that is being released"
    if used < site.room:
        return ""
    if any(item.state in (InterfaceState.DETACHING, InterfaceState.AVAILABLE) for item in site.mine):
        return "interface: one more interface is possible as soon as another has been detached"
    if site.room < site.per_interface * (limits.interfaces - site.foreign):
        settings = f"max {policy.max}, reserved {policy.reserved}, usePrimary {str(policy.use_primary).lower()}"
        return f"policy: spec.interfaces ({settings}) leaves pods {site.room} addresses, {used} are in use"
    allowed = f"{limits.interfaces} interfaces of {limits.ipv4_per_interface} addresses"
    return f"instance: {view.instance.type} allows {allowed}, {site.room} of them for pods, {used} are in use"


def _usable(view: NodeView, interface: NetworkInterface) -> frozenset[IPAddress]:
    return _ipv4(interface.addresses) - view.leaving - view.floating


def _appeared(view: NodeView, interface: NetworkInterface) -> frozenset[IPAddress]:
    return frozenset(address for id_, address in view.appeared if id_ == interface.id and address is not None)


def _ipv4(addresses: frozenset[IPAddress]) -> frozenset[IPAddress]:
    return frozenset(address for address in addresses if isinstance(address, IPv4Address))
