"""Pods → how many addresses a node should have."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.cloud_values import address_policies
from underlay.core.api.networkprovider import AddressPolicy
from underlay.core.cloud.model import Kind
from underlay.core.cloud.planning import demand
from underlay.core.cloud.planning.demand import sizing
from underlay.core.cloud.planning.pressure import Pressure

counts = st.integers(0, 300)
kinds = st.sampled_from(Kind)
pressures = st.sampled_from(Pressure)


def target(*, pods: int, cooling: int = 0, policy: AddressPolicy, room: int = 10_000) -> int:
    """Of single addresses, in plenty."""
    return demand.target(pods=pods, cooling=cooling, sizing=sizing(policy, Kind.IPV4, Pressure.NORMAL), room=room)


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


@pytest.mark.parametrize(
    ("kind", "pressure", "policy", "pods", "expected"),
    [
        pytest.param(Kind.IPV4_PREFIX, Pressure.NORMAL, AddressPolicy(), 0, 16, id="half a prefix spare: one"),
        pytest.param(Kind.IPV4_PREFIX, Pressure.NORMAL, AddressPolicy(), 8, 16, id="eight and half a prefix: one"),
        pytest.param(Kind.IPV4_PREFIX, Pressure.NORMAL, AddressPolicy(), 9, 32, id="nine and half a prefix: two"),
        pytest.param(Kind.IPV4_PREFIX, Pressure.LOW, AddressPolicy(), 15, 16, id="low: one spare"),
        pytest.param(Kind.IPV4_PREFIX, Pressure.EMPTY, AddressPolicy(), 16, 16, id="empty: none spare"),
        pytest.param(Kind.IPV4_PREFIX, Pressure.NORMAL, AddressPolicy(minimum=20), 0, 32, id="minimum rounded up"),
        pytest.param(Kind.IPV4_PREFIX, Pressure.NORMAL, AddressPolicy(max_idle=2), 15, 32, id="max idle rounded up"),
        pytest.param(Kind.IPV4_PREFIX, Pressure.NORMAL, AddressPolicy(max_idle=2), 14, 16, id="max idle met by one"),
        pytest.param(Kind.IPV4, Pressure.LOW, AddressPolicy(), 3, 4, id="low: three and one spare"),
        pytest.param(Kind.IPV4, Pressure.LOW, AddressPolicy(buffer=0), 3, 3, id="low: none where none was wanted"),
        pytest.param(Kind.IPV4, Pressure.EMPTY, AddressPolicy(), 3, 3, id="empty: three"),
        pytest.param(Kind.IPV6_PREFIX, Pressure.NORMAL, AddressPolicy(), 100, 1024, id="one IPv6 prefix for all"),
        pytest.param(Kind.IPV6_PREFIX, Pressure.NORMAL, AddressPolicy(buffer=0), 0, 0, id="no pod, no buffer, none"),
    ],
)
def test_kinds_and_pressure(kind: Kind, pressure: Pressure, policy: AddressPolicy, pods: int, expected: int) -> None:
    """Prefixes come whole; where a subnet has little, little is kept."""
    found = demand.target(pods=pods, cooling=0, sizing=sizing(policy, kind, pressure), room=10_000)

    assert found == expected


@given(counts, counts, address_policies, counts, kinds, pressures)
def test_between_need_and_room(
    pods: int, cooling: int, policy: AddressPolicy, room: int, kind: Kind, pressure: Pressure
) -> None:
    """The target covers everything used and the minimum unless room forbids, and never exceeds room."""
    found = demand.target(pods=pods, cooling=cooling, sizing=sizing(policy, kind, pressure), room=room)

    assert min(max(pods + cooling, policy.minimum), room) <= found <= room


@given(counts, counts, address_policies, kinds, pressures)
def test_whole_prefixes(pods: int, cooling: int, policy: AddressPolicy, kind: Kind, pressure: Pressure) -> None:
    """With room for it the target is a multiple of what is got at a time; of an empty subnet it is what is used."""
    found = demand.target(pods=pods, cooling=cooling, sizing=sizing(policy, kind, pressure), room=1_000_000)

    assert found == max(pods + cooling, policy.minimum) if pressure is Pressure.EMPTY else found % kind.size == 0


@given(counts, counts, address_policies, kinds)
def test_scarcity_never_raises_the_target(pods: int, cooling: int, policy: AddressPolicy, kind: Kind) -> None:
    """The scarcer the subnet, the less is wanted: low at most one address more than used, empty none."""
    found = {
        pressure: demand.target(pods=pods, cooling=cooling, sizing=sizing(policy, kind, pressure), room=1_000_000)
        for pressure in Pressure
    }
    used = int(max(pods + cooling, policy.minimum))

    assert found[Pressure.EMPTY] <= found[Pressure.LOW] <= found[Pressure.NORMAL]
    assert found[Pressure.LOW] < used + 1 + kind.size
    assert found[Pressure.EMPTY] < used + kind.size


@given(counts, counts, address_policies, kinds, pressures, counts)
def test_the_kubelet_bounds_it(
    pods: int, cooling: int, policy: AddressPolicy, kind: Kind, pressure: Pressure, most: int
) -> None:
    """No more than the kubelet runs, to a whole prefix; pods that are bound are not left without."""
    sized = sizing(policy, kind, pressure, most=most)
    found = demand.target(pods=pods, cooling=cooling, sizing=sized, room=1_000_000)

    assert found < max(most, pods) + kind.size
    assert found >= pods


@given(counts, counts, address_policies, kinds, pressures)
def test_a_cordoned_node_keeps_nothing_spare(
    pods: int, cooling: int, policy: AddressPolicy, kind: Kind, pressure: Pressure
) -> None:
    """What is used, to a whole prefix; neither buffer nor minimum."""
    sized = sizing(policy, kind, pressure, cordoned=True)

    assert pods + cooling <= demand.target(pods=pods, cooling=cooling, sizing=sized, room=1_000_000)
    assert demand.target(pods=pods, cooling=cooling, sizing=sized, room=1_000_000) < pods + cooling + kind.size


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
    found = target(pods=pods, cooling=cooling, policy=policy)
    spare = Fraction(str(policy.buffer)) * policy.batch

    least = min(spare, Fraction(policy.max_idle)) if policy.max_idle else spare

    assert least <= found - used <= max(spare + policy.batch, Fraction(policy.minimum))
    assert not policy.max_idle or found <= max(used + policy.max_idle, policy.minimum)
