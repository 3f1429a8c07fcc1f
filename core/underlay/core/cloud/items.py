"""Items: what takes one place of an interface's limit, an address or a prefix, and the pod addresses in it. Pure."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from underlay.core.addresses import AddressRange
from underlay.core.cloud.model import IPAddress, IPNetwork, NetworkInterface, kind_of

Item = IPAddress | IPNetwork


def of_interface(interface: NetworkInterface) -> frozenset[Item]:
    """Its secondary addresses and its prefixes."""
    return frozenset[Item]({*interface.addresses, *interface.prefixes})


def having(interface: NetworkInterface, items: Iterable[Item]) -> NetworkInterface:
    """The interface with exactly these items."""
    addresses, prefixes = parted(items)
    return replace(interface, addresses=addresses, prefixes=prefixes)


def parted(items: Iterable[Item]) -> tuple[frozenset[IPAddress], frozenset[IPNetwork]]:
    """Addresses, prefixes."""
    every = tuple(items)
    return (
        frozenset(item for item in every if isinstance(item, IPv4Address | IPv6Address)),
        frozenset(item for item in every if isinstance(item, IPv4Network | IPv6Network)),
    )


def covers(item: Item, address: IPAddress) -> bool:
    """``address`` is the item, or of the prefix."""
    return address in item if isinstance(item, IPv4Network | IPv6Network) else address == item


def count_in(item: Item, addresses: Collection[IPAddress]) -> int:
    """How many of ``addresses`` are in the item; costs by their number, not by the prefix's size."""
    if isinstance(item, IPv4Network | IPv6Network):
        return sum(address in item for address in addresses)
    return int(item in addresses)


def within(item: Item, addresses: Collection[IPAddress]) -> frozenset[IPAddress]:
    """Those of ``addresses`` that are in the item."""
    return frozenset(address for address in addresses if covers(item, address))


def served(item: Item) -> AddressRange:
    """The addresses pods get of it: of a prefix its first ``Kind.size``, of an address itself."""
    if isinstance(item, IPv4Network | IPv6Network):
        return AddressRange(item[0], item[kind_of(item).size - 1])
    return AddressRange(item, item)


def addresses(items: Iterable[Item]) -> frozenset[IPAddress]:
    """Every address pods get of them. For few: an IPv6 prefix has a thousand."""
    return frozenset(address for item in items for address in _spread(item))


def parse(text: str) -> Item:
    """``10.0.0.5`` or ``10.0.0.16/28``. Raises ``ValueError``."""
    return ip_network(text) if "/" in text else ip_address(text)


def texts(items: Iterable[Item]) -> list[str]:
    """Inverse of ``parse``: in order, addresses before prefixes."""
    return [str(item) for item in sorted(items, key=_order)]


def _spread(item: Item) -> Iterator[IPAddress]:
    if isinstance(item, IPv4Network | IPv6Network):
        yield from (item[number] for number in range(kind_of(item).size))
    else:
        yield item


def _order(item: Item) -> tuple[bool, int, int]:
    prefix = isinstance(item, IPv4Network | IPv6Network)
    return prefix, item.version, int(item.network_address if isinstance(item, IPv4Network | IPv6Network) else item)
