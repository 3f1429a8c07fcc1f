from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.core.addresses import (
    WINDOW_SIZE,
    AddressRange,
    IPAddress,
    RangeSet,
    parse_address,
    parse_network,
    window,
)
from underlay.core.errors import InvalidInput


@st.composite
def address_ranges(draw: st.DrawFn) -> AddressRange:
    """Short ranges that often touch or overlap: 128 addresses of each family."""
    bases: list[IPAddress] = [IPv4Address("10.0.0.0"), IPv6Address("2001:db8::")]
    base = draw(st.sampled_from(bases))
    first = draw(st.integers(0, 127))
    last = draw(st.integers(first, min(127, first + 20)))
    return AddressRange(base + first, base + last)


range_sets = st.lists(address_ranges(), max_size=8).map(RangeSet)
addresses = st.one_of(
    st.integers(0, 127).map(lambda offset: IPv4Address("10.0.0.0") + offset),
    st.integers(0, 127).map(lambda offset: IPv6Address("2001:db8::") + offset),
)


@given(range_sets, range_sets)
def test_operations_agree_with_those_of_plain_sets(left: RangeSet, right: RangeSet) -> None:
    """Union, difference and intersection hold exactly the addresses that the same operation on sets gives."""
    plain_left, plain_right = set(left), set(right)

    assert plain_left | plain_right == set(left.union(right))
    assert plain_left - plain_right == set(left.difference(right))
    assert plain_left & plain_right == set(left.intersection(right))


@given(range_sets, addresses)
def test_membership_count_and_positions_agree_with_iteration(ranges: RangeSet, address: IPAddress) -> None:
    """What is iterated is ascending, is contained, is counted, and stands at its position."""
    listed = list(ranges)

    assert sorted(listed, key=lambda item: (item.version, int(item))) == listed
    assert len(set(listed)) == ranges.count
    assert (address in listed) == (address in ranges)
    assert listed == [ranges.nth(index) for index in range(ranges.count)]
    assert bool(listed) == bool(ranges)


@given(range_sets)
def test_text_form_comes_back_as_the_same_set(ranges: RangeSet) -> None:
    """Rendering and parsing are inverse, and the rendering has as few ranges as possible."""
    texts = ranges.render()

    assert ranges == RangeSet.parse(texts, "spec.ips")
    assert hash(ranges) == hash(RangeSet.parse(texts, "spec.ips"))
    assert all(
        int(after.first) > int(before.last) + 1
        for before, after in zip(ranges.ranges, ranges.ranges[1:], strict=False)
        if before.last.version == after.first.version
    )


@given(range_sets, range_sets, st.none() | addresses)
def test_next_free_is_the_first_address_not_taken_in_cyclic_order(
    pool: RangeSet, taken: RangeSet, after: IPAddress | None
) -> None:
    """The search starts above ``after``, wraps once, and finds nothing only when everything is taken."""
    free = [address for address in pool if address not in taken]
    above = [item for item in free if after is None or (item.version, int(item)) > (after.version, int(after))]

    assert next(iter([*above, *free]), None) == pool.next_free(taken, after=after)


@given(range_sets)
def test_windows_cover_the_set_and_nothing_is_named_twice(ranges: RangeSet) -> None:
    """The windows of a set are those of its addresses, each once, ascending."""
    expected = list(dict.fromkeys(window(address) for address in ranges))

    assert expected == list(ranges.windows())


@given(addresses)
def test_a_window_is_an_aligned_block_of_64_addresses(address: IPAddress) -> None:
    """A window holds its address and is 64 addresses long."""
    assert address in window(address)
    assert window(address).num_addresses == WINDOW_SIZE == 64


