"""Sets of addresses as sorted, disjoint ranges. Pure.

Everybody else deals in ``ipaddress`` values; the integers stay in this module. A set may hold both families: IPv6 lies
above IPv4 on one number line, with a gap so that no range spans both. Every operation costs by the number of ranges,
never by the number of addresses, so a /64 costs what a single address does.

The text form is Spiderpool's (``spec.ips``): ``10.0.0.5`` or ``10.0.0.5-10.0.0.9``, both ends included, no spaces, no
CIDR.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

from underlay.core.errors import InvalidInput

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

WINDOW_SIZE = 64
"""Addresses per window, the unit in which claims on shared addresses are recorded."""

_IPV6_BASE = 1 << 33
_Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class AddressRange:
    """``first`` to ``last``, both included and of one family."""

    first: IPAddress
    last: IPAddress

    def __post_init__(self) -> None:
        if self.first.version != self.last.version or int(self.first) > int(self.last):
            raise ValueError(f"{self.first}-{self.last} is not a range")

    @classmethod
    def parse(cls, text: str, field: str) -> Self:
        """``a`` or ``a-b``. Raises ``InvalidInput`` naming ``field``."""
        first_text, dash, last_text = text.partition("-")
        first = parse_address(first_text, field, expected=_GRAMMAR, found=text)
        last = parse_address(last_text, field, expected=_GRAMMAR, found=text) if dash else first
        if first.version != last.version:
            raise InvalidInput(field, found=text, expected="both ends of a range of one address family")
        if int(first) > int(last):
            raise InvalidInput(field, found=text, expected="the lower address of a range first")
        return cls(first, last)

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


class RangeSet:
    """An immutable set of addresses, ordered: IPv4 before IPv6, low before high."""

    __slots__ = ("_ends", "_starts")

    def __init__(self, ranges: Iterable[AddressRange] = ()) -> None:
        merged = _merge((_number(item.first), _number(item.last)) for item in ranges)
        self._starts = tuple(start for start, _ in merged)
        self._ends = tuple(end for _, end in merged)

    @classmethod
    def parse(cls, texts: Iterable[str], field: str) -> Self:
        """Ranges as text. Overlaps are merged. Raises ``InvalidInput`` naming ``field`` and the position."""
        return cls(AddressRange.parse(text, f"{field}[{index}]") for index, text in enumerate(texts))

    @classmethod
    def of(cls, addresses: Iterable[IPAddress]) -> Self:
        """The set of single addresses."""
        return cls(AddressRange(address, address) for address in addresses)

    @classmethod
    def network(cls, network: IPNetwork) -> Self:
        """All addresses of a network, its first and last included."""
        return cls((AddressRange(network.network_address, network.broadcast_address),))

    @property
    def ranges(self) -> tuple[AddressRange, ...]:
        """As few ranges as possible, ascending."""
        return tuple(AddressRange(_address(start), _address(end)) for start, end in self._spans())

    def render(self) -> list[str]:
        """Inverse of ``parse``."""
        return [str(item) for item in self.ranges]

    @property
    def count(self) -> int:
        """How many addresses; may exceed what ``len`` can return."""
        return sum(end - start + 1 for start, end in self._spans())

    def nth(self, index: int) -> IPAddress:
        """The address at ``index``, counted from 0. Raises ``IndexError`` outside 0 … count - 1."""
        if index >= 0:
            for start, end in self._spans():
                if index <= end - start:
                    return _address(start + index)
                index -= end - start + 1
        raise IndexError("address index out of range")

    def union(self, other: Self) -> Self:
        """Addresses in either."""
        return type(self)((*self.ranges, *other.ranges))

    def difference(self, other: Self) -> Self:
        """Addresses here that are not in ``other``."""
        rest = _subtract(list(self._spans()), list(other._spans()))
        return type(self)(AddressRange(_address(start), _address(end)) for start, end in rest)

    def intersection(self, other: Self) -> Self:
        """Addresses in both."""
        return self.difference(self.difference(other))

    def next_free(self, taken: Self, *, after: IPAddress | None = None) -> IPAddress | None:
        """The first address not in ``taken``, searched upwards from ``after``, then from the start; None: all taken."""
        if after is None:
            return self._free_from(0, taken)
        found = self._free_from(_number(after) + 1, taken)
        return found if found is not None else self._free_from(0, taken)

    def windows(self) -> Iterator[IPNetwork]:
        """Every window that holds an address of the set, ascending, each once. Lazy: a /64 has 2⁵⁸ of them."""
        previous = -1
        for start, end in self._spans():
            first = max(start // WINDOW_SIZE, previous + 1)
            for index in range(first, end // WINDOW_SIZE + 1):
                yield window(_address(index * WINDOW_SIZE))
            previous = max(previous, end // WINDOW_SIZE)

    def __contains__(self, address: object) -> bool:
        return isinstance(address, IPv4Address | IPv6Address) and self._end_of(_number(address)) is not None

    def __iter__(self) -> Iterator[IPAddress]:
        for start, end in self._spans():
            yield from map(_address, range(start, end + 1))

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return self._starts == other._starts and self._ends == other._ends

    def __hash__(self) -> int:
        return hash((self._starts, self._ends))

    def __repr__(self) -> str:
        return f"RangeSet({', '.join(self.render())})"

    def _spans(self) -> Iterator[_Span]:
        return zip(self._starts, self._ends, strict=True)

    def _end_of(self, number: int) -> int | None:
        """The end of the span that holds ``number``; None when no span does."""
        index = bisect_right(self._starts, number) - 1
        return self._ends[index] if index >= 0 and number <= self._ends[index] else None

    def _free_from(self, lowest: int, taken: Self) -> IPAddress | None:
        for index in range(bisect_left(self._ends, lowest), len(self._ends)):
            candidate = max(lowest, self._starts[index])
            while candidate <= self._ends[index]:
                end = taken._end_of(candidate)
                if end is None:
                    return _address(candidate)
                candidate = end + 1
        return None


def parse_address(text: str, field: str, *, expected: str = "an IP address", found: str | None = None) -> IPAddress:
    """One address. A zone (``fe80::1%eth0``) is refused: it names a link of one machine. Raises ``InvalidInput``."""
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidInput(field, found=found or text, expected=expected) from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise InvalidInput(field, found=found or text, expected=f"{expected}, without a zone")
    return address


def parse_network(text: str, field: str) -> IPNetwork:
    """One network in canonical form: no host bits. Raises ``InvalidInput``."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise InvalidInput(field, found=text, expected=f"a network such as 10.0.0.0/16 ({error})") from None


