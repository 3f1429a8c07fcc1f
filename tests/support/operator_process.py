"""The operator as processes of their own, to be killed, stopped and waked."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from underlay.operator.settings import Settings


@asynccontextmanager
async def operator_process(settings: Settings, folder: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """``support.killed_operator`` with ``words``; killed at the end of the block. Its identity names its files."""
    config, log, said = (folder / f"{settings.identity}.{what}" for what in ("json", "steps", "log"))
    config.write_bytes(msgspec.json.encode(msgspec.to_builtins(settings, enc_hook=str)))
    log.touch()
    command = (sys.executable, "-m", "support.killed_operator", "--config", str(config), "--log", str(log), *words)
    with said.open("ab") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


def steps(folder: Path, identity: str) -> list[str]:
    """What that operator has passed so far, in order."""
    return (folder / f"{identity}.steps").read_text().split()


async def unless_dead(
    process: asyncio.subprocess.Process, problems: Callable[[], Coroutine[Any, Any, list[str]]]
) -> list[str]:
    """What ``problems()`` finds; nothing once the process has ended."""
    return await problems() if process.returncode is None else []
