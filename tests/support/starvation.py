"""Time bounds that a busy machine does not break, and a slow product does."""

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


async def within(seconds: float, work: Awaitable[T]) -> T:
    """What ``work`` gives; ``TimeoutError`` if it takes longer.

    Time in which a thread of this process or of a child (the API server) was ready and got no processor does not
    count: it is the other programs' of the machine.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds - starved_seconds()
    task = asyncio.ensure_future(work)
    while (left := deadline + starved_seconds() - loop.time()) > 0:
        done, _ = await asyncio.wait({task}, timeout=left)
        if done:
            return task.result()
    task.cancel()
    await asyncio.wait({task})
    raise TimeoutError(f"not within {seconds} s on a processor")


def starved_seconds() -> float:
    """Up to now, of all threads that still run: the kernel's ``run_delay`` (/proc/PID/schedstat), or 0 without."""
    us = str(os.getpid())
    processes = [folder for folder in Path("/proc").glob("[0-9]*") if us in (folder.name, _parent(folder))]
    return sum(_delay_seconds(file) for folder in processes for file in folder.glob("task/*/schedstat"))


def _parent(process: Path) -> str:
    return (_read(process / "stat").rpartition(")")[2].split() or ["", ""])[1]


def _delay_seconds(file: Path) -> float:
    return int((_read(file).split() or ["", "0"])[1]) / 1e9


def _read(file: Path) -> str:
    """Empty if what it told of has ended meanwhile."""
    try:
        return file.read_text()
    except OSError:
        return ""
