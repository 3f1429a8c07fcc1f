"""The host's nft tables: put there, and put back as soon as something takes them away.

A firewall or a kube-proxy that starts again may flush the whole ruleset. Until its masquerading is back, what a pod
sends through its node is lost, and what it sends again on the same connection stays lost; and metadata is open to it.
So the kernel is heard for changes of the ruleset (NFNLGRP_NFTABLES), whoever makes them, and what was put there is
looked for by its handles, which a table made anew does not have.
"""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol, TypeVar

import structlog

from underlay.cni.datapath import hosting, nft, withholding
from underlay.cni.datapath.channel import Channel
from underlay.cni.datapath.errors import DatapathError
from underlay.cni.datapath.model import IPAddress

_PAUSE_SECONDS = 1.0
"""Between two looks, since a kube-proxy may write thousands of rules one after the other."""

_TABLES = (("inet", nft.TABLE), ("inet", withholding.TABLE), ("netdev", withholding.TABLE))
_NETLINK_NETFILTER, _NFTABLES = 12, 7
_SOL_NETLINK, _ADD_MEMBERSHIP, _NO_ENOBUFS = 270, 1, 5
_FEW_BYTES = 4096

T = TypeVar("T")


class WithHost(Protocol):
    """Runs blocking work in the host's namespace."""

    def __call__(self, work: Callable[[Channel], T], /) -> Awaitable[T]:
        """Returns what it returns; the channel is its own meanwhile."""
        ...


class HostTables:
    """Of one datapath. Started once, and closed."""

    def __init__(self, with_host: WithHost) -> None:
        self._with_host = with_host
        self._lock = asyncio.Lock()
        self._mark = secrets.randbits(31) | 1 << 31
        self._services: frozenset[IPAddress] | None = None  # nobody has said: what an earlier agent left stays
        self._masters: frozenset[str] = frozenset()
        self._unfiltered: Mapping[str, str] = {}
        self._masquerading: nft.Handles = frozenset()
        self._withholding: nft.Handles = frozenset()
        self._changes: socket.socket | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Masquerade what leaves the node, and hear changes from before that on."""
        self._changes = await self._with_host(lambda _: _open_changes())
        self._masquerading = await self._with_host(lambda _: nft.change(nft.host_table()))
        self._following = asyncio.create_task(self._follow(self._changes), name="datapath.tables")

    async def close(self) -> None:
        """Stop hearing; the tables stay."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        if self._changes is not None:
            self._changes.close()

    async def withhold(self, services: Collection[IPAddress], masters: Collection[str]) -> Mapping[str, str]:
        """See ``Datapath.withhold``."""
        async with self._lock:
            wish = frozenset(services), frozenset(masters)
            if wish != (self._services, self._masters) or not self._withholds(await self._there()):
                await self._withhold(*wish)
            return self._unfiltered

    async def filter_also(self, master: str, *, anew: bool = False) -> None:
        """Withhold on a link that nobody may have named; ``anew``: which may be another one than that of its name."""
        if self._services and (anew or master not in self._masters):
            async with self._lock:
                await self._withhold(self._services, self._masters | {master})

    async def _withhold(self, services: frozenset[IPAddress], masters: frozenset[str]) -> None:
        done = await self._with_host(lambda host: hosting.withhold(host, services, masters, self._mark))
        self._services, self._masters = services, masters
        self._withholding, self._unfiltered = done.handles, done.unfiltered

    async def _put_back(self) -> list[str]:
        """Whatever is not there; returns what it was."""
        async with self._lock:
            there = await self._there()
            missing = []
            if not self._masquerading <= there:
                self._masquerading = await self._with_host(lambda _: nft.change(nft.host_table()))
                missing.append("masquerading")
            if self._services is not None and not self._withholds(there):
                await self._withhold(self._services, self._masters)
                missing.append("withholding")
            return missing

    async def _there(self) -> nft.Handles:
        return await self._with_host(lambda _: nft.there(_TABLES))

    def _withholds(self, there: nft.Handles) -> bool:
        """All of it is there; or, where nothing is wished, nothing that another agent has left."""
        if not self._services:
            return not any((item.family, item.table) == ("inet", withholding.TABLE) for item in there)
        return self._withholding <= there

    async def _follow(self, changes: socket.socket) -> None:
        log = structlog.get_logger()
        loop = asyncio.get_running_loop()
        good = True
        while True:
            if good:
                await loop.sock_recv(changes, _FEW_BYTES)
            _drain(changes)
            try:
                missing = await self._put_back()
            except (DatapathError, OSError) as refused:
                if good:
                    log.warning("tables.not_put_back", reason=str(refused))
                good = False
            else:
                good = True
                if missing:
                    log.warning("tables.put_back", missing=missing)
            await asyncio.sleep(_PAUSE_SECONDS)


def _open_changes() -> socket.socket:
    """Readable once the ruleset of the calling thread's namespace changes. What changed is of no interest, so there is
    room for little of it, and the kernel drops the rest without an error.
    """
    changes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    changes.setblocking(False)
    changes.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _FEW_BYTES)
    changes.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
    changes.bind((0, 0))  # the kernel tells nothing to a socket without an address
    changes.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFTABLES)
    return changes


def _drain(changes: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            changes.recv(_FEW_BYTES)
