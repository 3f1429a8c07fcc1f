"""What is written before a cloud write, and how its outcome is found again. Pure.

    createInterface   the same call with the same token finds and finishes what the first made (an instance does not
                      show whether an attached interface has all it needs)
    assign (by count) has no token: what the interface has now is compared with ``before``; a surplus is a surplus
    unassign          the same call again
    deleteInterface   the same call again: an instance does not show whether a detached interface is gone

The shell writes the intent, calls, records the outcome and removes the intent. After a crash or ``UnknownOutcome`` it
reads the instance and asks ``settle``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from underlay.core.api.nodenetwork import Intent
from underlay.core.cloud import items
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import Instance, Kind, kind_of
from underlay.core.cloud.planning import slots
from underlay.core.cloud.planning.actions import Action, Assign, Create, Delete, Release
from underlay.core.identity import InterfaceId, SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """It happened: ``added`` to and ``removed`` from ``interface``."""

    interface: InterfaceId
    added: frozenset[Item] = frozenset()
    removed: frozenset[Item] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDone:
    """It did not happen, or not to the end. ``repeat``: make the same call again before the intent may go; else plan
    anew.
    """

    repeat: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """Read again later."""


Outcome = Done | NotDone | Unclear


def before(action: Action, instance: Instance, *, id: str, started_at: str) -> Intent:  # noqa: A002 (the field's name)
    """The intent to write before ``action`` is carried out. ``id`` must be new; it is also the token of a create."""
    match action:
        case Assign():
            have = _items(instance, action.interface)
            return Intent(
                id=id,
                operation="assign",
                started_at=started_at,
                interface=action.interface,
                kind=action.kind.value,
                count=action.count,
                before=items.texts(have),
            )
        case Create():
            return Intent(
                id=id,
                operation="createInterface",
                started_at=started_at,
                token=id,
                subnet=action.subnet,
                network_card=action.network_card,
                wanted={kind.value: count for kind, count in action.wanted.items()},
            )
        case Release():
            return Intent(
                id=id,
                operation="unassign",
                started_at=started_at,
                interface=action.interface,
                addresses=items.texts(action.items),
            )
        case Delete():
            return Intent(id=id, operation="deleteInterface", started_at=started_at, interface=action.interface)
        case _:
            assert_never(action)


def again(intent: Intent, instance: Instance) -> Action:
    """The action an intent stands for, to repeat it. A create takes the device index that is free now on its card."""
    match intent.operation:
        case "assign":
            return Assign(interface=InterfaceId(intent.interface), kind=Kind(intent.kind), count=intent.count)
        case "createInterface":
            card = intent.network_card
            return Create(
                subnet=SubnetId(intent.subnet),
                device_index=next(slots.free_indexes(instance, card)),
                network_card=card,
                wanted=_wanted(intent),
            )
        case "unassign":
            return Release(interface=InterfaceId(intent.interface), items=_parsed(intent.addresses))
        case "deleteInterface":
            return Delete(interface=InterfaceId(intent.interface))


def settle(intent: Intent, instance: Instance, *, lagging: bool = False) -> Outcome:
    """What became of ``intent``, judged by a read of the instance begun after the call ended.

    ``lagging``: the read may be older than the write (clouds answer from replicas), so what it lacks may still come.
    """
    absent: Outcome = Unclear() if lagging else NotDone(repeat=intent.operation != "assign")
    match intent.operation:
        case "assign":
            new = _items(instance, intent.interface) - _parsed(intent.before)
            added = frozenset(item for item in new if kind_of(item) == intent.kind)
            return Done(interface=InterfaceId(intent.interface), added=added) if added else absent
        case "unassign":
            going = _parsed(intent.addresses)
            if _items(instance, intent.interface) & going:
                return absent
            return Done(interface=InterfaceId(intent.interface), removed=going)
        case "createInterface" | "deleteInterface":
            return NotDone(repeat=True)


def _wanted(intent: Intent) -> Mapping[Kind, int]:
    """Older intents name one kind."""
    return {Kind(kind): number for kind, number in intent.wanted.items()} or {Kind(intent.kind): intent.count}


def _items(instance: Instance, interface: str) -> frozenset[Item]:
    return next((items.of_interface(item) for item in instance.interfaces if item.id == interface), frozenset())


def _parsed(texts: list[str]) -> frozenset[Item]:
    return frozenset(items.parse(text) for text in texts)
