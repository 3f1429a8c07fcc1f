"""What is believed of an instance, between our own writes and reads that may lag behind them. Pure.

Clouds answer reads from replicas. So the reply of our own write outranks any read begun less than ``settle`` seconds
after it, and what only reads say is believed when two of them, ``settle`` apart, agree: an address or a prefix that
appeared, an address, a prefix or an interface that vanished. An instance without any interface is a broken reply and
changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from underlay.core.cloud import items
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import Instance, NetworkInterface
from underlay.core.identity import InterfaceId

Spot = tuple[InterfaceId, Item | None]
"""An address or a prefix of an interface, or (None) the interface itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnWrite:
    """The reply of a write of ours, at time ``at`` (seconds)."""

    at: float
    interface: InterfaceId
    added: frozenset[Item] = frozenset()
    removed: frozenset[Item] = frozenset()
    created: NetworkInterface | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """``instance`` lists only addresses and prefixes that may be used.

    ``appeared`` and ``vanished``: when a read first said so, for what is not believed yet.
    """

    instance: Instance
    writes: tuple[OwnWrite, ...] = ()
    appeared: Mapping[Spot, float] = field(default_factory=dict)
    vanished: Mapping[Spot, float] = field(default_factory=dict)

    @property
    def unsettled(self) -> bool:
        """Another read is needed to believe or to forget something."""
        return bool(self.appeared or self.vanished)


def wrote(known: Known, write: OwnWrite) -> Known:
    """``known`` after a write of ours."""
    interfaces = {interface.id: interface for interface in known.instance.interfaces}
    if write.created is not None:
        interfaces[write.interface] = write.created
    if write.deleted:
        interfaces.pop(write.interface, None)
    elif write.interface in interfaces:
        held = interfaces[write.interface]
        interfaces[write.interface] = items.having(held, (items.of_interface(held) | write.added) - write.removed)
    return replace(known, instance=_with(known.instance, interfaces), writes=(*known.writes, write))


def learn(
    known: Known | None,
    read: Instance,
    *,
    began: float,
    settle: float,
    accepted: Mapping[InterfaceId, frozenset[Item]],
) -> Known:
    """``known`` after a read that began at ``began``.

    ``accepted`` is what an earlier leader believed, used when ``known`` is None.
    """
    if not read.interfaces:
        return known or Known(instance=read)
    prior = {interface.id: interface for interface in known.instance.interfaces} if known else {}
    writes = tuple(write for write in known.writes if began - write.at < settle) if known else ()
    word = _last_word(writes)
    appeared: dict[Spot, float] = {}
    vanished: dict[Spot, float] = {}

    def keeps(spot: Spot, *, believed: bool, shown: bool) -> bool:
        if spot in word:
            return word[spot]
        if believed == shown:
            return believed
        since = (known.vanished if believed else known.appeared).get(spot, began) if known else began
        if began - since >= settle:
            return shown
        (vanished if believed else appeared)[spot] = since
        return believed

    interfaces: dict[InterfaceId, NetworkInterface] = {}
    for interface in (item for item in read.interfaces if word.get((item.id, None)) is not False):
        shown = items.of_interface(interface)
        before = prior.get(interface.id)
        believed = items.of_interface(before) if before else accepted.get(interface.id, frozenset())
        spoken = {item for (id_, item) in word if id_ == interface.id and item is not None}
        usable = (
            item
            for item in shown | believed | spoken
            if keeps((interface.id, item), believed=item in believed, shown=item in shown)
        )
        interfaces[interface.id] = items.having(interface, usable)
    for id_, interface in prior.items():
        if id_ not in interfaces and keeps((id_, None), believed=True, shown=False):
            interfaces[id_] = interface
    return Known(instance=_with(read, interfaces), writes=writes, appeared=appeared, vanished=vanished)


def _last_word(writes: tuple[OwnWrite, ...]) -> dict[Spot, bool]:
    """What our latest writes say is there (True) or not (False)."""
    word: dict[Spot, bool] = {}
    for write in writes:
        if write.created is not None:
            word[write.interface, None] = True
            word.update({(write.interface, item): True for item in items.of_interface(write.created)})
        if write.deleted:
            word[write.interface, None] = False
        word.update({(write.interface, item): True for item in write.added})
        word.update({(write.interface, item): False for item in write.removed})
    return word


def _with(instance: Instance, interfaces: Mapping[InterfaceId, NetworkInterface]) -> Instance:
    ordered = sorted(
        interfaces.values(),
        key=lambda item: (item.device_index is None, item.network_card, item.device_index or 0, item.id),
    )
    return replace(instance, interfaces=tuple(ordered))
