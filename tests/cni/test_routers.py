"""When a link is asked for its router again, and how long an answer is believed."""

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.cni.datapath.solicitation import Router6
from underlay.cni.routers import LONGEST_TRUST_SECONDS, Seeking, heard

ROUTER = IPv6Address("fe80:ec2::1")


def router(lifetime_seconds: float) -> Router6:
    return Router6(address=ROUTER, lifetime_seconds=lifetime_seconds)


def test_pauses_grow_while_nobody_answers() -> None:
    """They double up to the longest; an answer makes the next search quick again."""
    seeking, now, pauses = Seeking(), 0.0, []
    for _ in range(10):
        seeking = heard(seeking, None, now)
        pauses.append(seeking.due - now)
        now = seeking.due

    assert pauses == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    found = heard(seeking, router(1800), now)
    assert heard(found, None, found.due).due - found.due == 0.5


@pytest.mark.parametrize(
    ("lifetime", "asked_after"), [(20, 10), (1800, LONGEST_TRUST_SECONDS), (float("inf"), LONGEST_TRUST_SECONDS)]
)
def test_a_router_is_asked_again_in_time(lifetime: float, asked_after: float) -> None:
    """At half of its lifetime, and now and then if that is long or unknown."""
    assert heard(Seeking(), router(lifetime), 100.0).due == 100 + asked_after


@given(st.floats(2, 9000), st.lists(st.booleans(), max_size=40))
def test_a_silent_router_is_believed_for_its_lifetime_and_no_longer(lifetime: float, answers: list[bool]) -> None:
    """It counts until its lifetime after the last answer, and is asked again by then at the latest."""
    now = last = 1000.0
    seeking = heard(Seeking(), router(lifetime), now)
    for answered in answers:
        assert seeking.router is None or now < seeking.due <= last + lifetime
        now = seeking.due
        last = now if answered else last
        seeking = heard(seeking, router(lifetime) if answered else None, now)

        assert (seeking.router is not None) == (now < last + lifetime)
