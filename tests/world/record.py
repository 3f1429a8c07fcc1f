"""What a world consists of, on disk: enough to remove all of it from another process, whatever ended the one that
made it.

The record lies outside the checkout, since namespaces and links are the machine's: two checkouts see each other's
worlds.
"""

import asyncio
import contextlib
import fcntl
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec

from controlplane.cluster import ControlPlane
from controlplane.process import Process
from world.commands import CommandFailed, run
from world.names import NETNS_FOLDER, Names

RUN_FOLDER = Path("/run/underlay-world")
_LIBCNI_CACHE = Path("/var/lib/cni/results")


class InUse(Exception):
    """Another process is starting, playing or removing the world of this name."""


class Record(msgspec.Struct, kw_only=True):
    """``folder`` holds everything the world writes; ``processes`` in the order of starting."""

    world: str
    folder: str
    processes: list[Process] = []

    @property
    def names(self) -> Names:
        return Names(world=self.world)

    @property
    def path(self) -> Path:
        return _path(self.world)

    @property
    def sockets(self) -> Path:
        """A short path: a Unix socket's has at most 107 bytes."""
        return RUN_FOLDER / self.world

    @property
    def controlplane(self) -> Path:
        """The control plane's folder."""
        return Path(self.folder) / "controlplane"

    def save(self) -> None:
        self.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self.path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(self))
        part.replace(self.path)

    def remember(self, process: Process) -> Process:
        """Has the process ended with the world."""
        self.processes.append(process)
        self.save()
        return process

    def replace(self, old: Process, new: Process) -> None:
        """``new`` runs in ``old``'s place."""
        self.processes = [new if process.pid == old.pid else process for process in self.processes]
        self.save()


def load(world: str) -> Record | None:
    """The record of a world that stands, or stood and was not taken down."""
    try:
        return msgspec.json.decode(_path(world).read_bytes(), type=Record)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def sole(world: str) -> Iterator[None]:
    """Holds the world's name while the block runs. Raises ``InUse``. The kernel lets go of it if we die."""
    RUN_FOLDER.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (RUN_FOLDER / f"{world}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(
                f"another process is using the world {world!r}; wait for it, or choose another --name"
            ) from None
        yield


async def remove(names: Names, *, keep_logs: bool = False) -> bool:
    """Remove everything of a world, whatever state it is in; whether there was anything."""
    record = load(names.world)
    if record is not None:
        await asyncio.gather(*(asyncio.to_thread(_end, process) for process in record.processes))
        with contextlib.suppress(FileNotFoundError):
            plane = ControlPlane.attach(record.controlplane)
            await asyncio.to_thread(plane.stop)
    namespaces = _namespaces(names)
    for start in range(0, len(namespaces), 8):
        await asyncio.gather(*(_remove_namespace(name) for name in namespaces[start : start + 8]))
    links = [link["ifname"] for link in json.loads(await run("ip", "-j", "link"))]
    for link in filter(names.owns_link, links):
        with contextlib.suppress(CommandFailed):  # a veth pair goes with its other end's namespace, in its own time
            await run("ip", "link", "del", link)
    _forget_results(names)
    if record is not None:
        shutil.rmtree(record.sockets, ignore_errors=True)
        if not keep_logs:
            shutil.rmtree(record.folder, ignore_errors=True)
        record.path.unlink(missing_ok=True)
    return record is not None or bool(namespaces)


def _namespaces(names: Names) -> list[str]:
    return [path.name for path in NETNS_FOLDER.glob("*") if names.owns_namespace(path.name)]


def _forget_results(names: Names) -> None:
    """The files in which libcni keeps what its ADDs returned."""
    for cached in _LIBCNI_CACHE.glob(f"{names.cni_network}-*"):
        cached.unlink(missing_ok=True)


def _end(process: Process) -> None:
    process.kill(signal.SIGTERM, within_seconds=4.0)


async def _remove_namespace(name: str) -> None:
    """A process still in the namespace would keep it, and its links, alive."""
    for pid in (await run("ip", "netns", "pids", name)).split():
        await run("kill", "-KILL", pid)
    with contextlib.suppress(CommandFailed):
        await run("ip", "netns", "del", name)


def _path(world: str) -> Path:
    return RUN_FOLDER / f"{world}.json"
