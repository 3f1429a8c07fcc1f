"""How a node gives addresses back: slowly, whole prefixes and whole interfaces where it can. Pure.

One release at a time, of one batch or one prefix. A prefix returns only as a whole: the one with the fewest addresses
in use is *drained*, its free addresses are fenced at once and the others as pods leave them. Only a subnet that is
empty takes back all idle addresses at once. Where IPv6 follows IPv4 its prefix goes when there is nothing to follow.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv6Network

from underlay.core.cloud import items
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import InterfaceState, IPAddress, IPNetwork, Kind, NetworkInterface, kind_of
from underlay.core.cloud.planning.actions import Delete, Release
from underlay.core.cloud.planning.pressure import Pressure
from underlay.core.cloud.planning.site import Berth, Site, families
from underlay.core.cloud.planning.view import NodeView

_BLOCK = Kind.IPV4_PREFIX.size


def delete_empty(view: NodeView, site: Site) -> Iterator[Delete]:
    """Interfaces of ours without anything that is a pod's or may become it, highest index first."""
    for berth in reversed(site.berths):
        interface = berth.interface
        seen = {item for id_, item in view.appeared if id_ == interface.id and item is not None}
        left = {item for item in items.of_interface(interface) | seen if not _goes_along(view, item)}
        alone = not any(id_ == interface.id and count for (id_, _), count in view.taken.items())
        if not left and alone and not interface.primary and interface.state is InterfaceState.IN_USE:
            yield Delete(interface=interface.id)


def drain(view: NodeView, site: Site, excess: int) -> Iterator[Release]:
    """What pods have left meanwhile of prefixes that are being drained, as far as the node can do without it."""
    for berth in reversed(site.berths):
        for prefix in _blocks(view, berth):
            if _drains(view, prefix) and 0 < len(rest := _idle(view, prefix)) <= excess:
                excess -= len(rest)
                yield Release(interface=berth.interface.id, items=frozenset({prefix}), fence=rest)


def release(view: NodeView, site: Site, excess: int, *, old: bool) -> Iterator[Release]:
    """The next of ``excess`` addresses of the leading family to go: one batch or one prefix, if any can.

    ``old``: they have been surplus for long enough; else only what is in an empty subnet goes. Single addresses go
    first where prefixes are wanted, prefixes where they are not; of both, those of the highest interface.
    """
    # What drains counts as usable while pods have it, and goes nevertheless.
    excess -= sum(
        items.count_in(prefix, view.held)
        for berth in site.berths
        for prefix in _blocks(view, berth)
        if _drains(view, prefix)
    )
    if view.asking or excess <= 0:
        return
    berths = [berth for berth in reversed(site.berths) if _ready(berth) and (old or _in_empty_subnet(view, berth))]
    batch, prefix = _one_batch(view, berths, excess), _one_prefix(view, berths, excess)
    first, second = (prefix, batch) if view.addresses.mode == "secondaryIP" else (batch, prefix)
    if chosen := first or second:
        yield chosen


def reclaim(view: NodeView, site: Site, excess: int) -> Iterator[Release]:
    """All of ``excess`` that is idle in empty subnets: single addresses, and prefixes nobody has an address of."""
    for berth in reversed(site.berths):
        if not _ready(berth) or not _in_empty_subnet(view, berth):
            continue
        going: set[Item] = set()
        fence: set[IPAddress] = set()
        for prefix in _blocks(view, berth):
            if excess >= _BLOCK and len(idle := _idle(view, prefix)) == _BLOCK:
                going.add(prefix)
                fence |= idle
                excess -= _BLOCK
        singles = sorted(_idle_singles(view, berth.interface, 4), reverse=True)[: max(excess, 0)]
        excess -= len(singles)
        if fence or singles:
            yield Release(
                interface=berth.interface.id, items=frozenset({*going, *singles}), fence=frozenset({*fence, *singles})
            )


def unfollowed(view: NodeView, site: Site) -> Iterator[Release]:
    """What follows, where there is less to follow: single addresses, and a prefix where there is nothing at all.

    (Of the primary interface; with every other one the prefix goes as the interface does.)
    """
    for berth in reversed(site.berths):
        if berth.following is not None and _ready(berth):
            along = {item for item in berth.interface.prefixes if _goes_along(view, item)}
            if along and berth.interface.primary and not berth.leading.own:
                # No pool lists it, hence nothing is fenced.
                yield Release(interface=berth.interface.id, items=frozenset[Item](along))
            extra = max(berth.following.usable - berth.leading.own, 0)
            going = sorted(_idle_singles(view, berth.interface, families(view)[1]), reverse=True)[:extra]
            if going:
                yield Release(interface=berth.interface.id, items=frozenset(going), fence=frozenset(going))


def _one_batch(view: NodeView, berths: Sequence[Berth], excess: int) -> Release | None:
    for berth in berths:
        if idle := sorted(_idle_singles(view, berth.interface, families(view)[0]), reverse=True):
            going = idle[: min(view.addresses.batch, excess)]
            return Release(interface=berth.interface.id, items=frozenset(going), fence=frozenset(going))
    return None


def _one_prefix(view: NodeView, berths: Sequence[Berth], excess: int) -> Release | None:
    """The one with the fewest addresses in use, if the node can do without all of it."""
    choice = [
        (items.count_in(prefix, view.held), berth.interface.id, prefix)
        for berth in berths
        for prefix in _blocks(view, berth)
        if (size := kind_of(prefix).size) <= excess
        and not _drains(view, prefix)
        and items.count_in(prefix, view.held) < size
    ]
    if not choice:
        return None
    _, interface, prefix = min(choice, key=lambda entry: entry[0])
    return Release(interface=interface, items=frozenset({prefix}), fence=_idle(view, prefix))


def _ready(berth: Berth) -> bool:
    return berth.interface.state is InterfaceState.IN_USE


def _in_empty_subnet(view: NodeView, berth: Berth) -> bool:
    return families(view)[0] == 4 and view.pressure(berth.interface.subnet) is Pressure.EMPTY


def _blocks(view: NodeView, berth: Berth) -> list[IPNetwork]:
    """Prefixes of the family that leads."""
    lead, *_ = families(view)
    every = [item for item in berth.interface.prefixes if item.version == lead]
    return sorted(every, key=lambda item: int(item.network_address), reverse=True)


def _drains(view: NodeView, prefix: IPNetwork) -> bool:
    return items.count_in(prefix, view.leaving) > 0


def _idle(view: NodeView, prefix: IPNetwork) -> frozenset[IPAddress]:
    return items.addresses({prefix}) - view.held - view.leaving


def _idle_singles(view: NodeView, interface: NetworkInterface, family: int) -> frozenset[IPAddress]:
    every = {address for address in interface.addresses if address.version == family}
    return frozenset(every) - view.held - view.leaving - view.floating


def _goes_along(view: NodeView, item: Item) -> bool:
    """A prefix of the family that follows: nobody has an address of it without one of the family that leads."""
    follows = len(families(view)) > 1 and isinstance(item, IPv6Network)
    return follows and not items.count_in(item, view.held)
