"""pytest plugin of the outer run: tests marked ``kernel`` run on a kernel that has ipvlan.

If that is this host's kernel, they are tests like all others. If not, one guest is booted for all of them, late in the
run. A test that takes the fixture ``machine`` runs here and has its nodes on that machine; every other one runs in a
pytest in the guest, and its reports are repeated here, under its own name, as if it had run here.
"""

import asyncio
import contextlib
import functools
import os
import sys
from collections import defaultdict
from collections.abc import Generator, Sequence

import pytest

from lab import reports
from lab.guest import Guest, GuestLost
from lab.kernel import NoKernel
from lab.machine import CommandFailed, Here, Machine
from lab.probe import has_ipvlan

INSIDE = "UNDERLAY_LAB"
"""In the environment of the run in the guest."""

_FIXTURE = "machine"


class Lab:
    """The guest, booted when first asked for."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._guests = contextlib.ExitStack()
        self._outcome: Guest | GuestLost | NoKernel | None = None

    @functools.cached_property
    def wanted(self) -> bool:
        """Whether this kernel lacks what tests marked ``kernel`` need."""
        return INSIDE not in os.environ and not has_ipvlan()

    @property
    def guest(self) -> Guest:
        """Raises ``GuestLost`` or ``NoKernel``, the same one to all when it could not be booted."""
        if self._outcome is None:
            with self.aloud():
                try:
                    self._outcome = self._guests.enter_context(Guest.booted())
                except (GuestLost, NoKernel) as problem:
                    self._outcome = problem
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    @contextlib.contextmanager
    def aloud(self) -> Generator[None]:
        """What is said in the block reaches the terminal, although pytest captures what tests say."""
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if terminal is not None:
            terminal.ensure_newline()
        capture = self._config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture is not None else contextlib.nullcontext():
            yield

    def close(self) -> None:
        self._guests.close()


_LAB = pytest.StashKey[Lab]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LAB] = Lab(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_LAB].close()


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Machine:
    """Where nodes can have ipvlan."""
    lab = request.config.stash[_LAB]
    return lab.guest if lab.wanted else Here()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``kernel`` come last, so that no others run beside an idle guest; as root only."""
    kernel = [item for item in items if item.get_closest_marker("kernel")]
    items[:] = [item for item in items if not item.get_closest_marker("kernel")] + kernel
    if os.geteuid() != 0:
        for item in kernel:
            item.add_marker(pytest.mark.skip(reason="needs root: makes network namespaces"))


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Takes the guest's tests out of the loop over all others, and repeats their reports after it."""
    lab = session.config.stash[_LAB]
    theirs = [item for item in session.items if item.get_closest_marker("kernel") and not _runs_here(item)]
    if session.config.option.collectonly or os.geteuid() != 0 or not theirs or not lab.wanted:
        return (yield)
    everything = session.items
    session.items = [item for item in everything if item not in theirs]
    try:
        result = yield
    finally:
        session.items = everything
    if not session.shouldstop and not session.shouldfail:
        _repeat(theirs, lab)
    return result


def _runs_here(item: pytest.Item) -> bool:
    return _FIXTURE in getattr(item, "fixturenames", ())


def _repeat(items: Sequence[pytest.Item], lab: Lab) -> None:
    found: defaultdict[str, list[pytest.TestReport]] = defaultdict(list)
    trouble = ""
    try:
        with lab.aloud():
            trouble = asyncio.run(_run_there(lab.guest, items, found))
    except (GuestLost, NoKernel) as problem:
        trouble = str(problem)
    for item in items:
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        there = found[item.nodeid]
        if not any(report.when == "teardown" for report in there):
            there.append(_unfinished(item, trouble))
        for report in there:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


async def _run_there(
    guest: Guest, items: Sequence[pytest.Item], found: defaultdict[str, list[pytest.TestReport]]
) -> str:
    """Collects reports by test; returns what pytest said beside them if it could not run as it should."""
    config = items[0].config
    other = ""
    done = 0

    def hear(text: str) -> None:
        nonlocal other, done
        for line in text.split("\n"):  # not splitlines: it takes the reports' separator for an end of line
            report = reports.parse(config, line)
            if report is None:
                other += f"{line}\n"
                continue
            found[report.nodeid].append(report)
            if report.when == "teardown":
                done += 1
                sys.stderr.write(f"kernel lab: {done} of {len(items)}, {report.nodeid}\n")
                sys.stderr.flush()

    sys.stderr.write(f"kernel lab: starting pytest in the guest for {len(items)} tests (about 1 min) ...\n")
    sys.stderr.flush()
    command = [sys.executable, "-m", "pytest", "-p", "lab.reports", "-p", "no:cacheprovider"]
    environment = {
        INSIDE: "1",
        "PYTHONPATH": str(config.rootpath / "tests"),
        "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",  # noqa: S108 - the guest's own
    }
    try:
        await guest.run(*command, *(item.nodeid for item in items), environment=environment, heard=hear)
    except CommandFailed as failed:
        return f"{other}\n{failed.text[-4000:] if not other else ''}"
    return other


def _unfinished(item: pytest.Item, trouble: str) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="failed",
        longrepr=f"This test did not finish in the kernel lab.\n{trouble}",
        when="call",
    )
