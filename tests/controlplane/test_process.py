"""Child processes that leave nothing behind."""

import sys
import threading
from pathlib import Path

import msgspec
import pytest

from controlplane.process import Process, ProcessFailed, spawn


def test_kill_spares_a_stranger_with_the_same_pid(tmp_path: Path) -> None:
    """A record whose pid now belongs to a process started later harms nobody."""
    process = spawn(["sleep", "60"], log=tmp_path / "log")
    stale = msgspec.structs.replace(process, started=process.started - 1)

    assert not stale.alive()
    stale.kill()
    assert process.alive()
    process.kill()

    assert not process.alive()


def test_a_process_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    """It dies with the program, not with a worker thread of some event loop."""
    started: list[Process] = []
    asking = threading.Thread(target=lambda: started.append(spawn(["sleep", "60"], log=tmp_path / "log")))
    asking.start()
    asking.join()

    [process] = started
    assert not process.ends(within_seconds=0.2)
    process.kill()
    assert process.ends(within_seconds=0)


def test_what_a_program_said_is_kept(tmp_path: Path) -> None:
    """Both its streams go to the log, of which the last lines are given."""
    say = "import sys; print('first'); print('second', flush=True); print('third', file=sys.stderr)"
    process = spawn([sys.executable, "-c", say], log=tmp_path / "log", detached=True)
    assert process.ends(within_seconds=10)

    assert process.last_words(2) == "second\nthird"


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    """The error says which program is not there."""
    with pytest.raises(ProcessFailed, match="no-such-program"):
        spawn(["no-such-program"], log=tmp_path / "log")
