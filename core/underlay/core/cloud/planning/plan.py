"""What to ask of the cloud for one node: observed, demand and limits → the cheapest calls, in order. Pure.

Growing is immediate (``growth``), shrinking waits for ``release_delay_seconds`` of surplus and goes in small steps
(``shrinking``), except in a subnet that is empty. A cordoned node gets what the pods bound to it need and gives nothing
back. What is not tagged as this cluster's own is never touched, nor what a service of the cloud runs; of the primary
interface only secondary addresses and prefixes are used, and only with ``use_primary``.

A plan asks each kind of an interface once; the shell carries out some or all of it, reads again and plans anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from underlay.core.cloud.model import InstanceState, Kind
from underlay.core.cloud.planning import demand, shrinking
from underlay.core.cloud.planning.actions import Action, Delete, Release
from underlay.core.cloud.planning.growth import gain, grow
from underlay.core.cloud.planning.pressure import Pressure
from underlay.core.cloud.planning.shortage import shortage
from underlay.core.cloud.planning.site import Site, survey
from underlay.core.cloud.planning.view import NodeView
from underlay.core.identity import InterfaceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``usable`` pods can have their addresses now, ``target`` should; ``lack`` addresses are neither there nor coming.
    ``room``: so many more pods the node can get addresses for at most, by its own limits and what subnets have.

    ``surplus``: some have not been needed. ``ripe_seconds`` after the view's ``now`` they will have been surplus for
    long enough; None: there are none, or they have been by now. ``shortage`` says which limit keeps pods or the target
    from being served: its first word is ``instance``, ``policy``, ``interface``, ``subnet`` or ``account``, the rest is
    for a person; empty when none does.
    """

    target: int
    usable: int
    lack: int = 0
    room: int = 0
    actions: tuple[Action, ...]
    surplus: bool
    ripe_seconds: float | None = None
    shortage: str = ""


def plan(view: NodeView) -> Plan:
    """The actions that bring the node to its target, cheapest first. Only a running instance gets any."""
    site, used = survey(view), view.pods + view.cooling
    target = _target(view, site, site.kind, site.pressure)
    if view.instance.state is not InstanceState.RUNNING:
        text = f"instance: {view.instance.id} is {view.instance.state}, not running"
        return Plan(target=target, usable=site.usable, actions=(), surplus=False, shortage=text)

    lack = max(target - site.leading, 0)
    needed = max(_target(view, site, site.kind, Pressure.EMPTY) - site.leading, 0)
    growth = tuple(grow(view, site, lack, needed=needed))
    text = shortage(view, site, lack=lack, granted=sum(gain(view, action) for action in growth))
    decided = Plan(
        target=target,
        usable=site.usable,
        lack=lack,
        room=max(_most(view, site) - used, 0),
        actions=growth,
        surplus=False,
        shortage=text,
    )
    if growth or lack or view.cordoned:
        return decided

    excess = site.usable - _keep(view, site, target)
    since = view.now if view.surplus_since is None else view.surplus_since
    ripe_seconds = view.addresses.release_delay_seconds - (view.now - since)
    old = ripe_seconds <= 0
    steps: tuple[Delete | Release, ...] = (
        *shrinking.delete_empty(view, site),
        *shrinking.reclaim(view, site, site.usable - target),
        *shrinking.unfollowed(view, site),
        *shrinking.drain(view, site, site.usable - target),
        *shrinking.release(view, site, excess, old=old),
    )
    waits = excess > 0 and not old
    return replace(decided, actions=_once(steps), surplus=excess > 0, ripe_seconds=ripe_seconds if waits else None)


def _target(view: NodeView, site: Site, kind: Kind, pressure: Pressure) -> int:
    sizing = demand.sizing(view.addresses, kind, pressure, cordoned=view.cordoned, most=view.max_pods)
    return demand.target(pods=view.pods, cooling=view.cooling, sizing=sizing, room=site.room)


def _keep(view: NodeView, site: Site, target: int) -> int:
    """What may stay. Demand keeps idle addresses to max_idle; up to as many may stay although it would ask for fewer.

    Nor is a prefix given back because there was no whole block for the next one: in a while there will be.
    """
    used = view.pods + view.cooling
    idle = view.addresses.max_idle
    keep = max(target, used + idle) if idle and not site.pressure else target
    if view.addresses.mode == "auto" and view.limits.prefixes and site.pressure is Pressure.NORMAL:
        whole = Kind.IPV4_PREFIX if site.kind.family == 4 else Kind.IPV6_PREFIX
        keep = max(keep, _target(view, site, whole, site.pressure))
    return keep


def _most(view: NodeView, site: Site) -> int:
    """Pods the node can have addresses for with all that can be asked for now."""
    lack = max(site.room - site.leading, 0)
    most = site.leading + sum(gain(view, action) for action in grow(view, site, lack, needed=lack))
    return min(most, site.room) if view.max_pods is None else min(most, site.room, max(view.max_pods, view.pods))


def _once(steps: Iterable[Delete | Release]) -> tuple[Action, ...]:
    """The first for each interface: each is decided without knowledge of the others."""
    found: dict[InterfaceId, Action] = {}
    for step in steps:
        found.setdefault(step.interface, step)
    return tuple(found.values())
