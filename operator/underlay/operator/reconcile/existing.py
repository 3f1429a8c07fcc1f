"""What a node had before Underlay came: addresses of its first interface, and interfaces that somebody attached.

Left alone (``spec.interfaces.existing: leave``) they are never given to a pod, changed or given back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from underlay.core.api.nodenetwork import InterfaceStatus
from underlay.core.cloud import items
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import Instance
from underlay.core.identity import InterfaceId

Foreign = Mapping[InterfaceId, frozenset[Item]]


def foreign(read: Instance, recorded: Sequence[InterfaceStatus], own: frozenset[str]) -> Foreign:
    """What is not ours, by interface: as ``recorded``, or at the first sight of a node all that its first interface
    has. ``own``: the addresses by which the cluster knows the machine.
    """
    if recorded:
        return {
            InterfaceId(entry.id): frozenset(map(items.parse, entry.foreign)) for entry in recorded if entry.foreign
        }
    return {
        interface.id: had
        for interface in read.interfaces
        if interface.primary
        and (had := frozenset(item for item in items.of_interface(interface) if str(item) not in own))
    }


def without(read: Instance, foreign: Foreign, own: frozenset[str]) -> Instance:
    """The instance with ours only. An IPv6 address of the machine itself is like any other to a cloud."""
    interfaces = (
        items.having(
            interface,
            (
                item
                for item in items.of_interface(interface) - foreign.get(interface.id, frozenset())
                if str(item) not in own
            ),
        )
        for interface in read.interfaces
    )
    return replace(read, interfaces=tuple(interfaces))
