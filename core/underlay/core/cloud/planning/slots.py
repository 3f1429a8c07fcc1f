"""Where interfaces can be attached: device indexes, counted per network card. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

from underlay.core.cloud.model import Instance, Limits


@dataclass(frozen=True, slots=True)
class Slot:
    """A free place for an interface."""

    network_card: int
    device_index: int


def free_indexes(instance: Instance, card: int) -> Iterator[int]:
    """Device indexes that no interface has on that card, lowest first, without end.

    Index 0 of further cards is left alone: EC2 counts them from 1 there (EC2 User Guide, "Network cards").
    """
    taken = {item.device_index for item in instance.interfaces if item.network_card == card}
    return (index for index in count(1 if card else 0) if index not in taken)


def free(instance: Instance, limits: Limits, *, most: int) -> tuple[Slot, ...]:
    """Up to ``most`` slots, those of the first card first; a card has as many as it takes interfaces more."""
    found: list[Slot] = []
    for card, takes in enumerate(limits.cards or (limits.interfaces,)):
        # An interface being attached or detached may not say its index yet, but it has its card's place.
        left = min(takes - sum(item.network_card == card for item in instance.interfaces), most - len(found))
        found += [Slot(card, index) for index in islice(free_indexes(instance, card), max(left, 0))]
    return tuple(found)
