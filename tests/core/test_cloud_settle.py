"""What is believed of an instance while the cloud's reads lag behind its writes."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from underlay.core.cloud import items
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import Instance, InstanceState, InterfaceState, NetworkInterface
from underlay.core.cloud.settle import Known, OwnWrite, learn, wrote
from underlay.core.identity import InstanceId, InterfaceId, Mac, SubnetId

ENI = InterfaceId("eni-1")
SETTLE = 60.0
ADDRESSES: list[Item] = [
    *(ip_address(f"10.0.0.{last}") for last in range(10, 13)),
    ip_network("10.0.0.32/28"),
    ip_address("2001:db8::10"),
    ip_network("2001:db8:0:0:1::/80"),
]
"""Addresses and prefixes: the same rules are for both."""


def interface(*addresses: Item, id_: InterfaceId = ENI, index: int = 0) -> NetworkInterface:
    bare = NetworkInterface(
        id=id_,
        instance=InstanceId("i-1"),
        subnet=SubnetId("subnet-1"),
        mac=Mac("02:00:00:00:00:01"),
        primary=index == 0,
        device_index=index,
        state=InterfaceState.IN_USE,
        primary_address=ip_address("10.0.0.4"),
        tags={},
    )
    return items.having(bare, addresses)


def instance(*interfaces: NetworkInterface) -> Instance:
    return Instance(
        id=InstanceId("i-1"),
        type="t3.medium",
        zone="a",
        network="vpc-1",
        state=InstanceState.RUNNING,
        interfaces=interfaces,
    )


def addresses(known: Known) -> frozenset[Item]:
    return items.of_interface(known.instance.interfaces[0])


def read(known: Known | None, shown: Instance, at: float, accepted: frozenset[Item] = frozenset()) -> Known:
    return learn(known, shown, began=at, settle=SETTLE, accepted={ENI: accepted})


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(ADDRESSES), st.floats(0.1, 40), st.floats(0, SETTLE - 1)),
        max_size=30,
    )
)
def test_lagging_reads_never_contradict_our_own_writes(story: list[tuple[bool, Item, float, float]]) -> None:
    """However a cloud lags (less than ``settle``), what is believed is exactly what our own writes made."""
    now, truth = 0.0, frozenset[Item]()
    history = [(0.0, truth)]
    known = read(None, instance(interface()), now)
    for adds, address, pause, lag in story:
        now += pause
        change = OwnWrite(
            at=now,
            interface=ENI,
            added=frozenset({address}) if adds else frozenset(),
            removed=frozenset() if adds else frozenset({address}),
        )
        truth = truth | {address} if adds else truth - {address}
        history.append((now, truth))
        known = wrote(known, change)
        now += pause
        shown = next(state for when, state in reversed(history) if when <= max(now - lag, 0.0))
        known = read(known, instance(interface(*shown)), now)

        assert addresses(known) == truth


def test_an_address_only_reads_show_is_believed_after_settle() -> None:
    """An address that appears by itself is usable only when a second read, ``settle`` later, shows it too."""
    stranger = ADDRESSES[3]
    known = read(None, instance(interface(stranger)), 0)
    early = read(known, instance(interface(stranger)), SETTLE - 1)
    late = read(early, instance(interface(stranger)), SETTLE)

    assert addresses(known) == addresses(early) == frozenset()
    assert addresses(late) == {stranger}
    assert not late.unsettled


def test_an_address_vanishing_from_one_read_stays() -> None:
    """One read without an address forgets nothing; two of them, ``settle`` apart, do."""
    (mine, *_) = ADDRESSES
    known = read(None, instance(interface(mine)), 0, accepted=frozenset({mine}))
    once = read(known, instance(interface()), 100)
    back = read(once, instance(interface(mine)), 100 + SETTLE)
    twice = read(read(known, instance(interface()), 100), instance(interface()), 100 + SETTLE)

    assert addresses(once) == addresses(back) == {mine}
    assert addresses(twice) == frozenset()


def test_an_empty_reply_changes_nothing() -> None:
    """An instance without interfaces is a broken reply."""
    (mine, *_) = ADDRESSES
    known = read(None, instance(interface(mine)), 0, accepted=frozenset({mine}))

    assert read(known, instance(), 1000) == known


def test_a_new_interface_survives_reads_that_lag() -> None:
    """An interface of ours is kept while reads do not show it yet, and is gone at once after our own delete."""
    (mine, *_) = ADDRESSES
    second = replace(interface(mine, id_=InterfaceId("eni-2"), index=1))
    known = wrote(read(None, instance(interface()), 0), OwnWrite(at=10, interface=second.id, created=second))
    lagging = read(known, instance(interface()), 20)
    deleted = wrote(lagging, OwnWrite(at=30, interface=second.id, deleted=True))
    shown_again = read(deleted, instance(interface(), second), 40)

    assert [item.id for item in lagging.instance.interfaces] == [ENI, second.id]
    assert [item.id for item in shown_again.instance.interfaces] == [ENI]


def test_what_an_interface_was_made_with_survives_reads_that_lag() -> None:
    """A read shows the new interface before it shows the addresses and prefixes it was created with."""
    made = interface(*ADDRESSES, id_=InterfaceId("eni-2"), index=1)
    known = wrote(read(None, instance(interface()), 0), OwnWrite(at=10, interface=made.id, created=made))
    bare = interface(id_=made.id, index=1)

    assert items.of_interface(read(known, instance(interface(), bare), 20).instance.interfaces[1]) == set(ADDRESSES)
