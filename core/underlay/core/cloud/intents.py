"""What is written before a cloud write, and how its outcome is found again. Pure.

    createInterface   the same call with the same token finds and finishes what the first made (an instance does not
                      show whether an attached interface has all it needs)
    assign (by count) has no token: what the interface has now is compared with ``before``; a surplus is a surplus
    unassign          the same call again
    deleteInterface   the same call again: an instance does not show whether a detached interface is gone

The shell writes the intent, calls, records the outcome and removes the intent. After a crash or ``UnknownOutcome`` it
reads the instance and asks ``settle``.
"""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import assert_never

from underlay.core.api.nodenetwork import Intent
from underlay.core.cloud.model import Instance, IPAddress
from underlay.core.cloud.plan import Action, Assign, Create, Delete, Release
from underlay.core.identity import InterfaceId, SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """It happened: ``added`` and ``removed`` addresses of ``interface``."""

    interface: InterfaceId
    added: frozenset[IPAddress] = frozenset()
    removed: frozenset[IPAddress] = frozenset()


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
            have = _addresses(instance, action.interface)
            return Intent(
                id=id,
                operation="assign",
                started_at=started_at,
                interface=action.interface,
                count=action.count,
                before=_texts(have),
            )
        case Create():
            return Intent(
                id=id,
                operation="createInterface",
                started_at=started_at,
                token=id,
                subnet=action.subnet,
                count=action.count,
            )
        case Release():
            return Intent(
                id=id,
                operation="unassign",
                started_at=started_at,
                interface=action.interface,
                addresses=_texts(action.addresses),
            )
        case Delete():
            return Intent(id=id, operation="deleteInterface", started_at=started_at, interface=action.interface)
        case _:
            assert_never(action)


def again(intent: Intent, instance: Instance) -> Action:
    """The action an intent stands for, to repeat it. A create takes the device index that is free now."""
    match intent.operation:
        case "assign":
            return Assign(interface=InterfaceId(intent.interface), count=intent.count)
        case "createInterface":
            taken = {interface.device_index for interface in instance.interfaces}
            index = next(index for index in range(len(taken) + 1) if index not in taken)
            return Create(subnet=SubnetId(intent.subnet), device_index=index, count=intent.count)
        case "unassign":
            return Release(interface=InterfaceId(intent.interface), addresses=_parsed(intent.addresses))
        case "deleteInterface":
            return Delete(interface=InterfaceId(intent.interface))


def settle(intent: Intent, instance: Instance, *, lagging: bool = False) -> Outcome:
    """What became of ``intent``, judged by a read of the instance begun after the call ended.

    ``lagging``: the read may be older than the write (clouds answer from replicas), so what it lacks may still come.
    """
    absent: Outcome = Unclear() if lagging else NotDone(repeat=intent.operation != "assign")
    match intent.operation:
        case "assign":
            added = _addresses(instance, intent.interface) - _parsed(intent.before)
            return Done(interface=InterfaceId(intent.interface), added=added) if added else absent
        case "unassign":
            going = _parsed(intent.addresses)
            if _addresses(instance, intent.interface) & going:
                return absent
            return Done(interface=InterfaceId(intent.interface), removed=going)
        case "createInterface" | "deleteInterface":
            return NotDone(repeat=True)


def _addresses(instance: Instance, interface: str) -> frozenset[IPAddress]:
    return next((item.addresses for item in instance.interfaces if item.id == interface), frozenset())


def _texts(addresses: frozenset[IPAddress]) -> list[str]:
    return [str(address) for address in sorted(addresses, key=lambda item: (item.version, int(item)))]


def _parsed(texts: list[str]) -> frozenset[IPAddress]:
    return frozenset(ip_address(text) for text in texts)
