"""The lab's parts that need no guest."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab import reports
from lab.kernel import newest


def test_newest_plain_kernel() -> None:
    """Build numbers are compared as numbers, and other flavours and debug symbols are no kernels for us."""
    offered = [
        "linux-image-6.1.0-9-amd64 - Linux 6.1 for 64-bit PCs (signed)",
        "linux-image-6.1.0-56-amd64 - Linux 6.1 for 64-bit PCs (signed)",
        "linux-image-6.1.0-57-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)",
        "linux-image-6.1.0-58-rt-amd64 - Linux 6.1 for 64-bit PCs, PREEMPT_RT (signed)",
        "linux-image-6.1.0-59-amd64-dbg - Debug symbols for linux-image-6.1.0-59-amd64",
    ]

    assert newest(offered) == "linux-image-6.1.0-56-amd64"


def test_no_kernel_offered() -> None:
    """Nothing is found where nothing is."""
    assert newest([]) == ""


def test_reports_travel(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Each test's outcome, reason and name come out of another pytest, between whatever else it prints."""
    (tmp_path / "test_sample.py").write_text(
        "import pytest\n"
        "def test_good(): print('\\x1e{')\n"
        "def test_bad(): assert 1 == 2\n"
        "@pytest.mark.skip(reason='not today')\n"
        "def test_left(): pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "lab.reports", "-p", "no:cacheprovider", "test_sample.py"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )

    found = [report for line in done.stdout.split("\n") if (report := reports.parse(pytestconfig, line))]
    reasons = [report.longrepr[2] for report in found if isinstance(report.longrepr, tuple)]
    outcomes = {(report.nodeid, report.when): report.outcome for report in found}
    assert outcomes["test_sample.py::test_good", "call"] == "passed"
    assert outcomes["test_sample.py::test_bad", "call"] == "failed"
    assert outcomes["test_sample.py::test_left", "setup"] == "skipped"
    assert reasons == ["Skipped: not today"]
    assert any("assert 1 == 2" in report.longreprtext for report in found)
