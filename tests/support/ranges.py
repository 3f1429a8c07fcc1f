"""Addresses as merged ranges of numbers, parsed and joined without the product's own code, so that a reading of it is
independent. A /80 prefix has too many addresses to list.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Ranges = frozenset[tuple[int, int, int]]
"""(family, first, last), none touching another."""
NONE: Ranges = frozenset()


def ranges(texts: Iterable[str]) -> Ranges:
    """Of addresses, ``first-last`` and CIDR blocks."""
    return merged(_one(text) for text in texts)


def merged(parts: Iterable[tuple[int, int, int]]) -> Ranges:
    """Overlapping and adjacent ones made one."""
    found: list[tuple[int, int, int]] = []
    for family, first, last in sorted(parts):
        if found and found[-1][0] == family and first <= found[-1][2] + 1:
            found[-1] = (family, found[-1][1], max(found[-1][2], last))
        else:
            found.append((family, first, last))
    return frozenset(found)


def union(of: Iterable[Ranges]) -> Ranges:
    return merged(part for ranges_ in of for part in ranges_)


def without(of: Ranges, gone: Ranges) -> Ranges:
    left = set(of)
    for family, first, last in gone:
        for part in [part for part in left if part[0] == family and part[1] <= last and first <= part[2]]:
            left.remove(part)
            left |= {(family, low, high) for low, high in ((part[1], first - 1), (last + 1, part[2])) if low <= high}
    return frozenset(left)


def of_family(of: Ranges, family: int) -> Ranges:
    return frozenset(part for part in of if part[0] == family)


def size(of: Ranges) -> int:
    return sum(last - first + 1 for _, first, last in of)


def has(of: Ranges, address: str) -> bool:
    """Whether ``address`` is among them."""
    found = ip_address(address)
    return any(family == found.version and first <= int(found) <= last for family, first, last in of)


def overlap(left: Ranges, right: Ranges) -> bool:
    """Whether some address is in both."""
    return any(a[0] == b[0] and a[1] <= b[2] and b[1] <= a[2] for a in left for b in right)


def text(of: Ranges) -> str:
    """For people."""
    shown = (
        str(_address(family, first)) + (f"-{_address(family, last)}" if last > first else "")
        for family, first, last in sorted(of)
    )
    return ", ".join(shown) or "none"


def _address(family: int, number: int) -> IPv4Address | IPv6Address:
    return IPv4Address(number) if family == 4 else IPv6Address(number)


def _one(text_: str) -> tuple[int, int, int]:
    if "/" in text_:
        block = ip_network(text_)
        return block.version, int(block[0]), int(block[-1])
    first, _, last = text_.partition("-")
    low = ip_address(first)
    return low.version, int(low), int(ip_address(last or first))
