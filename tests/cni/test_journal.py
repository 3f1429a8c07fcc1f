"""The journal: what was promised survives any cut, what was not promised may vanish, and replay gives the state
again.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from underlay.cni import records
from underlay.cni.book import Book
from underlay.cni.errors import JournalBroken, JournalLocked
from underlay.cni.journal import Journal, decode, encode
from underlay.cni.records import ClaimedAddress, Header, Record
from underlay.cni.state import State, apply, replay, snapshot
from underlay.core.api.ippool import SpiderIPPool, SpiderIPPoolSpec
from underlay.core.api.meta import ObjectMeta
from underlay.core.identity import Attachment, PodRef
from underlay.core.ipam.claims import DoubleOwner

HEADER = Header(format=1, epoch="e")


def claimed(number: int, *, container: str = "", since: float = 1.0) -> records.Claimed:
    return records.Claimed(
        attachment=Attachment(container_id=container or f"c{number}", ifname="eth0"),
        pod=PodRef(namespace="ns", name=f"p{number}", uid=f"u{number}"),
        network="net",
        netns=f"/run/netns/c{number}",
        addresses=[ClaimedAddress(address=str(IPv4Address("10.0.0.0") + number), pool="a", pool_uid="ua")],
        since=since,
    )


def released(number: int, at: float) -> records.Released:
    return records.Released(attachment=Attachment(container_id=f"c{number}", ifname="eth0"), at=at)


_numbers = st.integers(1, 6)
_changes: st.SearchStrategy[Record] = st.one_of(
    _numbers.map(claimed),
    st.builds(released, _numbers, st.floats(0, 1e9)),
    _numbers.map(lambda n: records.Confirmed(attachment=Attachment(container_id=f"c{n}", ifname="eth0"))),
    _numbers.map(
        lambda n: records.Fenced(id=f"r{n}", pool="a", pool_uid="ua", fenced=[f"10.0.1.{n}"], held=[f"10.0.0.{n}"])
    ),
    _numbers.map(lambda n: records.FenceLifted(id=f"r{n}")),
    _numbers.map(
        lambda n: records.PoolAccepted(
            pool=SpiderIPPool(
                metadata=ObjectMeta(name=f"pool{n}", uid=f"u{n}", generation=n),
                spec=SpiderIPPoolSpec(subnet="10.0.0.0/16", ips=[f"10.0.0.1-10.0.0.{n}"]),
            )
        )
    ),
    _numbers.map(lambda n: records.PoolForgotten(name=f"pool{n}")),
    _numbers.map(
        lambda n: records.PodBound(pod=records.BoundPod(ref=PodRef(namespace="ns", name=f"p{n}", uid=f"u{n}")))
    ),
    _numbers.map(lambda n: records.PodGone(ref=PodRef(namespace="ns", name=f"p{n}", uid=f"u{n}"))),
    st.just(records.EpochSettled()),
    st.just(records.NodeSeen(uid="n", provider_id="p", addresses=["10.0.0.1"])),
)


@given(st.lists(_changes, max_size=30))
def test_a_snapshot_gives_the_same_state(changes: list[Record]) -> None:
    """Compaction loses nothing: replaying the snapshot of a state gives that state."""
    state = replay([HEADER, *changes])

    assert replay(snapshot(state)) == state


@settings(max_examples=20)
@given(st.lists(st.lists(_changes, min_size=1, max_size=3), min_size=1, max_size=5))
def test_a_cut_anywhere_loses_only_the_batch_it_hits(batches: list[list[Record]]) -> None:
    """The file cut at every byte: all batches that are whole are read, nothing of the torn one, and it says where
    to cut.
    """
    content = encode([HEADER])
    ends = [len(content)]
    for batch in batches:
        content += encode(batch)
        ends.append(len(content))

    for cut in range(ends[0], len(content) + 1):
        whole = sum(end <= cut for end in ends) - 1
        expected = [HEADER, *(record for batch in batches[:whole] for record in batch)]
        assert decode(content[:cut]) == (expected, ends[whole])


def test_a_file_grown_by_zeros_is_a_torn_end() -> None:
    """A file system may lengthen a file before its content arrives."""
    content = encode([HEADER]) + encode([claimed(1)])

    assert decode(content + bytes(64)) == ([HEADER, claimed(1)], len(content))


def test_damage_with_more_behind_it_is_no_torn_end() -> None:
    """What was once on disk and durable may not be dropped in silence."""
    first, second = encode([HEADER, claimed(1)]), encode([claimed(2)])
    damaged = bytearray(first + second)
    damaged[20] ^= 1

    with pytest.raises(JournalBroken, match="damaged at byte 0"):
        decode(bytes(damaged))


def test_two_owners_in_a_journal_are_refused() -> None:
    """Replay is the last line of defence for one owner per address."""
    with pytest.raises(DoubleOwner, match=r"10\.0\.0\.1 is held by c1/eth0"):
        replay([HEADER, claimed(1), claimed(1, container="c2")])


class Ledgers(RuleBasedStateMachine):
    """Claims come and go as the agent records them, checked against two plain dictionaries."""

    attachments = Bundle("attachments")

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.log: list[Record] = [HEADER]
        self.owner: dict[int, int] = {}
        self.freed: dict[int, float] = {}
        self.now = 0.0

    def record(self, change: Record) -> None:
        self.state = apply(self.state, change)
        self.log.append(change)

    @rule(number=_numbers)
    def claim(self, number: int) -> None:
        if number in self.owner:
            return
        self.record(claimed(number, since=self.now))
        self.owner[number] = number
        self.freed.pop(number, None)

    @rule(number=_numbers, passed=st.floats(0, 100))
    def release(self, number: int, passed: float) -> None:
        self.now += passed
        self.record(released(number, self.now))
        if self.owner.pop(number, None) is not None:
            self.freed[number] = self.now

    @invariant()
    def agrees(self) -> None:
        ledger = self.state.ledger
        base = IPv4Address("10.0.0.0")
        assert {base + n: f"c{owner}" for n, owner in self.owner.items()} == {
            ip: key.container_id for ip, key in ledger.held.items()
        }
        assert {base + n: at for n, at in self.freed.items()} == dict(ledger.freed)

    @invariant()
    def replays(self) -> None:
        assert replay(self.log).ledger == self.state.ledger


TestLedgers = Ledgers.TestCase


@asynccontextmanager
async def opened(folder: Path, *, minimum_size: int = 1 << 20) -> AsyncIterator[Book]:
    """A running journal; left as by a crash: what was not awaited may be lost."""
    journal = Journal(folder, new_epoch=lambda: "epoch-1", minimum_size=minimum_size)
    try:
        book = Book(replay(journal.open()), journal)
        writer = asyncio.create_task(journal.run(book.snapshot))
        yield book
        writer.cancel()
        with suppress(asyncio.CancelledError):
            await writer
    finally:
        journal.close()


async def test_what_was_awaited_is_there_again(tmp_path: Path) -> None:
    """A second agent's state is the first one's."""
    async with opened(tmp_path) as book:
        await asyncio.gather(*(book.record(claimed(number)) for number in range(1, 20)))
        before = book.state

    async with opened(tmp_path) as book:
        assert book.state == before


async def test_concurrent_changes_share_a_batch(tmp_path: Path) -> None:
    """Fifty records at once take far fewer than fifty writes: one frame is one fsync."""
    async with opened(tmp_path) as book:
        await asyncio.gather(*(book.record(claimed(number)) for number in range(50)))

    assert _frames((tmp_path / "journal").read_bytes()) <= 4


async def test_a_torn_end_is_cut_off_and_written_over(tmp_path: Path) -> None:
    """An agent that starts on a torn file goes on from the last whole batch."""
    async with opened(tmp_path) as book:
        await book.record(claimed(1))
    with (tmp_path / "journal").open("ab") as file:
        file.write(encode([claimed(2)])[:-3])

    async with opened(tmp_path) as book:
        assert set(book.state.ledger.held) == {ip_address("10.0.0.1")}
        await book.record(claimed(3))
    async with opened(tmp_path) as book:
        assert set(book.state.ledger.held) == {ip_address("10.0.0.1"), ip_address("10.0.0.3")}


async def test_a_damaged_journal_is_kept_aside_and_a_new_epoch_begins(tmp_path: Path) -> None:
    """The new epoch is unsettled, so pods are read before anything is served."""
    async with opened(tmp_path) as book:
        await book.record(records.EpochSettled(), claimed(1))
        await book.record(claimed(2))
    path = tmp_path / "journal"
    content = bytearray(path.read_bytes())
    content[-200] ^= 1
    path.write_bytes(bytes(content) + encode([claimed(3)]))

    async with opened(tmp_path) as book:
        assert (book.state.settled, book.state.ledger.claims) == (False, {})
    assert (tmp_path / "journal.damaged").exists()


async def test_a_journal_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    """A downgrade must not throw claims away: the agent says what it needs and ends."""
    (tmp_path / "journal").write_bytes(encode([Header(format=99, epoch="e")]))

    with pytest.raises(JournalBroken, match="newer agent"):
        async with opened(tmp_path):
            pass


async def test_one_agent_at_a_time(tmp_path: Path) -> None:
    """The lock is held for life, and its holder is named."""
    async with opened(tmp_path):
        with pytest.raises(JournalLocked, match=rf"process {os.getpid()}\) serves this node"):
            async with opened(tmp_path):
                pass


async def test_a_long_journal_is_written_anew(tmp_path: Path) -> None:
    """Claims that come and go do not let the file grow without end, and nothing is lost by shortening it."""
    async with opened(tmp_path, minimum_size=2000) as book:
        for turn in range(200):
            await book.record(claimed(1), claimed(turn + 10))
            await book.record(released(1, turn), released(turn + 10, turn))
        await book.record(claimed(5))
        before = book.state

    assert (tmp_path / "journal").stat().st_size < 60_000
    async with opened(tmp_path) as book:
        assert book.state == before


def _frames(content: bytes) -> int:
    def ends() -> Iterable[int]:
        at = 0
        while at < len(content):
            at += 8 + int.from_bytes(content[at : at + 4], "big")
            yield at

    return len(list(ends()))
