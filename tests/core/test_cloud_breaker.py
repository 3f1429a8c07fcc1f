"""The breaker's rules, in made-up time."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.core.cloud.breaker import Breaker, Level, Outcome, Terms, parse
from underlay.core.errors import InvalidInput

TERMS = Terms()
MOMENTS = st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=120)
"""Pauses, and whether the call after each fails."""


def told(breaker: Breaker, operation: str, outcomes: Iterable[bool], *, at: float = 0.0) -> None:
    """Outcomes (True: failed) of one moment."""
    for failed in outcomes:
        breaker.heard(operation, Outcome(at=at, failed=failed), "Throttled: Code: text" if failed else "")


def level(breaker: Breaker, operation: str, now: float) -> Level:
    return breaker.operations(now)[operation].level


@pytest.mark.parametrize(
    ("failed", "worked", "expected"),
    [
        (9, 0, Level.NORMAL),
        (10, 0, Level.NO_RELEASE),
        (10, 10, Level.NO_RELEASE),
        (10, 11, Level.NORMAL),
        (19, 0, Level.NO_RELEASE),
        (20, 0, Level.NO_CALLS),
        (20, 2, Level.NO_CALLS),
        (20, 3, Level.NO_RELEASE),
    ],
)
def test_levels_by_number_and_share(failed: int, worked: int, expected: Level) -> None:
    """Ten failures that are half of all calls stop releases; twenty that are nine tenths stop calls."""
    breaker = Breaker()
    told(breaker, "Assign", [False] * worked + [True] * failed)

    assert level(breaker, "Assign", 0) is expected


@pytest.mark.parametrize(
    ("by_hand", "sent"),
    [
        (Level.NORMAL, {"AssignPrivateIpAddresses", "DescribeSubnets", "DeleteNetworkInterface"}),
        (Level.NO_RELEASE, {"AssignPrivateIpAddresses", "DescribeSubnets"}),
        (Level.NO_CALLS, set()),
    ],
)
def test_what_each_level_lets_through_by_hand(by_hand: Level, sent: set[str]) -> None:
    """By hand a level holds whatever was found, however long, with no call tried in between."""
    operations = {"AssignPrivateIpAddresses", "DescribeSubnets", "DeleteNetworkInterface"}
    breaker = Breaker(by_hand=by_hand)
    for operation in operations:
        told(breaker, operation, [True] * 40)

    assert {name for name in operations if breaker.admit(name, 1e6) is None} == sent


@pytest.mark.parametrize("operation", ["UnassignPrivateIpAddresses", "DetachNetworkInterface", "DeleteTags"])
def test_no_release_holds_what_shrinks(operation: str) -> None:
    """With most operations at no-release, nothing shrinks and the rest is sent."""
    breaker = Breaker()
    told(breaker, operation, [False])
    for troubled in ("AssignPrivateIpAddresses", "AttachNetworkInterface"):
        told(breaker, troubled, [True] * 12)

    refused = breaker.admit(operation, 0)

    assert refused is not None
    assert (refused.level, refused.scope, refused.why) == (Level.NO_RELEASE, "", "Throttled: Code: text")
    assert refused.until is not None
    assert breaker.admit("AssignPrivateIpAddresses", 0) is None
    assert breaker.admit("DescribeSubnets", 0) is None


@given(
    broken=st.sampled_from(["AttachNetworkInterface", "DescribeSubnets", "DeleteNetworkInterface"]),
    outcomes=st.lists(st.booleans(), max_size=100),
)
def test_the_outage_of_one_operation_stops_no_other(broken: str, outcomes: list[bool]) -> None:
    """Whatever becomes of one operation while another works, the other is always sent."""
    breaker = Breaker()
    for now, failed in enumerate(outcomes):
        told(breaker, broken, [failed], at=float(now))
        for other in ("UnassignPrivateIpAddresses", "AssignPrivateIpAddresses"):
            assert breaker.admit(other, float(now)) is None
            told(breaker, other, [False], at=float(now))


@given(MOMENTS)
def test_at_no_calls_one_try_per_interval(moments: list[tuple[float, bool]]) -> None:
    """While every try fails, tries are at least an interval apart, however often somebody asks."""
    breaker, now, tries = Breaker(), 0.0, []
    told(breaker, "Attach", [True] * 40)
    for pause, _ in moments:
        now += pause
        if level(breaker, "Attach", now) is not Level.NO_CALLS:
            break
        if breaker.admit("Attach", now) is None:
            tries.append(now)
            told(breaker, "Attach", [True], at=now)

    assert all(after >= before + TERMS.probe_seconds for before, after in itertools.pairwise(tries))


@given(MOMENTS)
def test_down_one_step_at_a_time_and_only_for_good_answers_or_silence(moments: list[tuple[float, bool]]) -> None:
    """Between two outcomes less than a window apart the level falls by one at most, and only at the last of five good
    answers in a row; a single failure never lowers it.
    """
    breaker, now, good, before = Breaker(), 0.0, 0, Level.NO_CALLS
    told(breaker, "Attach", [True] * 40)
    for pause, failed in moments:
        now += pause
        told(breaker, "Attach", [failed], at=now)
        good = 0 if failed else good + 1
        after = level(breaker, "Attach", now)
        if after < before:
            assert after == before - 1
            assert good >= TERMS.good_in_a_row
            good = 0
        before = after


@given(MOMENTS)
def test_it_always_recovers(moments: list[tuple[float, bool]]) -> None:
    """After anything at all, a cloud that works again is at normal after twice five tries, each admitted at the latest
    an interval after the one before.
    """
    breaker, now = Breaker(), 0.0
    for pause, failed in moments:
        now += pause
        if breaker.admit("DeleteNetworkInterface", now) is None:
            told(breaker, "DeleteNetworkInterface", [failed], at=now)
    for _ in range(2 * TERMS.good_in_a_row):
        now += TERMS.probe_seconds
        assert breaker.admit("DeleteNetworkInterface", now) is None
        told(breaker, "DeleteNetworkInterface", [False], at=now)

    assert breaker.worst(now) is Level.NORMAL
    assert breaker.refusal("DeleteNetworkInterface", now) is None


def test_silence_leads_back_step_by_step() -> None:
    """Where nobody calls, each window takes one level away."""
    breaker = Breaker()
    told(breaker, "Attach", [True] * 40)

    found = [level(breaker, "Attach", TERMS.window_seconds * share) for share in (0.99, 1, 1.99, 2)]
    assert found == [Level.NO_CALLS, Level.NO_RELEASE, Level.NO_RELEASE, Level.NORMAL]


@pytest.mark.parametrize("text", ["", "No-Release", "stop", "no_calls"])
def test_an_unknown_level_is_refused_by_the_annotations_name(text: str) -> None:
    """The text names the annotation, what was found and what may be written."""
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    for part in ("underlay.spidernet.io/breaker", repr(text), "normal", "no-release", "no-calls"):
        assert part in str(caught.value)
