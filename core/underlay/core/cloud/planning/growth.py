"""How a node gets more addresses: the cheapest calls first. Pure.

First on interfaces that have room (one call), then by interfaces created with what they need (several calls). What
follows on an interface is brought up to what leads there, whether the node grows or not.
"""

from collections.abc import Iterator
from math import ceil

from underlay.core.cloud.model import Kind, Subnet
from underlay.core.cloud.planning.actions import Assign, Create
from underlay.core.cloud.planning.pressure import Pressure
from underlay.core.cloud.planning.site import Berth, Site, families, kind_in, places, possible
from underlay.core.cloud.planning.view import NodeView
from underlay.core.identity import SubnetId

Growth = Assign | Create
_PLENTY = 1 << 32


def grow(view: NodeView, site: Site, lack: int, *, needed: int) -> Iterator[Growth]:
    """Calls for ``lack`` more addresses of the leading family; never beyond a limit or what a subnet has.

    Interfaces are filled from the lowest index, new ones follow. An empty subnet is asked for those that are ``needed``
    alone: what was spare would go back there at once.
    """
    lead, *_ = families(view)
    free = {subnet.id: _PLENTY if subnet.free is None else subnet.free for subnet in view.subnets}
    for berth in site.berths:
        if berth.ready:
            kind = kind_in(view, lead, berth.interface.subnet)
            most = needed if _is_empty(view, berth.interface.subnet) else lack
            count = _more(view, berth, kind, free, min(most, lack))
            free[berth.interface.subnet] = free.get(berth.interface.subnet, 0) - _taken(kind, count)
            lack, needed = lack - count * kind.size, needed - count * kind.size
            if count:
                yield Assign(interface=berth.interface.id, kind=kind, count=count)
            yield from _followers(view, berth, berth.leading.usable + count * kind.size)
    for slot in site.slots:
        if lack <= 0 or (found := _best(view, free, lack, needed)) is None:
            return
        subnet, kind, count = found
        wanted = {kind: count, **_beside(view, subnet, count * kind.size)}
        # The interface takes one more than pods get: its own primary address.
        free[subnet] -= _taken(kind, count) + 1
        lack, needed = lack - count * kind.size, needed - count * kind.size
        yield Create(subnet=subnet, device_index=slot.device_index, network_card=slot.network_card, wanted=wanted)


def gain(view: NodeView, action: Growth) -> int:
    """Addresses of the leading family that an action brings."""
    wanted = {action.kind: action.count} if isinstance(action, Assign) else action.wanted
    lead, *_ = families(view)
    return sum(count * kind.size for kind, count in wanted.items() if kind.family == lead)


def _more(view: NodeView, berth: Berth, kind: Kind, free: dict[SubnetId, int], lack: int) -> int:
    """How many of ``kind`` an interface can get and is asked for."""
    subnet = berth.interface.subnet
    if lack <= 0 or not possible(view, kind, subnet) or (kind.family == 4 and subnet not in free):
        return 0
    # What cannot be followed serves no pod. A stock that is being released makes no way for more.
    followed = (berth.room - berth.leading.own) // kind.size
    return max(
        min(berth.leading.spare, followed, _given(view, kind, subnet, free.get(subnet, 0)), ceil(lack / kind.size)), 0
    )


def _given(view: NodeView, kind: Kind, subnet: SubnetId, free: int) -> int:
    """How many of ``kind`` a subnet with ``free`` IPv4 addresses gives with one call."""
    if kind.family == 6:
        return _PLENTY
    most = free // kind.size
    return min(most, view.whole_blocks.get(subnet, most)) if kind.is_prefix else most


def _followers(view: NodeView, berth: Berth, leading: int) -> Iterator[Assign]:
    if berth.following is None:
        return
    kind = kind_in(view, families(view)[1], berth.interface.subnet)
    count = min(ceil((leading - berth.following.usable) / kind.size), berth.following.spare)
    if count > 0 and possible(view, kind, berth.interface.subnet):
        yield Assign(interface=berth.interface.id, kind=kind, count=count)


def _best(view: NodeView, free: dict[SubnetId, int], lack: int, needed: int) -> tuple[SubnetId, Kind, int] | None:
    """The best subnet that has all that is wanted of a new interface, else the one with most, if any."""
    offers: list[tuple[SubnetId, Kind, int]] = []
    for subnet in view.subnets:
        if subnet.zone in ("", view.instance.zone):
            most = needed if _is_empty(view, subnet.id) else lack
            wanted, offer = _offer(view, subnet, free[subnet.id], lack, most)
            if wanted and offer[2] == wanted:
                return offer
            offers.append(offer)
    best = max(offers, key=lambda offer: offer[2] * offer[1].size, default=None)
    return best if best and best[2] > 0 else None


def _offer(view: NodeView, subnet: Subnet, free: int, lack: int, most: int) -> tuple[int, tuple[SubnetId, Kind, int]]:
    """What an interface in a subnet should come with, and what it can; ``most`` addresses are asked of the subnet."""
    lead, *others = families(view)
    kind = kind_in(view, lead, subnet.id)
    wanted = min(places(view, lead), ceil(lack / kind.size)) if possible(view, kind, subnet.id) else 0
    for family in others:
        follower = kind_in(view, family, subnet.id)
        beside = places(view, family) * follower.size if possible(view, follower, subnet.id) else 0
        wanted = min(wanted, beside // kind.size)
    given = _given(view, kind, subnet.id, free - 1) if free > 0 else 0
    return wanted, (subnet.id, kind, max(min(wanted, given, ceil(most / kind.size)), 0))


def _is_empty(view: NodeView, subnet: SubnetId) -> bool:
    return families(view)[0] == 4 and view.pressure(subnet) is Pressure.EMPTY


def _beside(view: NodeView, subnet: SubnetId, leading: int) -> dict[Kind, int]:
    kinds = [kind_in(view, family, subnet) for family in families(view)[1:]]
    return {kind: ceil(leading / kind.size) for kind in kinds}


def _taken(kind: Kind, count: int) -> int:
    """IPv4 addresses of the subnet."""
    return count * kind.size if kind.family == 4 else 0
