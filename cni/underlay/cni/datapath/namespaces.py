"""Network namespaces are entered here and nowhere else: by ``setns`` in a few threads, never by fork.

Each thread lives in the host's namespace (the agent's own, or the one given). It enters another one only to open
sockets, which stay bound to it, and to write /proc/sys files, whose content depends on the thread that opens them.
That takes 15 microseconds; a forked child per namespace takes 10 milliseconds.
"""

import asyncio
import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NewType, TypeVar

from underlay.cni.datapath.errors import NamespaceGone
from underlay.cni.datapath.model import Sysctl

_CLONE_NEWNET = 0x40000000
_THREADS = 4
"""All writes wait for the kernel's one lock (RTNL), so more threads would only queue there."""

T = TypeVar("T")
Identity = NewType("Identity", tuple[int, int])
"""Device and inode of a namespace: the same as long as it lives, whatever its path."""


class Namespaces:
    """The threads. ``host`` is a path to the host's namespace; None is the one of this process.

    Raises ``NamespaceGone`` if ``host`` is none.
    """

    def __init__(self, host: Path | None = None) -> None:
        self._setns = ctypes.CDLL(None, use_errno=True).setns
        self._host_path = str(host or "/proc/self/ns/net")
        self._host = _open(self._host_path)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="netns", initializer=self._return)

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking ``work`` in one of the threads; it starts in the host's namespace and must end there."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """End the threads; work under way is finished first."""
        self._threads.shutdown(wait=True)
        os.close(self._host)

    @contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """A descriptor of the namespace at ``path``. It keeps the namespace alive: hold it for one call only."""
        descriptor = _open(path)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @staticmethod
    def identity(descriptor: int) -> Identity:
        """Which namespace an opened descriptor means."""
        status = os.fstat(descriptor)
        return Identity((status.st_dev, status.st_ino))

    def inside(self, descriptor: int, work: Callable[[], T], *, path: str) -> T:
        """Run ``work`` with this thread in the namespace; the thread is back in the host's when this returns."""
        if self._setns(descriptor, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            reason = "it is not a network namespace" if code == errno.EINVAL else os.strerror(code)
            raise NamespaceGone(path, reason)
        try:
            return work()
        finally:
            self._return()

    def _return(self) -> None:
        if self._setns(self._host, _CLONE_NEWNET) != 0:
            # A thread that stayed in a pod would do the host's next work there.
            raise SystemError(f"cannot return to {self._host_path}: {os.strerror(ctypes.get_errno())}")


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NamespaceGone(path, os.strerror(error.errno or 0)) from error


def write_sysctl(sysctl: Sysctl) -> None:
    """Set a value under /proc/sys in the namespace this thread is in; nothing is done where IPv6 is not built in."""
    path = f"/proc/sys/net/{sysctl.protocol}/conf/{sysctl.link}/{sysctl.key}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if sysctl.protocol == "ipv6":
            return
        raise
    try:
        os.write(descriptor, b"%d" % sysctl.value)
    finally:
        os.close(descriptor)
