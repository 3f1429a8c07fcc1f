"""The agent's state in memory and on disk as one.

``record`` changes the state at once, so that no two calls decide on the same address, and is done when the change
is durable: what a caller makes visible (an address in a pod, an answer to the operator) it makes visible after
awaiting that. Records reach the disk in the order in which they changed the state, so whatever was decided on
something is on disk only if that something is.
"""

import asyncio
from collections.abc import Awaitable, Iterable

from underlay.cni.journal import Journal
from underlay.cni.records import Record
from underlay.cni.state import State, apply, snapshot


class Book:
    """One per agent. ``state`` is never older than the disk.

    ``changed`` wakes on every change, ``room`` on those after which an address may be free that was not before.
    """

    def __init__(self, state: State, journal: Journal) -> None:
        self.state = state
        self.changed = Signal()
        self.room = Signal()
        self._journal = journal

    def record(self, *batch: Record, lazily: bool = False) -> Awaitable[None]:
        """Apply now; awaited: on disk. Without records: everything so far is. ``lazily`` as in ``Journal.append``.

        Raises ``DoubleOwner`` before anything has changed.
        """
        before, state = self.state, self.state
        for record in batch:
            state = apply(state, record)
        self.state = state
        done = self._journal.append(*batch, lazily=lazily)
        if batch:
            self.changed.notify()
        if _may_have_room(before, state):
            self.room.notify()
        return done

    def snapshot(self) -> Iterable[Record]:
        """Records that say everything so far."""
        return snapshot(self.state)


def _may_have_room(before: State, after: State) -> bool:
    return (
        after.pools is not before.pools
        or after.node_network is not before.node_network
        or after.node is not before.node
        or after.settled is not before.settled
        or after.ledger.fences is not before.ledger.fences
        or len(after.ledger.held) < len(before.ledger.held)
    )


class Signal:
    """Wakes everyone who waits; remembers nothing. Read the state, then wait, with no await between."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        """Wake who waits now."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, seconds: float | None = None) -> None:
        """Until the next ``notify``, at most ``seconds``."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await asyncio.wait((waiter,), timeout=seconds)
        if not waiter.done():
            self._waiters.remove(waiter)
