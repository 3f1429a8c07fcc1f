"""Where nodes live: on this host, when its kernel has what they need, or in the lab's guest.

``Here`` and ``lab.guest.Guest`` are the two machines. Programs run until they end or their block is left.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from controlplane.process import spawn

_LOOK_SECONDS = 0.1
_LEAVE_SECONDS = 4.0


class CommandFailed(Exception):
    """A program ended with an error, or too early (``status`` None); the text is its command and what it said."""

    def __init__(self, command: tuple[str, ...], status: int | None, text: str) -> None:
        self.status = status
        self.text = text
        how = "ended by itself" if status is None else f"exit {status}"
        super().__init__(f"{' '.join(command)} ({how}): {text.strip()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A port for a server on the machine: what it is told to listen on, and how this host reaches it."""

    listen: str
    url: str


class Machine(Protocol):
    """Paths mean the same on every machine, but what is written on one need not be seen on another."""

    @property
    def host(self) -> str:
        """The address at which programs there find the servers on this host's loopback."""
        ...

    @property
    def slowness(self) -> float:
        """How many times longer than here a program may take there; for choosing time bounds."""
        ...

    def endpoint(self) -> Endpoint: ...

    async def run(
        self,
        *command: str,
        text: str = "",
        environment: Mapping[str, str] | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> str:
        """Runs a program to its end and returns its standard output. Raises ``CommandFailed``.

        ``text`` is its standard input, ``environment`` is added to the machine's; ``heard`` gets the output in whole
        lines as they come.
        """
        ...

    def running(
        self, *command: str, log: Path, environment: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[asyncio.Task[None]]:
        """Runs a program while the block does; all it says goes to ``log``, a file on this host.

        The task ends, with ``CommandFailed``, if the program ends by itself.
        """
        ...


class Here:
    """The machine this runs on."""

    host = "127.0.0.1"
    slowness = 1.0

    def endpoint(self) -> Endpoint:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        return Endpoint(listen=address, url=f"http://{address}")

    async def run(
        self,
        *command: str,
        text: str = "",
        environment: Mapping[str, str] | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> str:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, **(environment or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the test run alone
        )
        try:
            out, err = await process.communicate(text.encode())
        finally:
            await _end(process)
        if heard is not None:
            heard(out.decode())
        if process.returncode:
            raise CommandFailed(command, process.returncode, (err + out).decode(errors="replace"))
        return out.decode()

    @contextlib.asynccontextmanager
    async def running(
        self, *command: str, log: Path, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[asyncio.Task[None]]:
        process = spawn(command, log=log, environment={**os.environ, **(environment or {})})

        async def follow() -> None:
            while process.alive():  # noqa: ASYNC110 - a cancelled wait must not leave a thread behind
                await asyncio.sleep(_LOOK_SECONDS)
            raise CommandFailed(command, None, last_words(log))

        async with background(follow()) as task:
            try:
                yield task
            finally:
                if not task.done():
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGTERM)  # a session of its own: what it started is in the group
                    await asyncio.to_thread(process.kill, signal.SIGTERM, within_seconds=_LEAVE_SECONDS)


@contextlib.asynccontextmanager
async def background(work: Coroutine[object, object, None]) -> AsyncIterator[asyncio.Task[None]]:
    """A task that is cancelled at the block's end and whose failure is then of no more interest."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, CommandFailed):
            await task


def last_words(log: Path, lines: int = 25) -> str:
    """The end of what a program wrote."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
