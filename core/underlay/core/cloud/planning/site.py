"""A node's view, counted: which interfaces serve pods, with how much of each family, and what they could have. Pure.

The scarce family leads: IPv4 where pods get it, else IPv6. The other *follows*: a pod takes all its addresses from one
interface, so an interface needs as many pod addresses of it as of the leading one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from underlay.core.cloud import items, tags
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import InterfaceState, Kind, NetworkInterface, kind_of
from underlay.core.cloud.planning import slots
from underlay.core.cloud.planning.pressure import Pressure
from underlay.core.cloud.planning.slots import Slot
from underlay.core.cloud.planning.view import NodeView
from underlay.core.identity import SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What an interface has of one family. ``usable`` pod addresses; ``own``: also those that leave or are not believed
    yet. ``spare``: places for more, each for one address or prefix.
    """

    usable: int
    own: int
    spare: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Berth:
    """An interface that pods use. ``leading`` and ``following`` are its stocks; no follower: None."""

    interface: NetworkInterface
    leading: Stock
    following: Stock | None
    room: int

    @property
    def ready(self) -> bool:
        """It carries traffic."""
        return self.interface.state is InterfaceState.IN_USE

    @property
    def usable(self) -> int:
        """Pods it can serve."""
        return self.leading.usable if self.following is None else min(self.leading.usable, self.following.usable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """``mine`` are the primary and this cluster's own; ``berths`` those that pods use, by card and device index.

    ``slots``: places for new interfaces, ``barred`` ones that the account has no quota for. ``usable`` pods can be
    served now, ``coming`` ones by interfaces being attached. ``leading``: addresses of the leading family that count
    against the target. ``room`` is what the node can serve with all slots filled, ``per_slot`` what one more interface
    can. ``kind`` is how most of it would be got.
    """

    mine: tuple[NetworkInterface, ...]
    berths: tuple[Berth, ...]
    foreign: int
    slots: tuple[Slot, ...]
    barred: int
    usable: int
    coming: int
    leading: int
    room: int
    per_slot: int
    kind: Kind
    pressure: Pressure


def families(view: NodeView) -> tuple[int, ...]:
    """4, 6 or both, the leading one first."""
    return tuple(sorted({4 if name == "ipv4" else 6 for name in view.addresses.families}))


def kind_in(view: NodeView, family: int, subnet: SubnetId) -> Kind:
    """How addresses of a family are got in a subnet: by mode, what the type can have, and what is left there."""
    address, prefix = (Kind.IPV4, Kind.IPV4_PREFIX) if family == 4 else (Kind.IPV6, Kind.IPV6_PREFIX)
    match view.addresses.mode:
        case "secondaryIP":
            return address
        case "prefix":
            return prefix
        case "auto":
            scarce = family == 4 and (view.whole_blocks.get(subnet, 1) < 1 or view.pressure(subnet) > Pressure.NORMAL)
            return prefix if view.limits.prefixes and not scarce else address


def possible(view: NodeView, kind: Kind, subnet: SubnetId) -> bool:
    """The type and the subnet can have it; of no subnet at all that is taken for granted."""
    return (view.limits.prefixes or not kind.is_prefix) and (kind.family == 4 or not subnet or view.has_ipv6(subnet))


def places(view: NodeView, family: int) -> int:
    """Places for pods' addresses and prefixes on an interface; its own address takes one of IPv4."""
    return max(view.limits.ipv4_per_interface - 1, 0) if family == 4 else view.limits.ipv6_per_interface


def survey(view: NodeView) -> Site:
    """See ``Site``."""
    policy, attached = view.interface_policy, view.instance.interfaces
    mine = tuple(item for item in attached if tags.is_managed(item, view.cluster))
    foreign = len(attached) - len(mine)
    serving = sorted(
        (
            item
            for item in mine
            if item.state in (InterfaceState.IN_USE, InterfaceState.ATTACHING)
            and (policy.use_primary or not item.primary)
        ),
        key=lambda item: (item.network_card, item.device_index or 0, item.id),
    )
    # Foreign interfaces are what slots are reserved for, so those already there use the reservation up.
    most = view.limits.interfaces - len(attached) - max(policy.reserved - foreign, 0)
    if policy.max > 0:
        most = min(most, policy.max - len(mine))
    places_left = slots.free(view.instance, view.limits, most=max(most, 0))
    free, barred = ((), places_left) if view.account_full else (places_left, ())
    berths = tuple(_berth(view, item) for item in serving)
    near = next((item.id for item in view.subnets if item.zone in ("", view.instance.zone)), SubnetId(""))
    per_slot = min(_capacity(view, family, near) for family in families(view))
    return Site(
        mine=mine,
        berths=berths,
        foreign=foreign,
        slots=free,
        barred=len(barred),
        usable=sum(berth.usable for berth in berths if berth.ready),
        coming=sum(berth.usable for berth in berths if not berth.ready),
        leading=sum(min(berth.leading.usable, berth.room) for berth in berths),
        room=sum(berth.room for berth in berths) + per_slot * len(free),
        per_slot=per_slot,
        kind=_usual_kind(view, berths, near, can_make=bool(free)),
        pressure=_pressure(view, berths, can_make=bool(free)),
    )


def usable_in(view: NodeView, item: Item) -> int:
    """Pod addresses of an item that neither leave nor belong to somebody."""
    kept_away = items.count_in(item, view.leaving) + items.count_in(item, view.floating)
    return max(kind_of(item).size - kept_away, 0)


def _berth(view: NodeView, interface: NetworkInterface) -> Berth:
    first, *others = (_stock(view, interface, family) for family in families(view))
    kinds = [kind_in(view, family, interface.subnet) for family in families(view)]
    capacities = [
        stock.own + (stock.spare * kind.size if possible(view, kind, interface.subnet) else 0)
        for stock, kind in zip((first, *others), kinds, strict=True)
    ]
    return Berth(interface=interface, leading=first, following=others[0] if others else None, room=min(capacities))


def _stock(view: NodeView, interface: NetworkInterface, family: int) -> Stock:
    have = _of_family(items.of_interface(interface), family)
    seen = _of_family((item for id_, item in view.appeared if id_ == interface.id and item is not None), family)
    floating = {item for item in have if item in view.floating}
    return Stock(
        usable=sum(usable_in(view, item) for item in have),
        own=sum(kind_of(item).size for item in (have | seen) - floating),
        spare=max(places(view, family) - len(have | seen) - view.taken.get((interface.id, family), 0), 0),
    )


def _of_family(every: Iterable[Item], family: int) -> set[Item]:
    return {item for item in every if item.version == family}


def _capacity(view: NodeView, family: int, subnet: SubnetId) -> int:
    kind = kind_in(view, family, subnet)
    return places(view, family) * kind.size if possible(view, kind, subnet) else 0


def _usual_kind(view: NodeView, berths: tuple[Berth, ...], near: SubnetId, *, can_make: bool) -> Kind:
    """By which the target is rounded: that of the first interface that can grow, else of new ones."""
    family = families(view)[0]
    candidates = {subnet.id for subnet in view.subnets}
    for berth in berths:
        if berth.leading.spare and berth.interface.subnet in candidates:
            return kind_in(view, family, berth.interface.subnet)
    return kind_in(view, family, near if can_make or not berths else berths[0].interface.subnet)


def _pressure(view: NodeView, berths: tuple[Berth, ...], *, can_make: bool) -> Pressure:
    """The mildest among the subnets the node can grow in, but ``EMPTY`` while it keeps idle addresses of an empty one:
    they would be held on to for a target that other subnets can serve.
    """
    if families(view)[0] == 6:
        return Pressure.NORMAL
    homes = {berth.interface.subnet for berth in berths}
    if any(view.pressure(berth.interface.subnet) is Pressure.EMPTY and _idle(view, berth) for berth in berths):
        return Pressure.EMPTY
    offered = {subnet.id for subnet in view.subnets if subnet.zone in ("", view.instance.zone)}
    spared = {berth.interface.subnet for berth in berths if berth.leading.spare}
    ways = offered if can_make else spared & offered
    return min(map(view.pressure, ways), default=max(map(view.pressure, homes), default=Pressure.NORMAL))


def _idle(view: NodeView, berth: Berth) -> bool:
    held = sum(
        items.count_in(item, view.held) for item in _of_family(items.of_interface(berth.interface), families(view)[0])
    )
    return berth.leading.own > held
