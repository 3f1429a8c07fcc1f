"""How many more pods can start, told to people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.core.api.networkprovider import SubnetStatus
from underlay.core.api.nodenetwork import Demand
from underlay.operator.reconcile.outlook import Outlook, free, outlook, told


def demand(*, pods: int, usable: int, room: int, cooling: int = 0) -> Demand:
    return Demand(pods=pods, cooling=cooling, target=usable, usable=usable, room=room)


@pytest.mark.parametrize(
    ("demands", "left", "expected"),
    [
        pytest.param([], 10, Outlook(pods=0, idle=0, room=0), id="no-nodes"),
        pytest.param([demand(pods=3, usable=8, room=12)], 100, Outlook(pods=3, idle=5, room=12), id="by-its-limits"),
        pytest.param([demand(pods=3, usable=8, room=12)], 2, Outlook(pods=3, idle=5, room=7), id="by-its-subnet"),
        pytest.param([demand(pods=3, usable=8, room=12)], None, Outlook(pods=3, idle=5, room=12), id="unknown-subnets"),
        pytest.param(
            [demand(pods=1, usable=4, room=20), demand(pods=1, usable=4, room=20)],
            10,
            Outlook(pods=2, idle=6, room=16),
            id="two-nodes-share-a-subnet",
        ),
        pytest.param([demand(pods=9, usable=4, room=0)], 0, Outlook(pods=9, idle=0, room=0), id="pods-wait"),
        pytest.param(
            [demand(pods=2, usable=5, room=3, cooling=2)], 0, Outlook(pods=2, idle=1, room=1), id="cooling-is-not-idle"
        ),
    ],
)
def test_what_can_still_start(demands: list[Demand], left: int | None, expected: Outlook) -> None:
    """Idle addresses at once; beyond them what nodes could get, together no more than the subnets have."""
    assert outlook(demands, left) == expected


@given(
    st.lists(st.builds(demand, pods=st.integers(0, 50), usable=st.integers(0, 60), room=st.integers(0, 99))),
    st.integers(0, 500),
)
def test_it_never_promises_what_is_not_there(demands: list[Demand], left: int) -> None:
    """No more than the idle addresses and what is left in the subnets."""
    seen = outlook(demands, left)

    assert seen.idle <= seen.room <= seen.idle + left


def test_scarce_subnets_come_first() -> None:
    """The line names what an administrator has to look at before anything else."""
    subnets = [
        SubnetStatus(id="subnet-a", cidr="10.0.0.0/24", free=120),
        SubnetStatus(id="subnet-b", cidr="10.0.1.0/24", free=0, pressure="empty", blocked_until="2026-01-01T10:00:00Z"),
        SubnetStatus(id="subnet-c", cidr="10.0.2.0/24", free=9, pressure="low", no_prefix_until="2026-01-01T11:00:00Z"),
    ]

    assert told(subnets) == (
        "subnet-b exhausted, asked again 2026-01-01T10:00:00Z,"
        " subnet-c 9 free, no whole block until 2026-01-01T11:00:00Z, subnet-a 120 free"
    )
    assert free(subnets) == 129
    assert free([SubnetStatus(id="subnet-d", cidr="10.0.3.0/24")]) is None
