"""How many more pods can start: what the nodes of a provider have idle, can still get, and what its subnets have."""

from collections.abc import Iterable
from dataclasses import dataclass

from underlay.core.api.networkprovider import SubnetStatus
from underlay.core.api.nodenetwork import Demand

_NAMED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """``pods`` have or need an address, ``idle`` more could start at once, ``room`` more at all (the idle included)."""

    pods: int
    idle: int
    room: int


def outlook(demands: Iterable[Demand], free: int | None) -> Outlook:
    """``free`` addresses are left in all subnets of the provider, None: the cloud does not say.

    Each node tells what it could get if it were alone, so together they get no more than the subnets have.
    """
    pods = idle = more = 0
    for demand in demands:
        spare = max(demand.usable - demand.pods - demand.cooling, 0)
        pods += demand.pods
        idle += spare
        more += max(demand.room - spare, 0)
    return Outlook(pods=pods, idle=idle, room=idle + (more if free is None else min(more, free)))


def free(subnets: Iterable[SubnetStatus]) -> int | None:
    """Addresses left where something may be asked for; None as soon as the cloud does not say."""
    counts = [0 if subnet.blocked_until else subnet.free for subnet in subnets]
    known = [count for count in counts if count is not None]
    return sum(known) if counts and len(known) == len(counts) else None


def told(subnets: Iterable[SubnetStatus]) -> str:
    """The subnets in a line, scarce ones first."""
    order = {"empty": 0, "low": 1, "normal": 2}
    ordered = sorted(subnets, key=lambda subnet: (order[subnet.pressure], subnet.id))
    texts = [_told(subnet) for subnet in ordered[:_NAMED]]
    return ", ".join(texts) + (f", {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else "")


def _told(subnet: SubnetStatus) -> str:
    if subnet.blocked_until:
        return f"{subnet.id} exhausted, asked again {subnet.blocked_until}"
    left = "?" if subnet.free is None else str(subnet.free)
    blocks = f", no whole block until {subnet.no_prefix_until}" if subnet.no_prefix_until else ""
    return f"{subnet.id} {left} free{blocks}"
