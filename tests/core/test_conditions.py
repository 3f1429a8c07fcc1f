import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.core.api.conditions import parse_rfc3339, rfc3339, set_condition
from underlay.core.api.meta import Condition
from underlay.core.errors import InvalidInput

EARLIER, NOW = "2026-01-01T00:00:00Z", "2026-01-02T03:04:05Z"


def _ready(status: str = "True", reason: str = "Usable") -> Condition:
    return Condition(
        type="Ready",
        status="True" if status == "True" else "False",
        reason=reason,
        message="",
        last_transition_time=EARLIER,
        observed_generation=1,
    )


def test_first_condition_of_a_type_is_appended() -> None:
    """A type that was not there is added behind the others, with the time of now."""
    result = set_condition([_ready()], "HostClean", "False", "AddressOnHost", "remove it", NOW, 3)

    assert result == [
        _ready(),
        Condition(
            type="HostClean",
            status="False",
            reason="AddressOnHost",
            message="remove it",
            last_transition_time=NOW,
            observed_generation=3,
        ),
    ]


def test_time_stays_while_the_status_stays() -> None:
    """A new reason, message or generation is no transition (metav1.Condition)."""
    (result,) = set_condition([_ready()], "Ready", "True", "StillUsable", "fine", NOW, 2)

    assert (result.last_transition_time, result.reason, result.observed_generation) == (EARLIER, "StillUsable", 2)


def test_time_changes_with_the_status() -> None:
    """A change of status is a transition, and the condition keeps its place in the list."""
    other = set_condition([], "Other", "Unknown", "Asking", "", EARLIER)

    result = set_condition([_ready(), *other], "Ready", "False", "Denied", "", NOW)

    assert [(item.type, item.status, item.last_transition_time) for item in result] == [
        ("Ready", "False", NOW),
        ("Other", "Unknown", EARLIER),
    ]


@given(st.integers(0, 253402300799))
def test_times_come_back(seconds: int) -> None:
    """Every whole second until the year 9999 is rendered and parsed back."""
    assert seconds == parse_rfc3339(rfc3339(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2026-01-02T03:04:05Z", 1767323045.0),
        ("2026-01-02T05:04:05+02:00", 1767323045.0),
        ("2026-01-02T03:04:05.500000Z", 1767323045.5),
    ],
)
def test_known_times(text: str, seconds: float) -> None:
    """Offsets and the fractions of metav1.MicroTime are understood (RFC 3339 §5.6)."""
    assert seconds == parse_rfc3339(text)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-02", "2026-01-02T03:04:05", "2026-13-01T00:00:00Z"])
def test_other_texts_are_refused(text: str) -> None:
    """A time without offset, or no time at all, is refused by the field's name."""
    with pytest.raises(InvalidInput, match=r"^status\.since: found"):
        parse_rfc3339(text, "status.since")
