"""Shows on the terminal what takes its time: a live line where there is a terminal, plain lines elsewhere.

Everything goes to stderr, so that a command's own output can be piped.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Note = Callable[[str], None]
"""Says how far the step is ("312 packages")."""

_PLAIN_EVERY_SECONDS = 15.0


@contextmanager
def step(what: str) -> Iterator[Note]:
    """``what`` is under way while the block runs; the elapsed time is shown, and whether it failed."""
    console = Console(stderr=True)
    show = _live(console, what) if console.is_terminal else _plain(what)
    began = time.monotonic()
    outcome = "failed after"
    try:
        with show as note:
            yield note
        outcome = "done in"
    finally:
        sys.stderr.write(f"{what}: {outcome} {_elapsed(began)}\n")
        sys.stderr.flush()


@contextmanager
def _live(console: Console, what: str) -> Iterator[Note]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None, note="")

        def note(text: str) -> None:
            progress.update(task, note=text)

        yield note


@contextmanager
def _plain(what: str) -> Iterator[Note]:
    began = time.monotonic()
    newest = ""
    over = threading.Event()

    def note(text: str) -> None:
        nonlocal newest
        newest = f", {text}"

    def tell() -> None:
        while not over.wait(_PLAIN_EVERY_SECONDS):
            sys.stderr.write(f"{what}: {_elapsed(began)}{newest}\n")
            sys.stderr.flush()

    sys.stderr.write(f"{what} ...\n")
    sys.stderr.flush()
    teller = threading.Thread(target=tell, name="progress")
    teller.start()
    try:
        yield note
    finally:
        over.set()
        teller.join()


def _elapsed(since: float) -> str:
    minutes, seconds = divmod(round(time.monotonic() - since), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
