"""DELs that the launcher kept while no agent answered. They are carried out before an ADD that comes after them.

Each file is a request frame. A file whose environment makes no sense is put aside with the suffix ``.bad``: it can
never succeed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from underlay.cni import frames
from underlay.cni.errors import CniError
from underlay.cni.protocol import parse_spooled
from underlay.core.errors import InvalidInput
from underlay.core.identity import Attachment

Delete = Callable[[Attachment, str], Awaitable[None]]
_QUIET_NS = 100_000_000
"""A folder's time stamp moves in steps of the kernel's tick: a younger one may hide a second change."""


class Spool:
    """The folder, and what was last seen of it, so that an ADD costs one stat while nothing is in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = -1
        self._busy = asyncio.Lock()
        self._log = structlog.get_logger()

    def prepare(self) -> None:
        """Make the folder, so that the launcher need not."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def drain(self, delete: Delete, replayed: Callable[[], None]) -> None:
        """Carry out what is there, oldest first. A DEL that fails stays for the next time."""
        if self._changed_at() == self._seen:
            return
        async with self._busy:
            while (stamp := self._changed_at()) != self._seen:
                for path in self._kept():
                    await self._replay(path, delete, replayed)
                if self._kept():
                    return
                if stamp == self._changed_at():
                    if time.time_ns() - stamp > _QUIET_NS:
                        self._seen = stamp
                    return

    def _kept(self) -> list[Path]:
        return sorted(self._folder.glob("*.del"))

    def _changed_at(self) -> int:
        return self._folder.stat().st_mtime_ns

    async def _replay(self, path: Path, delete: Delete, replayed: Callable[[], None]) -> None:
        try:
            attachment, netns = _read(path)
        except (InvalidInput, CniError) as wrong:
            self._log.error("spool.file_refused", path=str(path), reason=str(wrong))
            _put_aside(path)
            return
        try:
            await delete(attachment, netns)
        except CniError as failed:
            self._log.warning("spool.replay_failed", attachment=str(attachment), reason=str(failed))
            return
        replayed()
        _remove(path)
        self._log.info("spool.replayed", attachment=str(attachment))


def _read(path: Path) -> tuple[Attachment, str]:
    return parse_spooled(frames.parse_call(path.read_bytes()).environment)


def _put_aside(path: Path) -> None:
    path.rename(path.with_suffix(".bad"))


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
