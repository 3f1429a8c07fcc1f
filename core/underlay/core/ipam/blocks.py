"""Claims on shared addresses: SpiderIPBlocks in, SpiderIPBlocks out. Pure.

The caller writes what comes out against the version that went in (compare-and-swap); on a conflict it reads the block
again and decides again, so that of two claims on one address one is refused here.

    free ─ claim ─▶ held ─ hand_over ─▶ held by the owner's next pod
                     │ cool                       free again: forgotten after its cool-down, or claimed anew;
                     ▼                            its former owner may have it back (claim) at any time
                    cooling
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from msgspec import structs

from underlay.core.addresses import IPAddress, parse_address
from underlay.core.api.conditions import parse_rfc3339
from underlay.core.api.ipblock import BlockEntry, SpiderIPBlock, block
from underlay.core.errors import UnderlayError
from underlay.core.ipam.ownership import Owner


class Taken(UnderlayError):
    """``address`` is recorded otherwise than the caller took for granted; ``by``: who has it, or ``nobody``."""

    def __init__(self, address: IPAddress, by: str) -> None:
        self.address = address
        self.by = by
        super().__init__(f"{address} is recorded for {by}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """A pod, its owner and its node. ``pod`` is ``namespace/name``."""

    owner: Owner
    pod: str
    uid: str
    node: str


def holder(entry: BlockEntry) -> str:
    """Whose the address is: ``str`` of an ``Owner``. A pod that owns it itself is named with its uid."""
    return entry.owner or f"Pod/{entry.pod}/{entry.uid}"


def entries(blocks: Iterable[SpiderIPBlock]) -> Iterator[tuple[IPAddress, BlockEntry]]:
    """All entries by address. Raises ``InvalidInput`` for a key that is no address."""
    for item in blocks:
        for text, entry in item.status.entries.items():
            yield parse_address(text, f"SpiderIPBlock {item.metadata.name} status.entries"), entry


def claim(
    have: SpiderIPBlock | None, address: IPAddress, who: Claimant, *, now: str, cooldown_seconds: float
) -> SpiderIPBlock:
    """``have`` (None: there is no block yet) with ``address`` claimed.

    Raises ``Taken`` when somebody holds it (the owner's own claim passes on by ``hand_over`` alone), or it cools and
    was not this owner's.
    """
    before = have.status.entries.get(str(address)) if have else None
    if before is not None:
        own = holder(before) == str(who.owner) and before.cooling_since is not None
        if not own and not _cooled(before, cooldown_seconds, parse_rfc3339(now)):
            raise Taken(address, holder(before))
    entry = BlockEntry(
        pod=who.pod,
        uid=who.uid,
        container="",
        interface="",
        node=who.node,
        owner=str(who.owner) if who.owner.kind != "Pod" else "",
        since=now,
    )
    return _with(have, address, entry)


def hand_over(have: SpiderIPBlock, address: IPAddress, who: Claimant, *, before: BlockEntry, now: str) -> SpiderIPBlock:
    """The owner's next pod has it, perhaps on another node. ``before``: the entry the decision was made on; raises
    ``Taken`` when it is another by now.
    """
    entry = _unchanged(have, address, before)
    after = structs.replace(entry, pod=who.pod, uid=who.uid, node=who.node, container="", since=now, cooling_since=None)
    return _with(have, address, after)


def use(have: SpiderIPBlock, address: IPAddress, *, uid: str, container: str, interface: str) -> SpiderIPBlock | None:
    """Which sandbox of the pod has it (``container`` empty: none now); None when that is written already. Raises
    ``Taken`` when it is not that pod's.

    ``interface`` stays: an entry without one has never been in use.
    """
    entry = have.status.entries.get(str(address))
    if entry is None or entry.uid != uid or entry.cooling_since is not None:
        raise Taken(address, holder(entry) if entry else "nobody")
    after = structs.replace(entry, container=container, interface=interface or entry.interface)
    return None if after == entry else _with(have, address, after)


def cool(have: SpiderIPBlock, address: IPAddress, *, before: BlockEntry, now: str) -> SpiderIPBlock:
    """Nobody has it; it is not given to anyone else before its cool-down. Raises ``Taken`` as ``hand_over`` does."""
    entry = _unchanged(have, address, before)
    return _with(have, address, structs.replace(entry, container="", cooling_since=now))


def forget(have: SpiderIPBlock, address: IPAddress, *, before: BlockEntry) -> SpiderIPBlock:
    """Without that entry. Raises ``Taken`` as ``hand_over`` does."""
    _unchanged(have, address, before)
    rest = {text: entry for text, entry in have.status.entries.items() if text != str(address)}
    return _of(have, address, rest)


def choose(
    addresses: Iterable[IPAddress],
    recorded: Mapping[IPAddress, BlockEntry],
    *,
    now: float,
    cooldown_seconds: float,
    unusable: Callable[[IPAddress], str] = lambda _address: "",
) -> IPAddress | str:
    """An address nobody has: one never given, lowest first, else the one that was freed first and has cooled; else why
    there is none. ``unusable`` says why an address must not be given.
    """
    counts = {"held": 0, "cooling down": 0}
    other: dict[str, int] = {}
    cooled: list[tuple[float, IPAddress]] = []
    for address in addresses:
        entry = recorded.get(address)
        if reason := unusable(address):
            other[reason] = other.get(reason, 0) + 1
        elif entry is None:
            return address
        elif entry.cooling_since is None:
            counts["held"] += 1
        elif _cooled(entry, cooldown_seconds, now):
            cooled.append((parse_rfc3339(entry.cooling_since), address))
        else:
            counts["cooling down"] += 1
    if cooled:
        return min(cooled, key=lambda item: (item[0], int(item[1])))[1]
    total = sum(counts.values()) + sum(other.values())
    if not total:
        return "has no address"
    taken = ", ".join(f"{count} {what}" for what, count in (counts | other).items() if count)
    return f"none of its {total} addresses is free ({taken})"


def _cooled(entry: BlockEntry, cooldown_seconds: float, now: float) -> bool:
    return entry.cooling_since is not None and now >= parse_rfc3339(entry.cooling_since) + cooldown_seconds


def _unchanged(have: SpiderIPBlock, address: IPAddress, before: BlockEntry) -> BlockEntry:
    """The entry, which may have another sandbox than ``before`` but nothing else: agents write that at any time."""
    entry = have.status.entries.get(str(address))
    if entry is None or structs.replace(entry, container="", interface="") != structs.replace(
        before, container="", interface=""
    ):
        raise Taken(address, holder(entry) if entry else "nobody")
    return entry


def _with(have: SpiderIPBlock | None, address: IPAddress, entry: BlockEntry) -> SpiderIPBlock:
    before = have.status.entries if have else {}
    return _of(have, address, {**before, str(address): entry})


def _of(have: SpiderIPBlock | None, address: IPAddress, after: dict[str, BlockEntry]) -> SpiderIPBlock:
    made = block(address, after)
    return structs.replace(made, metadata=have.metadata) if have else made
