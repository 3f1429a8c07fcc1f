"""Claims in SpiderIPBlocks: whatever is asked in whatever order, an address has one owner."""

from collections.abc import Callable
from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from underlay.core.api.conditions import rfc3339
from underlay.core.api.ipblock import BlockEntry, SpiderIPBlock
from underlay.core.ipam import blocks
from underlay.core.ipam.blocks import Claimant, Taken, choose, holder
from underlay.core.ipam.ownership import Owner

COOLDOWN = 30.0
A, B = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")


def claimant(number: int, *, node: str = "n1", pod: int = 0) -> Claimant:
    """The StatefulSet's pod of that number, in its ``pod``-th incarnation."""
    owner = Owner(kind="StatefulSet", namespace="ns", name=f"db-{number}")
    return Claimant(owner=owner, pod=f"ns/db-{number}", uid=f"{number}.{pod}", node=node)


def at(seconds: float) -> str:
    return rfc3339(1_000_000 + seconds)


def claimed(who: Claimant, have: SpiderIPBlock | None = None, *, now: float = 0) -> SpiderIPBlock:
    return blocks.claim(have, A, who, now=at(now), cooldown_seconds=COOLDOWN)


def only(block: SpiderIPBlock) -> BlockEntry:
    return block.status.entries[str(A)]


def test_an_address_is_claimed_once() -> None:
    """Not by another owner, and not again by the owner's next pod: that one has it handed over."""
    block = claimed(claimant(0))

    for other in (claimant(1), claimant(0, pod=1)):
        with pytest.raises(Taken) as refused:
            claimed(other, block)
        assert refused.value.by == "StatefulSet/ns/db-0"
    passed = blocks.hand_over(block, A, claimant(0, node="n2", pod=1), before=only(block), now=at(1))
    assert (only(passed).uid, only(passed).node, holder(only(passed))) == ("0.1", "n2", "StatefulSet/ns/db-0")


def test_what_cools_is_its_owners_at_once_and_anybodys_later() -> None:
    """Scaled down and up again, a StatefulSet's pod has the same address; another owner waits for the cool-down."""
    block = claimed(claimant(0))
    cooling = blocks.cool(block, A, before=only(block), now=at(100))
    assert (cooling.status.held, cooling.status.cooling) == (0, 1)

    assert only(claimed(claimant(0, pod=1), cooling, now=101)).cooling_since is None
    with pytest.raises(Taken):
        claimed(claimant(1), cooling, now=100 + COOLDOWN - 1)
    assert holder(only(claimed(claimant(1), cooling, now=100 + COOLDOWN))) == "StatefulSet/ns/db-1"


@pytest.mark.parametrize(
    "change",
    [
        lambda block, entry: blocks.hand_over(block, A, claimant(0, pod=2), before=entry, now=at(9)),
        lambda block, entry: blocks.cool(block, A, before=entry, now=at(9)),
        lambda block, entry: blocks.forget(block, A, before=entry),
        lambda block, entry: blocks.use(block, A, uid=entry.uid, container="c", interface="eth0"),
    ],
    ids=["hand over", "cool", "forget", "use"],
)
def test_what_was_decided_on_an_old_entry_is_refused(
    change: Callable[[SpiderIPBlock, BlockEntry], SpiderIPBlock],
) -> None:
    """Whoever lost the race decides anew; that the agent has named its container meanwhile is no change of owner."""
    block = claimed(claimant(0))
    old = only(block)
    used = blocks.use(block, A, uid="0.0", container="c1", interface="eth0")
    assert used is not None
    newer = blocks.hand_over(block, A, claimant(0, node="n2", pod=1), before=old, now=at(1))

    with pytest.raises(Taken):
        change(newer, old)
    change(used, old)


def test_choosing_prefers_what_was_never_given_then_what_was_freed_first() -> None:
    """Never one that is held or cools; and why there is none."""
    block = claimed(claimant(0))
    held = only(block)

    def cool(since: float) -> BlockEntry:
        return only(blocks.cool(block, A, before=held, now=at(since)))

    now = 1_000_000 + 200.0

    def chosen(recorded: dict[IPv4Address, BlockEntry], **more: object) -> object:
        return choose([A, B], recorded, now=now, cooldown_seconds=COOLDOWN, **more)  # type: ignore[arg-type]

    assert chosen({}) == A
    assert chosen({A: held}) == B
    assert chosen({A: cool(50), B: cool(20)}) == B
    assert chosen({A: held, B: cool(190)}) == "none of its 2 addresses is free (1 held, 1 cooling down)"
    assert chosen({A: held}, unusable=lambda a: "gateways" if a == B else "") == (
        "none of its 2 addresses is free (1 held, 1 gateways)"
    )


class OneOwner(RuleBasedStateMachine):
    """Several writers over one block, each with its own, possibly old, copy of it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.version = 0
        self.live: SpiderIPBlock | None = None
        self.copies: list[tuple[int, SpiderIPBlock | None]] = [(0, None)] * 3
        self.owner: dict[str, str] = {}
        self.free_at: dict[str, float] = {}

    @rule(writer=st.integers(0, 2))
    def read(self, writer: int) -> None:
        self.copies[writer] = (self.version, self.live)

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(writer=st.integers(0, 2), number=st.integers(0, 2), pod=st.integers(0, 1), last=st.integers(1, 2))
    def claim(self, writer: int, number: int, pod: int, last: int) -> None:
        address = ip_address(f"10.0.0.{last}")
        who = claimant(number, pod=pod)
        done = self._write(
            writer, lambda have: blocks.claim(have, address, who, now=at(self.now), cooldown_seconds=COOLDOWN)
        )
        if done:
            before = self.owner.get(str(address))
            cooled = self.now - self.free_at.get(str(address), -1e9) >= COOLDOWN - 1  # times have whole seconds
            assert before is None or (before == str(who.owner) and str(address) in self.free_at) or cooled
            self.owner[str(address)] = str(who.owner)
            self.free_at.pop(str(address), None)

    @rule(writer=st.integers(0, 2), last=st.integers(1, 2))
    def cool(self, writer: int, last: int) -> None:
        address = ip_address(f"10.0.0.{last}")
        known = self.copies[writer][1]
        entry = known.status.entries.get(str(address)) if known else None
        if entry is None or entry.cooling_since is not None:
            return
        if self._write(writer, lambda have: blocks.cool(have, address, before=entry, now=at(self.now))):  # type: ignore[arg-type]
            self.free_at[str(address)] = self.now

    @invariant()
    def recorded_as_believed(self) -> None:
        entries = self.live.status.entries if self.live else {}
        held = {text: holder(entry) for text, entry in entries.items() if entry.cooling_since is None}
        assert held == {text: owner for text, owner in self.owner.items() if text not in self.free_at}

    def _write(self, writer: int, change: Callable[[SpiderIPBlock | None], SpiderIPBlock]) -> bool:
        """Compare-and-swap, as the API server does it."""
        version, known = self.copies[writer]
        try:
            wanted = change(known)
        except Taken:
            return False
        if version != self.version:
            return False
        self.version, self.live = self.version + 1, wanted
        self.copies[writer] = (self.version, wanted)
        return True


TestOneOwner = OneOwner.TestCase