def window(address: IPAddress) -> IPNetwork:
    """The aligned window of ``WINDOW_SIZE`` addresses that ``address`` lies in: a /26 or a /122."""
    lost_bits = WINDOW_SIZE.bit_length() - 1
    return ip_network((address, address.max_prefixlen - lost_bits), strict=False)


_GRAMMAR = "an address or an inclusive range, such as 10.0.0.5 or 10.0.0.5-10.0.0.9"


def _number(address: IPAddress) -> int:
    return int(address) if address.version == 4 else int(address) + _IPV6_BASE


def _address(number: int) -> IPAddress:
    return IPv4Address(number) if number < _IPV6_BASE else IPv6Address(number - _IPV6_BASE)


def _merge(spans: Iterable[_Span]) -> list[_Span]:
    merged: list[_Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _subtract(spans: Sequence[_Span], holes: Sequence[_Span]) -> Iterator[_Span]:
    """Both sorted and disjoint; walks each once."""
    index = 0
    for start, end in spans:
        rest = start
        while index < len(holes) and holes[index][0] <= end:
            hole_start, hole_end = holes[index]
            if hole_start > rest:
                yield rest, hole_start - 1
            rest = max(rest, hole_end + 1)
            if hole_end > end:
                break  # it may reach into the next span
            index += 1
        if rest <= end:
            yield rest, end
