"""Child processes that leave nothing behind.

A process started here is either *attached*: the kernel kills it when its parent ends (PDEATHSIG, set by util-linux'
``setpriv``), so that not even a SIGKILL of the parent leaves it running; or *detached*: it outlives its
parent, and its record (pid and start time, which together name one process for ever) lets a later command stop it.
Both get a session of their own, so that a Ctrl-C in the terminal reaches only the program that decides what to do then.

PDEATHSIG means the thread that started a process, not its program; so all are started by one thread that lives until
the program ends, and callers may be on any thread.
"""

import contextlib
import errno
import functools
import os
import select
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

_STAT_START_TIME = 19  # proc_pid_stat(5): field 22, counted from field 3, the first one after the program's name


class ProcessFailed(Exception):
    """A program could not be started, ended early, or did not become ready; the text ends with what it said last."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A running program, as it stands in a record on disk."""

    name: str
    pid: int
    started: int  # kernel clock ticks since boot
    log: str

    def alive(self) -> bool:
        """Whether exactly this process still runs; a child that ended is reaped by asking."""
        _reap(self.pid)
        return _start_time(self.pid) == self.started

    def ends(self, within_seconds: float) -> bool:
        """Waits for the end; False if the process still runs after that time."""
        with _handle(self) as handle:
            ended = handle is None or _ended(handle, within_seconds)
        _reap(self.pid)
        return ended

    def kill(self, sig: signal.Signals = signal.SIGKILL, *, within_seconds: float = 10.0) -> None:
        """Sends ``sig`` and returns once the process is gone; SIGKILL follows if that takes too long."""
        with _handle(self) as handle:
            if handle is not None:
                signal.pidfd_send_signal(handle, sig)
                if not _ended(handle, within_seconds):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    _ended(handle, within_seconds)
        _reap(self.pid)

    def last_words(self, lines: int = 15) -> str:
        """The end of what the program wrote."""
        try:
            text = Path(self.log).read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path,
    name: str = "",
    detached: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Starts a program with nothing on stdin; stdout and stderr are appended to ``log``.

    ``name`` is what people call it (default: the program's file name); ``environment`` replaces ours if given.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise ProcessFailed(f"{argv[0]}: no such program")
    command = [program, *map(str, argv[1:])]
    if not detached:
        setpriv = shutil.which("setpriv", path=os.environ.get("PATH", "") + ":/usr/bin")
        if setpriv is None:
            raise ProcessFailed("setpriv: no such program; it is part of util-linux")
        command = [setpriv, "--pdeathsig", "KILL", *command]
    pid = (
        _starter()
        .submit(
            os.posix_spawn,
            command[0],
            command,
            dict(os.environ if environment is None else environment),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGPIPE],
        )
        .result()
    )
    return Process(name=name or Path(argv[0]).name, pid=pid, started=_start_time(pid) or 0, log=str(log))


@functools.cache
def _starter() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


@contextlib.contextmanager
def _handle(process: Process) -> Iterator[int | None]:
    """A file descriptor that means exactly this process, whatever becomes of its pid; None if it is gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError as error:
        # ESRCH: nobody has the number. EINVAL, in newer kernels ENOENT: a thread of another process has it now.
        if error.errno not in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            raise
        yield None
        return
    try:
        with contextlib.suppress(ProcessLookupError):  # it ended while it was looked at
            yield handle if _start_time(process.pid) == process.started else None
    finally:
        os.close(handle)


def _ended(handle: int, within_seconds: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(within_seconds * 1000))


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # not ours, or already reaped
        os.waitpid(pid, os.WNOHANG)


def _start_time(pid: int) -> int | None:
    """None if there is no such process, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[_STAT_START_TIME])
