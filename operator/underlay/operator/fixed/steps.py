"""The next cloud write for a fixed address, in the words of a node's plan. Pure."""

from typing import assert_never

from underlay.core.cloud import items
from underlay.core.cloud.planning import floating as ways
from underlay.core.cloud.planning.actions import Action, Assign, Create, Release
from underlay.operator.nodework import BringHere, SendAway


def as_action(step: BringHere | SendAway) -> Action:
    """``step`` as the plan's action of its kind; one that assigns says only where."""
    if isinstance(step, SendAway):
        return Release(interface=step.interface, items=frozenset(step.addresses))
    match step.by:
        case ways.Attach(subnet=subnet, slot=slot):
            return Create(subnet=subnet.id, device_index=slot.device_index, network_card=slot.network_card, wanted={})
        case ways.MakeRoom() as room:
            return release(room)
        case ways.Bring(interface=interface):
            return Assign(interface=interface, count=1)
        case _:
            assert_never(step.by)


def release(room: ways.MakeRoom) -> Release:
    """What makes room goes as any idle address or prefix does."""
    return Release(interface=room.interface, items=frozenset({room.item}), fence=items.addresses({room.item}))
