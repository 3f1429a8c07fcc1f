"""Which addresses of an IPv4 subnet are taken, and which EC2 chooses next.

EC2 keeps five addresses of every subnet: the first four (network, router, DNS, reserved for the future) and the last.
Addresses of its own choice are scattered; one that was just freed is chosen again only when nothing else is left.
Single addresses are never chosen out of a CIDR reservation; prefixes come out of prefix reservations while those last,
then from where nothing is reserved.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network
from random import Random

RESERVED_FIRST = 4
RESERVED_LAST = 1
REST_SECONDS = 60.0
"""How long a freed address is left alone while others are free."""
BLOCK = 16
"""Addresses of a prefix, a /28."""
_PROBES = 32


class Bitmap:
    """One bit for each address, by offset from the network address. ``free`` is EC2's AvailableIpAddressCount."""

    def __init__(self, cidr: IPv4Network) -> None:
        self._first = int(cidr.network_address)
        self._size = cidr.num_addresses
        self._taken = bytearray((self._size + 7) // 8)
        self._for_prefixes = bytearray(len(self._taken))
        self._for_hand = bytearray(len(self._taken))
        self._freed: dict[int, float] = {}
        self.free = self._size
        for offset in (*range(RESERVED_FIRST), self._size - RESERVED_LAST):
            self._set(offset)

    def copy(self) -> "Bitmap":
        """To try a request on, before anything is changed."""
        twin = Bitmap.__new__(Bitmap)
        twin._first, twin._size, twin.free = self._first, self._size, self.free
        twin._taken, twin._freed = self._taken[:], dict(self._freed)
        twin._for_prefixes, twin._for_hand = self._for_prefixes, self._for_hand
        return twin

    def reserve(self, for_prefixes: Iterable[IPv4Network], for_hand: Iterable[IPv4Network]) -> None:
        """The subnet's CIDR reservations of the types prefix and explicit: all of them."""
        self._for_prefixes = self._mask(for_prefixes)
        self._for_hand = self._mask(for_hand)

    @property
    def open(self) -> int:
        """Free addresses that EC2 may choose singly."""
        closed = (
            int.from_bytes(self._taken, "little")
            | int.from_bytes(self._for_prefixes, "little")
            | int.from_bytes(self._for_hand, "little")
        )
        return self._size - closed.bit_count()

    def is_taken(self, address: IPv4Address) -> bool:
        return _has(self._taken, int(address) - self._first)

    def is_reserved(self, address: IPv4Address) -> bool:
        """One of the five that EC2 keeps."""
        offset = int(address) - self._first
        return offset < RESERVED_FIRST or offset >= self._size - RESERVED_LAST

    def is_block_free(self, block: IPv4Network) -> bool:
        return self._is_whole((int(block.network_address) - self._first) // BLOCK)

    def take(self, address: IPv4Address) -> None:
        offset = int(address) - self._first
        self._set(offset)
        self._freed.pop(offset, None)

    def release(self, address: IPv4Address, now: float) -> None:
        offset = int(address) - self._first
        self._taken[offset >> 3] &= ~(1 << (offset & 7)) & 0xFF
        self.free += 1
        self._freed[offset] = now

    def choose(self, count: int, chance: Random, now: float) -> list[IPv4Address]:
        """``count`` free addresses, taken. The caller has looked at ``open``."""
        self._forget(now)
        chosen = []
        for _ in range(count):
            offset = self._one(chance)
            self._set(offset)
            self._freed.pop(offset, None)
            chosen.append(IPv4Address(self._first + offset))
        return chosen

    def choose_blocks(self, count: int, chance: Random, now: float) -> list[IPv4Network] | None:
        """``count`` free /28, taken; None if there are not so many."""
        self._forget(now)
        whole = [block for block in range(self._size // BLOCK) if self._is_whole(block)]
        reserved = [block for block in whole if _bytes(self._for_prefixes, block) == b"\xff\xff"]
        others = [block for block in whole if not self._is_closed(block)]
        chosen = [*self._shuffled(reserved, chance), *self._shuffled(others, chance)][:count]
        if len(chosen) < count:
            return None
        blocks = [IPv4Network((self._first + block * BLOCK, 28)) for block in chosen]
        for block in blocks:
            for address in block:
                self.take(address)
        return blocks

    def _shuffled(self, blocks: list[int], chance: Random) -> list[int]:
        """By chance; those with an address that was just freed come last."""
        chance.shuffle(blocks)
        tired = {offset // BLOCK for offset in self._freed}
        return sorted(blocks, key=tired.__contains__)

    def _one(self, chance: Random) -> int:
        for _ in range(_PROBES):
            offset = chance.randrange(self._size)
            if self._is_open(offset) and offset not in self._freed:
                return offset
        choice = [offset for offset in range(self._size) if self._is_open(offset)]
        rested = [offset for offset in choice if offset not in self._freed]
        return chance.choice(rested) if rested else min(choice, key=self._freed.__getitem__)

    def _forget(self, now: float) -> None:
        self._freed = {offset: at for offset, at in self._freed.items() if now - at < REST_SECONDS}

    def _is_open(self, offset: int) -> bool:
        return not any(_has(bits, offset) for bits in (self._taken, self._for_prefixes, self._for_hand))

    def _is_whole(self, block: int) -> bool:
        return _bytes(self._taken, block) == b"\0\0"

    def _is_closed(self, block: int) -> bool:
        return any(_bytes(self._for_prefixes, block)) or any(_bytes(self._for_hand, block))

    def _mask(self, networks: Iterable[IPv4Network]) -> bytearray:
        bits = bytearray(len(self._taken))
        for network in networks:
            for offset in range(int(network.network_address) - self._first, int(network[-1]) - self._first + 1):
                bits[offset >> 3] |= 1 << (offset & 7)
        return bits

    def _set(self, offset: int) -> None:
        self._taken[offset >> 3] |= 1 << (offset & 7)
        self.free -= 1


def _has(bits: bytearray, offset: int) -> bool:
    return bool(bits[offset >> 3] & (1 << (offset & 7)))


def _bytes(bits: bytearray, block: int) -> bytearray:
    return bits[2 * block : 2 * block + 2]
