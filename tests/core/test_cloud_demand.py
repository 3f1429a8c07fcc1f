"""Pods → how many addresses a node should have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.cloud_values import address_policies
from underlay.core.api.networkprovider import AddressPolicy
from underlay.core.cloud.demand import target

counts = st.integers(0, 300)


@pytest.mark.parametrize(
    ("pods", "cooling", "policy", "room", "expected"),
    [
        pytest.param(0, 0, AddressPolicy(batch=4, buffer=0.5), 100, 4, id="half a batch spare needs a first batch"),
        pytest.param(2, 0, AddressPolicy(batch=4, buffer=0.5), 100, 4, id="two used, two spare"),
        pytest.param(3, 0, AddressPolicy(batch=4, buffer=0.5), 100, 8, id="one spare is less than half a batch"),
        pytest.param(1, 2, AddressPolicy(batch=4, buffer=0.5), 100, 8, id="cooling counts as used"),
        pytest.param(12, 0, AddressPolicy(batch=4, buffer=0.5), 15, 15, id="clamped to a t3.medium's room"),
        pytest.param(0, 0, AddressPolicy(batch=4, buffer=0.0), 100, 0, id="no buffer, no pod, nothing"),
        pytest.param(16, 0, AddressPolicy(batch=16, buffer=1.0), 250, 32, id="one whole batch spare"),
        pytest.param(0, 0, AddressPolicy(batch=4, buffer=0.0, minimum=6), 100, 6, id="minimum from the start"),
        pytest.param(0, 0, AddressPolicy(minimum=50), 15, 15, id="minimum yields to room"),
        pytest.param(4, 0, AddressPolicy(batch=4, buffer=0.5, max_idle=1), 100, 5, id="no more idle than allowed"),
        pytest.param(0, 0, AddressPolicy(batch=4, max_idle=1, minimum=3), 100, 3, id="minimum outranks max idle"),
        pytest.param(3, 0, AddressPolicy(batch=10, buffer=0.7), 100, 10, id="7/10 + 3/10 is one batch, not two"),
    ],
)
def test_examples(pods: int, cooling: int, policy: AddressPolicy, room: int, expected: int) -> None:
    """The formula batch * ceil(buffer + used / batch) with its clamps gives these numbers."""
    assert target(pods=pods, cooling=cooling, policy=policy, room=room) == expected


@given(counts, counts, address_policies, counts)
def test_between_need_and_room(pods: int, cooling: int, policy: AddressPolicy, room: int) -> None:
    """The target covers everything used and the minimum unless room forbids, and never exceeds room."""
    found = target(pods=pods, cooling=cooling, policy=policy, room=room)

    assert min(max(pods + cooling, policy.minimum), room) <= found <= room


@given(counts, counts, address_policies, counts)
def test_monotone_in_pods(pods: int, cooling: int, policy: AddressPolicy, room: int) -> None:
    """One more pod never lowers the target, and raises it by no more than a batch."""
    now = target(pods=pods, cooling=cooling, policy=policy, room=room)
    more = target(pods=pods + 1, cooling=cooling, policy=policy, room=room)

    assert now <= more <= now + policy.batch


@given(counts, counts, address_policies)
def test_spare_is_bounded(pods: int, cooling: int, policy: AddressPolicy) -> None:
    """What is kept unused lies between the buffer's share and a batch more, or is what max_idle or minimum say."""
    used = pods + cooling
    found = target(pods=pods, cooling=cooling, policy=policy, room=10_000)
    spare = policy.batch * policy.buffer

    assert found - used <= max(spare + policy.batch, policy.minimum)
    assert found - used >= (min(spare, policy.max_idle) if policy.max_idle else spare)
    assert not policy.max_idle or found <= max(used + policy.max_idle, policy.minimum)
