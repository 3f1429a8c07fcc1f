"""Which IPv6 addresses and prefixes of a subnet are taken. A subnet is a /64, a prefix a /80: 65,536 of them.

As with IPv4, EC2 keeps the first four addresses and the last, chooses single addresses outside CIDR reservations, and
prefixes inside prefix reservations while those last.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address, IPv6Network
from random import Random

BLOCK_LENGTH = 80
_BLOCK_BITS = 128 - BLOCK_LENGTH
_BLOCKS = 1 << 16
_RESERVED_FIRST = 4


class Space6:
    """Sparse: only what is taken is held."""

    def __init__(self, cidr: IPv6Network) -> None:
        self._first = int(cidr.network_address)
        self._last = int(cidr[-1])
        self._addresses: set[int] = set()
        self._blocks: set[int] = set()
        self._singles: Counter[int] = Counter({0: _RESERVED_FIRST, _BLOCKS - 1: 1})
        """How many addresses are taken singly, or kept by EC2, in each block."""
        self._for_prefixes: Sequence[IPv6Network] = ()
        self._for_hand: Sequence[IPv6Network] = ()

    def reserve(self, for_prefixes: Iterable[IPv6Network], for_hand: Iterable[IPv6Network]) -> None:
        self._for_prefixes = tuple(for_prefixes)
        self._for_hand = tuple(for_hand)

    def is_taken(self, address: IPv6Address) -> bool:
        return int(address) in self._addresses or self._block(int(address)) in self._blocks

    def is_reserved(self, address: IPv6Address) -> bool:
        return int(address) - self._first < _RESERVED_FIRST or int(address) == self._last

    def is_block_free(self, prefix: IPv6Network) -> bool:
        return self._is_whole(self._block(int(prefix.network_address)))

    def take(self, address: IPv6Address) -> None:
        self._addresses.add(int(address))
        self._singles[self._block(int(address))] += 1

    def take_block(self, prefix: IPv6Network) -> None:
        self._blocks.add(self._block(int(prefix.network_address)))

    def release(self, address: IPv6Address) -> None:
        self._addresses.discard(int(address))
        self._singles[self._block(int(address))] -= 1

    def release_block(self, prefix: IPv6Network) -> None:
        self._blocks.discard(self._block(int(prefix.network_address)))

    def choose(self, count: int, chance: Random) -> list[IPv6Address]:
        """Taken when this returns. There is always room: nobody fills a /64."""
        chosen: list[IPv6Address] = []
        while len(chosen) < count:
            address = IPv6Address(self._first + chance.randrange(_RESERVED_FIRST, 1 << 64))
            reserved = any(address in network for network in (*self._for_prefixes, *self._for_hand))
            if not (reserved or self.is_taken(address) or self.is_reserved(address)):
                self.take(address)
                chosen.append(address)
        return chosen

    def choose_blocks(self, count: int, chance: Random) -> list[IPv6Network] | None:
        """Taken when this returns; None if there are not so many."""
        inside = [block for network in self._for_prefixes for block in self._blocks_of(network)]
        reserved = {*inside, *(block for network in self._for_hand for block in self._touched(network))}
        candidates = [block for block in inside if self._is_whole(block)]
        chance.shuffle(candidates)
        if len(candidates) < count:
            others = [block for block in range(_BLOCKS) if block not in reserved and self._is_whole(block)]
            candidates += chance.sample(others, min(len(others), count - len(candidates)))
        if len(candidates) < count:
            return None
        prefixes = [IPv6Network((self._first + (block << _BLOCK_BITS), BLOCK_LENGTH)) for block in candidates[:count]]
        for prefix in prefixes:
            self.take_block(prefix)
        return prefixes

    def _block(self, address: int) -> int:
        return (address - self._first) >> _BLOCK_BITS

    def _is_whole(self, block: int) -> bool:
        return block not in self._blocks and not self._singles[block]

    def _blocks_of(self, network: IPv6Network) -> Iterable[int]:
        """The blocks that lie wholly in ``network``."""
        return self._touched(network) if network.prefixlen <= BLOCK_LENGTH else ()

    def _touched(self, network: IPv6Network) -> Iterable[int]:
        return range(self._block(int(network.network_address)), self._block(int(network[-1])) + 1)
