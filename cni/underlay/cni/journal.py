"""The agent's memory on disk: an append-only file of frames, one fsync per batch.

A frame is one batch: u32 length, u32 CRC-32, then a JSON list of records. Callers that come while the disk is busy
share the next batch (group commit). A batch that was cut off by a crash was promised to nobody: it is dropped when
the file is opened, and nothing else is. A damaged frame with more behind it is no torn end: the file is put aside
and a new epoch begins, which makes the agent read every pod namespace before it serves. A file much longer than
what it says is written anew beside itself and renamed over.

The lock file beside it is held for the life of the process.
"""

import asyncio
import fcntl
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from struct import Struct

import msgspec
import structlog

from underlay.cni.errors import JournalBroken, JournalLocked
from underlay.cni.records import FORMAT, Header, Record

_LAZY_SECONDS = 0.5
_FRAME = Struct(">II")
_DECODER = msgspec.json.Decoder(list[Record])
_ENCODER = msgspec.json.Encoder()


def encode(batch: Sequence[Record]) -> bytes:
    """One frame."""
    body = _ENCODER.encode(batch)
    return _FRAME.pack(len(body), zlib.crc32(body)) + body


def decode(content: bytes) -> tuple[list[Record], int]:
    """The records of all whole frames, and the length of the file that holds them; the rest is a torn end.

    Raises ``JournalBroken`` where damage is followed by more than one batch could have left, or the format is not
    known.
    """
    everything: list[Record] = []
    at = 0
    while at + _FRAME.size <= len(content):
        length, checksum = _FRAME.unpack_from(content, at)
        end = at + _FRAME.size + length
        if not length or end > len(content):  # a file may have grown by zeros before its content arrived
            break
        body = content[at + _FRAME.size : end]
        if zlib.crc32(body) != checksum:
            if end < len(content):
                raise JournalBroken(f"damaged at byte {at}, with {len(content) - end} bytes behind it")
            break
        try:
            everything += _DECODER.decode(body)
        except msgspec.DecodeError as wrong:
            raise JournalBroken(f"record at byte {at} cannot be understood: {wrong}") from wrong
        at = end
    if everything:
        header = everything[0]
        if not isinstance(header, Header):
            raise JournalBroken("it does not begin with a header")
        if header.format > FORMAT:
            raise JournalBroken(
                f"it has format {header.format}, this agent knows up to {FORMAT}; install the newer agent again"
            )
    return everything, at


class Journal:
    """An open, locked journal. ``open`` → ``records`` replayed; ``append`` → durable when awaited."""

    def __init__(self, folder: Path, new_epoch: Callable[[], str], *, minimum_size: int = 1 << 20) -> None:
        """Below ``minimum_size`` bytes a journal is not worth writing anew."""
        self._folder = folder
        self._path = folder / "journal"
        self._new_epoch = new_epoch
        self._lock = -1
        self._file = -1
        self._size = 0
        self._minimum_size = self._compact_at = minimum_size
        self._waiting: list[tuple[Sequence[Record], asyncio.Future[None]]] = []
        self._work = asyncio.Event()
        self._broken = ""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._log = structlog.get_logger()

    def open(self) -> list[Record]:
        """Lock, cut off a torn end, and return what is durable. Raises ``JournalLocked``, ``JournalBroken``."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _locked(self._folder / "lock")
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            content = b""
        try:
            everything, length = decode(content)
        except JournalBroken as broken:
            if "newer agent" in str(broken):
                raise
            aside = self._path.with_name("journal.damaged")
            self._path.replace(aside)
            self._log.error("journal.damaged", reason=str(broken), kept_as=str(aside))
            everything, length = [], 0
        if not everything:
            everything = [Header(format=FORMAT, epoch=self._new_epoch())]
            self._replace(encode(everything))
            return everything
        self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        if length < len(content):
            os.ftruncate(self._file, length)
            os.fsync(self._file)
            self._log.warning("journal.torn_end_dropped", bytes=len(content) - length)
        self._size = os.lseek(self._file, length, os.SEEK_SET)
        self._compact_at = self._minimum_size
        return everything

    def append(self, *batch: Record, lazily: bool = False) -> asyncio.Future[None]:
        """The future is done when ``batch`` is on disk; the order of calls is the order on disk.

        ``lazily``: with the next batch, or after half a second: nobody waits for it. Raises ``JournalBroken`` there.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((batch, done))
        if self._broken:
            self._fail(self._waiting)
        if not lazily:
            self._work.set()
        elif len(self._waiting) == 1:
            loop.call_later(_LAZY_SECONDS, self._work.set)
        return done

    async def run(self, snapshot: Callable[[], Iterable[Record]]) -> None:
        """Write what is appended, until cancelled. ``snapshot`` gives the records that say everything so far, for a
        shorter file.

        A disk that refuses ends the agent: what is in memory and what is on disk may no longer differ.
        """
        loop = asyncio.get_running_loop()
        batch: list[tuple[Sequence[Record], asyncio.Future[None]]] = []
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                batch, self._waiting = self._waiting, []
                if not batch:
                    continue
                if self._size > self._compact_at:
                    # The snapshot holds the batch already, and whatever else the state has seen in this instant.
                    writing = loop.run_in_executor(self._thread, self._replace, encode(list(snapshot())))
                else:
                    everything = [record for records, _ in batch for record in records]
                    frame = encode(everything) if everything else b""
                    writing = loop.run_in_executor(self._thread, self._write, frame)
                try:
                    await writing
                except OSError as refused:
                    self._broken = f"{self._path}: {refused}; the agent ends: no address is given that is not on disk"
                    raise JournalBroken(self._broken) from refused
                for _, done in batch:
                    if not done.done():
                        done.set_result(None)
        finally:
            self._broken = self._broken or "the agent is ending"
            self._fail(batch + self._waiting)
            self._waiting = []

    def close(self) -> None:
        """Give the lock back. What was not awaited may be lost."""
        self._thread.shutdown()
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def _write(self, frame: bytes) -> None:
        if not frame:
            return
        rest = memoryview(frame)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        os.fdatasync(self._file)
        self._size += len(frame)

    def _replace(self, frame: bytes) -> None:
        temporary = self._path.with_name("journal.new")
        fresh = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        rest = memoryview(frame)
        while rest:
            rest = rest[os.write(fresh, rest) :]
        os.fsync(fresh)
        temporary.rename(self._path)
        _sync_folder(self._folder)
        if self._file >= 0:
            os.close(self._file)
        self._file = fresh
        self._size = len(frame)
        self._compact_at = max(self._minimum_size, 4 * self._size)

    def _fail(self, batch: Iterable[tuple[Sequence[Record], asyncio.Future[None]]]) -> None:
        for _, done in batch:
            if not done.done():
                done.set_exception(JournalBroken(self._broken))
                done.exception()  # looked at: a caller that does not await durability must not cause a warning


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as taken:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise JournalLocked(
            f"another agent{f' (process {holder})' if holder else ''} serves this node: it holds {path}. Stop it first."
        ) from taken
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
