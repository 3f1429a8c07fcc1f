"""Pods' network namespaces, many at a time. Made before the measuring, removed after it.

The kernel takes a removed namespace apart some time later and holds the lock of all link operations meanwhile; so a
batch is over only when that is done. A veth pair into the namespace that is removed last tells: its end here vanishes.
"""

import asyncio
import fcntl
import socket
import struct
import time
from pathlib import Path

from world.commands import ip
from world.inside import in_namespace
from world.names import Names, netns_path

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_POLL_SECONDS = 0.005
_GONE_WITHIN_SECONDS = 30.0


class Sandboxes:
    """Network namespaces of one world; ``make`` never gives a name twice."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._made = 0

    async def make(self, count: int) -> tuple[Path, ...]:
        """Empty namespaces, loopback up, as a runtime hands them over."""
        fresh = [self._names.sandbox(f"{self._made + number:08d}", 0) for number in range(count)]
        self._made += count
        paths = tuple(map(netns_path, fresh))
        await ip(*(f"netns add {name}" for name in fresh))
        await asyncio.to_thread(lambda: [in_namespace(path, _loopback_up) for path in paths])
        witness = self._names.management_link(self._made)
        await ip(f"link add {witness} type veth peer name witness netns {paths[-1]}")
        return paths

    async def remove(self, paths: tuple[Path, ...]) -> float:
        """Seconds until the kernel is done with them."""
        began = time.perf_counter()
        witness = self._names.management_link(self._made)
        await ip(*(f"netns del {path.name}" for path in paths))
        while _exists(witness):
            if time.perf_counter() - began > _GONE_WITHIN_SECONDS:
                raise TimeoutError(f"the kernel still has {witness} of removed namespaces")
            await asyncio.sleep(_POLL_SECONDS)
        return time.perf_counter() - began


def _exists(link: str) -> bool:
    try:
        socket.if_nametoindex(link)
    except OSError:
        return False
    return True


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))
