"""Plan, its difference to what is there, and the way back. Pure.

A ``Plan`` is the wished content of the two namespaces an attachment touches. ``diff`` turns it into steps in the
order the kernel needs: settings for new links, links, their own settings, addresses, links up, neighbours, routes,
rules, nft tables.
``inverse`` of the steps that were done leads back.
"""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from underlay.cni.datapath.model import EMPTY, Addr, Link, Namespace, Neigh, NftTable, Route, Rule, Sysctl

T = TypeVar("T")
Object = Link | Addr | Route | Rule | Neigh | Sysctl | NftTable


class Create(msgspec.Struct, frozen=True, gc=False):
    """Make the object. A link is made down; a Sysctl is set."""

    object: Object


class Remove(msgspec.Struct, frozen=True, gc=False):
    """Remove the object. Of a link, all that rests on it goes with it."""

    object: Object


class SetUp(msgspec.Struct, frozen=True, gc=False):
    """Set the link up."""

    link: Link


class SetDown(msgspec.Struct, frozen=True, gc=False):
    """Set the link down."""

    link: Link


Step = Create | Remove | SetUp | SetDown


class Plan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the host's and the pod's namespace shall hold because of one attachment."""

    host: Namespace = EMPTY
    pod: Namespace = EMPTY


def diff(observed: Namespace, desired: Namespace) -> tuple[Step, ...]:
    """Steps that bring ``observed`` to hold everything in ``desired``, in an order the kernel accepts.

    What is there and not wished stays: other people's objects live in the same namespace. A wished object that is there
    with other properties is removed first (a link with all that rests on it, which is then made anew).
    ``diff(desired, desired) == ()``.
    """
    if observed == EMPTY:  # the ADD path
        return _in_order(desired, raised=tuple(link for link in desired.links if link.up))
    there = {link.name: link for link in observed.links}
    fresh = {link.name for link in desired.links if link.name not in there or not same_link(there[link.name], link)}
    kept = _without_links(observed, fresh)
    routes = frozenset(map(_plain, kept.routes))
    missing = Namespace(
        sysctls=_absent(desired.sysctls, kept.sysctls),
        links=tuple(link for link in desired.links if link.name in fresh),
        addrs=_absent(desired.addrs, kept.addrs),
        neighs=_absent(desired.neighs, kept.neighs),
        routes=tuple(route for route in desired.routes if _plain(route) not in routes),
        rules=_absent(desired.rules, kept.rules),
        nft=_absent(desired.nft, kept.nft),
    )
    raised = tuple(link for link in desired.links if link.up and (link.name in fresh or not there[link.name].up))
    replaced = tuple(Remove(there[name]) for name in sorted(fresh & there.keys()) if not there[name].made_with_peer)
    return (*replaced, *_in_the_way(missing, kept), *_in_order(missing, raised=raised))


def _in_order(missing: Namespace, *, raised: tuple[Link, ...]) -> tuple[Step, ...]:
    """The dependency order, said once. A link comes up after its addresses, so that the kernel announces them."""
    return (
        *(Create(sysctl) for sysctl in missing.sysctls if sysctl.link in _BEFORE_LINKS),
        *(Create(link) for link in missing.links if not link.made_with_peer),
        *(Create(sysctl) for sysctl in missing.sysctls if sysctl.link not in _BEFORE_LINKS),
        *map(Create, missing.addrs),
        *map(SetUp, raised),
        *map(Create, missing.neighs),
        *map(Create, missing.routes),
        *map(Create, missing.rules),
        *map(Create, missing.nft),
    )


def _in_the_way(missing: Namespace, kept: Namespace) -> Iterator[Step]:
    """What has the key of a missing object and another content."""
    neighs = {(neigh.link, neigh.address) for neigh in missing.neighs}
    yield from (Remove(neigh) for neigh in kept.neighs if (neigh.link, neigh.address) in neighs)
    routes = {(route.link, route.to, route.table) for route in missing.routes}
    yield from (Remove(route) for route in kept.routes if (route.link, route.to, route.table) in routes)


def _absent(desired: tuple[T, ...], observed: tuple[T, ...]) -> tuple[T, ...]:
    there = frozenset(observed)
    return tuple(item for item in desired if item not in there)


def same_link(observed: Link, desired: Link) -> bool:
    """Whether an existing link may stay. Index and random MAC of a later plan do not make it another link."""
    return (
        observed.kind == desired.kind
        and observed.group == desired.group
        and desired.master in (0, observed.master)
        and (desired.mtu is None or observed.mtu == desired.mtu)
        and (desired.mac is None or observed.mac == desired.mac)
    )


def _plain(route: Route) -> Route:
    """A route without how it is to be made."""
    return msgspec.structs.replace(route, replace=False) if route.replace else route


def _without_links(namespace: Namespace, names: set[str]) -> Namespace:
    """The namespace after the links ``names`` are gone: what rests on a link goes with it."""
    if not names:
        return namespace
    return msgspec.structs.replace(
        namespace,
        links=tuple(o for o in namespace.links if o.name not in names),
        sysctls=tuple(o for o in namespace.sysctls if o.link not in names),
        addrs=tuple(o for o in namespace.addrs if o.link not in names),
        neighs=tuple(o for o in namespace.neighs if o.link not in names),
        routes=tuple(o for o in namespace.routes if o.link not in names),
    )


def inverse(done: Sequence[Step]) -> tuple[Step, ...]:
    """Steps that undo ``done``, last first; those that the removal of a link takes care of are left out.

    A setting has no way back: those of a link die with it, and the others we make are harmless where they stay.
    """
    leaving = {step.object.name for step in done if isinstance(step, Create) and isinstance(step.object, Link)}
    leaving |= {
        step.object.peer.name
        for step in done
        if isinstance(step, Create) and isinstance(step.object, Link) and step.object.peer is not None
    }
    return tuple(step for step in map(_inverse, reversed(done)) if step is not None and not _rests_on(step, leaving))


def _inverse(step: Step) -> Step | None:
    match step:
        case Create(Sysctl()):
            return None
        case Create(item):
            return Remove(item)
        case Remove(item):
            return Create(item)
        case SetUp(link):
            return SetDown(link)
        case SetDown(link):
            return SetUp(link)


def _rests_on(step: Step, links: set[str]) -> bool:
    match step:
        case Create(Addr() | Route() | Neigh() as item) | Remove(Addr() | Route() | Neigh() as item):
            return item.link in links
        case SetUp(link) | SetDown(link):
            return link.name in links
        case _:
            return False


def apply(namespace: Namespace, steps: Sequence[Step]) -> Namespace:
    """What ``namespace`` holds after ``steps``: the kernel in a few lines, for dry runs and for tests."""
    for step in steps:
        namespace = _apply(namespace, step)
    return namespace


def _apply(namespace: Namespace, step: Step) -> Namespace:
    replace = msgspec.structs.replace
    match step:
        case Create(Link() as link):
            return replace(namespace, links=(*namespace.links, replace(link, up=False)))
        case Remove(Link() as link):
            return _without_links(namespace, {link.name})
        case SetUp(link) | SetDown(link):
            up = isinstance(step, SetUp)
            links = tuple(replace(o, up=up) if o.name == link.name else o for o in namespace.links)
            return replace(namespace, links=links)
        case Create(item):
            field = _FIELDS[type(item)]
            item = _plain(item) if isinstance(item, Route) else item
            return replace(namespace, **{field: (*getattr(namespace, field), item)})
        case Remove(item):
            field = _FIELDS[type(item)]
            return replace(namespace, **{field: tuple(o for o in getattr(namespace, field) if o != item)})


_BEFORE_LINKS = frozenset({"all", "default"})
"""What a link takes over at its creation."""

_FIELDS: dict[type, str] = {
    Addr: "addrs",
    Route: "routes",
    Rule: "rules",
    Neigh: "neighs",
    Sysctl: "sysctls",
    NftTable: "nft",
}
