"""Lanes: how many write at once, who comes next, and that no free place stays empty while somebody waits."""

from collections import deque
from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from underlay.operator.lanes import Lane

NODES = st.sampled_from("abcdefg")
STEPS = st.lists(st.tuples(st.sampled_from(["write", "look", "end"]), NODES), max_size=60)


def test_the_one_that_lacks_most_is_next() -> None:
    """Of three parked nodes the place goes to the one with the largest lack at that moment, and to nobody between."""
    called: list[str] = []
    lacks = {"b": -1, "c": -2, "d": -3, "e": -9}
    lane = Lane(1, lack=lacks.__getitem__, call=called.append)
    with lane.place("a") as first:
        parked = [lane.place(node).__enter__() for node in "bcd"]
        lacks["c"] = -8
    with lane.place("e") as passing_by, lane.place("c") as chosen:
        pass

    assert (first, parked, passing_by, chosen) == (True, [False] * 3, False, True)
    assert called[0] == "c"


def test_a_place_not_used_goes_to_the_next() -> None:
    """A node that needs nothing any more when it is called leaves the place to whoever else is parked."""
    called: list[str] = []
    lane = Lane(1, lack=ord, call=called.append)
    with lane.place("a"), lane.place("b"), lane.place("c"):
        pass
    lane.settle("b")

    assert called == ["b", "c"]

    lane.settle("c")
    with lane.place("d") as placed:
        assert placed


class Rounds:
    """Nodes that want to write or not, and have rounds as the warm pool gives them."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.called: deque[str] = deque()
        self.writing: dict[str, ExitStack] = {}
        self.waiting: set[str] = set()
        self._lane = Lane(places, lack=lambda _node: 0, call=self.called.append)

    def have(self, node: str, *, write: bool) -> None:
        """A round; one that writes ends with ``end``."""
        if node in self.writing:
            return
        self.waiting.discard(node)
        if write:
            stack = ExitStack()
            if stack.enter_context(self._lane.place(node)):
                self.writing[node] = stack
                assert len(self.writing) <= self.places
                return
            self.waiting.add(node)
        self._lane.settle(node)

    def end(self, node: str) -> None:
        """Its write ends."""
        if stack := self.writing.pop(node, None):
            stack.close()
            self._lane.settle(node)

    def heed(self) -> None:
        """All that were called have their round."""
        while self.called:
            node = self.called.popleft()
            self.have(node, write=node in self.waiting)


@given(steps=STEPS, places=st.integers(1, 3))
def test_no_place_is_given_twice_and_none_stays_empty(steps: list[tuple[str, str]], places: int) -> None:
    """For every order of rounds that write, look only, or end a write: never more writes than places; once all called
    nodes had their round nobody waits beside a free place, and in the end everybody has written.
    """
    rounds = Rounds(places)
    for step, node in steps:
        if step == "end":
            rounds.end(node)
        else:
            rounds.have(node, write=step == "write")
    rounds.heed()

    assert not rounds.waiting or len(rounds.writing) == places

    while rounds.writing:
        rounds.end(min(rounds.writing))
        rounds.heed()
    assert not rounds.waiting
