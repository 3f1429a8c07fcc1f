"""How many cloud writes of one kind are under way at once. Pure.

A cloud lets some kinds of write through at a few a second, whoever waits. Were rounds to wait for that, soon all of
them would wait for the slowest kind, with decisions that grow old, and a node that needs another kind behind them. So a
node that gets no place in the lane of its write ends its round and is parked; the place that becomes free is kept for
the parked node that lacks most, which decides anew.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from underlay.core.cloud.planning.actions import Action, Assign, Create, Delete, Release

_PLACES = 64
"""At EC2's five a second so many keep a bucket busy though each write takes twelve seconds."""


class Lane:
    """One kind of write. ``lack``: the smaller, the sooner is a parked node's turn; asked when a place becomes free.

    ``call``: a place is kept for the node; it shall have a round, after which ``settle`` is called. ``placed`` is told
    when a node has got its place.
    """

    def __init__(
        self,
        places: int,
        *,
        lack: Callable[[str], float],
        call: Callable[[str], None],
        placed: Callable[[str], None] = lambda _node: None,
    ) -> None:
        self._free = places
        self._lack = lack
        self._call = call
        self._placed = placed
        self._parked: dict[str, None] = {}
        self._kept: set[str] = set()

    @contextmanager
    def place(self, node: str) -> Iterator[bool]:
        """True: the block has a place. False: there is none, the node is parked."""
        if not self._enter(node):
            yield False
            return
        self._placed(node)
        try:
            yield True
        finally:
            self._leave()

    def settle(self, node: str) -> None:
        """A round of the node has ended: a place kept for it that it did not use is for the next."""
        if node in self._kept:
            self._kept.remove(node)
            self._leave()

    def _enter(self, node: str) -> bool:
        if node in self._kept:
            self._kept.remove(node)
        elif self._free:
            self._free -= 1
            self._parked.pop(node, None)
        else:
            self._parked[node] = None
            return False
        return True

    def _leave(self) -> None:
        if not self._parked:
            self._free += 1
            return
        node = min(self._parked, key=self._lack)
        del self._parked[node]
        self._kept.add(node)
        self._call(node)


class Lanes:
    """One for each kind of write that clouds count by itself."""

    def __init__(
        self,
        *,
        lack: Callable[[str], float],
        call: Callable[[str], None],
        placed: Callable[[str], None],
        places: int = _PLACES,
    ) -> None:
        self.creating, self.assigning, self.releasing = self._all = tuple(
            Lane(places, lack=lack, call=call, placed=placed) for _ in range(3)
        )
        self.places = places * len(self._all)
        """Of all lanes together."""

    def of(self, action: Action) -> Lane:
        """The lane of a planned write."""
        match action:
            case Create():
                return self.creating
            case Assign():
                return self.assigning
            case Release() | Delete():
                return self.releasing

    def settle(self, node: str) -> None:
        """See ``Lane.settle``."""
        for lane in self._all:
            lane.settle(node)
