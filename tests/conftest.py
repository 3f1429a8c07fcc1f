"""What all suites share: an API server for each module, and how long each suite took."""

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from controlplane import access
from controlplane.cluster import ControlPlane

if TYPE_CHECKING:
    from underlay.core.kube.client import KubeClient

pytest_plugins = ["lab.plugin"]

# How long an example takes on a busy machine says nothing. The same examples in every run: a change is judged by what
# it changes. `make soak` looks for new ones, with --hypothesis-profile=explore.
hypothesis.settings.register_profile("underlay", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
hypothesis.settings.load_profile("underlay")

ROOT = Path(__file__).parents[1]
CRDS = ROOT / "charts" / "underlay" / "crds"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServer:
    """A real API server with our kinds, shared by a module: each test uses names or namespaces of its own."""

    plane: ControlPlane

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.plane.kubeconfig

    def client(self, user_agent: str, *, user: str = access.ADMIN) -> "KubeClient":
        """A new client, for its caller to close; ``user_agent`` is what the audit log will call it."""
        from underlay.core.kube.client import KubeClient  # noqa: PLC0415 - pure suites run without its half second

        return KubeClient.connect(self.plane.kubeconfig_of(user), user_agent=user_agent)


@pytest.fixture(scope="module")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Started when the module's first test asks for it. It runs without controllers: nothing deletes a namespace's
    content. What a module leaves, wild values of a property test or the objects of a failed one, no other one meets:
    an operator serves the whole cluster.
    """
    with ControlPlane.start(tmp_path_factory.mktemp("controlplane")) as plane:
        plane.install_crds(CRDS)
        yield ApiServer(plane=plane)


def pytest_configure() -> None:
    """Says that this thread has no event loop, so that asyncio does not make one when pytest-asyncio asks for it.

    That loop would be closed by nobody, and its ResourceWarning fail some later test (pytest-asyncio issue 724).
    """
    asyncio.set_event_loop(None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on kernel namespaces are skipped, and say so, where they may not make any."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("netns") is not None:
            item.add_marker(pytest.mark.skip(reason="needs root: makes network namespaces"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints how long each suite took; a fixture counts for the suite that asked for it first."""
    seconds: defaultdict[str, float] = defaultdict(float)
    tests: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                suite = _suite(report.nodeid)
                seconds[suite] += report.duration
                tests[suite] += report.when == "call"
    _tell(terminalreporter, "hits", "crash points")
    _tell(terminalreporter, "told", "what tests measured")
    if seconds:
        terminalreporter.section("time of each suite")
    for suite, taken in sorted(seconds.items()):
        terminalreporter.write_line(f"{taken:9.1f} s {tests[suite]:6} tests  {suite}")


def _tell(terminalreporter: pytest.TerminalReporter, recorded_as: str, title: str) -> None:
    """What tests recorded under a name: how often each crash point was reached, or killed at; how long a thing took."""
    told = [
        (report.nodeid, value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == recorded_as
    ]
    if told:
        terminalreporter.section(title)
    for nodeid, value in told:
        terminalreporter.write_line(f"{nodeid.rpartition('/')[2]}: {value}")


def _suite(nodeid: str) -> str:
    """The folder below ``tests/``; for a test file directly in it, that file."""
    parts = nodeid.partition("::")[0].split("/")
    return parts[1] if parts[0] == "tests" and len(parts) > 1 else parts[0]
