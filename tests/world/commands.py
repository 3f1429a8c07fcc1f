"""Runs a program to its end."""

import asyncio
import contextlib
from collections.abc import Mapping


class CommandFailed(Exception):
    """A program ended with an error; the text is the command and what it said."""

    def __init__(self, command: str, status: int, text: str) -> None:
        self.status = status
        self.text = text
        super().__init__(f"{command} (exit {status}): {text}")


async def run(*command: str, text: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Its standard output; ``text`` is its standard input. Raises ``CommandFailed``. A cancelled run is killed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is for us alone
    )
    try:
        out, err = await process.communicate(text.encode())
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        said = (err.decode(errors="replace") + out.decode(errors="replace")).strip()
        raise CommandFailed(" ".join(command[:6]), process.returncode, said)
    return out.decode()


async def ip(*lines: str, namespace: str = "") -> None:
    """``ip -batch`` in a named namespace."""
    where = ("-n", namespace) if namespace else ()
    await run("ip", *where, "-batch", "-", text="\n".join(lines) + "\n")