def test_a_64_bit_subnet_costs_no_more_than_one_address() -> None:
    """Sets of 2⁶⁴ addresses are counted, searched and cut without walking them."""
    subnet = RangeSet.network(ip_network("2001:db8::/64"))
    reserved = RangeSet.parse(["2001:db8::-2001:db8::ffff:ffff"], "ips")

    rest = subnet.difference(reserved)

    assert rest.count == 2**64 - 2**32
    assert rest.next_free(RangeSet()) == IPv6Address("2001:db8::1:0:0")
    assert rest.nth(rest.count - 1) == IPv6Address("2001:db8::ffff:ffff:ffff:ffff")
    assert [str(item) for item in islice(rest.windows(), 2)] == ["2001:db8::1:0:0/122", "2001:db8::1:0:40/122"]


def test_the_end_of_ipv4_does_not_join_the_start_of_ipv6() -> None:
    """255.255.255.255 and :: stay two ranges though nothing lies between the families."""
    both = RangeSet.of([ip_address("255.255.255.255"), ip_address("::")])

    assert both.render() == ["255.255.255.255", "::"]


@pytest.mark.parametrize(
    ("texts", "rendered"),
    [
        pytest.param([], [], id="empty"),
        pytest.param(["10.0.0.10"], ["10.0.0.10"], id="one address"),
        pytest.param(["10.0.0.10-10.0.0.10"], ["10.0.0.10"], id="range of one"),
        pytest.param(["10.0.0.3", "10.0.0.1-10.0.0.2"], ["10.0.0.1-10.0.0.3"], id="touching"),
        pytest.param(["10.0.0.1-10.0.0.9", "10.0.0.3-10.0.0.4"], ["10.0.0.1-10.0.0.9"], id="contained"),
        pytest.param(["fd00::a-fd00::c"], ["fd00::a-fd00::c"], id="IPv6"),
    ],
)
def test_ranges_are_sorted_and_merged(texts: list[str], rendered: list[str]) -> None:
    """Spiderpool's webhook sorts and merges ``ips``; so does the set."""
    assert rendered == RangeSet.parse(texts, "spec.ips").render()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("10.0.0.0/24", id="CIDR"),
        pytest.param("10.0.0.1 - 10.0.0.2", id="spaces"),
        pytest.param("10.0.0.2-10.0.0.1", id="descending"),
        pytest.param("10.0.0.1-fd00::1", id="two families"),
        pytest.param("10.0.0.1-", id="no end"),
        pytest.param("-10.0.0.1", id="no start"),
        pytest.param("10.0.0.1-10.0.0.2-10.0.0.3", id="three parts"),
        pytest.param("10.0.0.256", id="no such octet"),
        pytest.param("10.0.0.01", id="leading zero"),
        pytest.param("fe80::1%eth0", id="zone"),
    ],
)
def test_bad_range_is_refused_with_its_place(text: str) -> None:
    """The error names the field, the position in the list, and what was found."""
    with pytest.raises(InvalidInput) as caught:
        RangeSet.parse(["10.0.0.1", text], "spec.ips")

    assert caught.value.field == "spec.ips[1]"
    assert caught.value.found == text


@pytest.mark.parametrize("text", ["10.0.0.1/24", "10.0.0.0/33", "somewhere", ""])
def test_bad_network_is_refused(text: str) -> None:
    """Host bits and nonsense are refused by name."""
    with pytest.raises(InvalidInput, match=r"^spec\.subnet: found"):
        parse_network(text, "spec.subnet")


def test_single_values_are_parsed() -> None:
    """An address and a network in canonical form come back as ``ipaddress`` values."""
    assert parse_address("fd00::1", "gateway") == IPv6Address("fd00::1")
    assert parse_network("10.0.0.0/16", "subnet") == ip_network("10.0.0.0/16")


@pytest.mark.parametrize("index", [-1, 3])
def test_position_outside_the_set_is_an_index_error(index: int) -> None:
    """``nth`` counts from 0 to ``count`` - 1 and knows no negative positions."""
    with pytest.raises(IndexError):
        RangeSet.parse(["10.0.0.1-10.0.0.3"], "ips").nth(index)


def test_a_backward_range_cannot_be_made() -> None:
    """A value that is not a range is refused where it is made."""
    with pytest.raises(ValueError, match="not a range"):
        AddressRange(ip_address("10.0.0.2"), ip_address("10.0.0.1"))
