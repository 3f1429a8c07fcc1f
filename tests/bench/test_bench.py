"""The benchmark works; how fast anything is, is not for a test to say."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench import __main__ as program
from bench import figures
from bench.calls import Call, Outcome, Verb
from bench.cni import Extent, measure
from bench.datapath import loop
from bench.figures import Samples
from bench.subjects import SUBJECTS
from bench.table import show
from world.names import Names


@pytest.mark.netns
@pytest.mark.apiserver
async def test_a_small_run_gives_all_figures_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One round with few pods: every call of every subject succeeds, the promised figures exist and are numbers."""
    monkeypatch.setattr(program, "ROOT", tmp_path)
    extent = Extent(rounds=1, batches=((1, 2), (8, 8), (32, 32)), life=8)

    report = await measure(Names(world="benchtest"), tmp_path / "site", extent, lambda _: None, kind="macvlan")
    found = json.loads(program.write("cni", report.figures).read_text())
    paper = io.StringIO()
    show(Console(file=paper, width=120), report, kind="macvlan", widths=[1, 8, 32])

    assert list(report.errors) == []
    assert all(found[f"{subject}_failures"] == 0 for subject in SUBJECTS)
    assert all(found[f"{subject}_calls"] == 2 * (2 + 8 + 32) for subject in SUBJECTS)
    assert all(isinstance(value, (int, float)) for value in found.values())
    promised = {
        "add_sequential_median_ratio",
        "add_parallel_32_throughput_ratio",
        "del_sequential_median_ratio",
        "add_sequential_median_ratio_without_coordinator",
        "cpu_per_add_launcher_ms",
        "cpu_per_add_python_ms",
        "cpu_per_add_kernel_ms",
        "cpu_per_add_apiserver_ms",
        "agent_rss_idle_mib",
        "agent_rss_8_pods_mib",
        "agent_rss_end_mib",
        "operator_rss_end_mib",
        "api_writes_per_pod_underlay_agent",
    }
    assert promised <= found.keys()
    assert "32" in paper.getvalue()


@pytest.mark.netns
async def test_the_datapath_loop_gives_its_figures() -> None:
    """Both ways of sending attach every pod, and are compared."""
    found = await loop(4)

    assert {"attach_batched_median_ms", "attach_one_by_one_median_ms", "attach_batched_ratio"} <= found.keys()


def test_a_ratio_above_one_means_that_underlay_is_better() -> None:
    """The chain's time by ours, our throughput by the chain's; a failed call counts as failed, not as fast."""
    table: dict[tuple[str, Verb, int], Samples] = {}
    for subject, seconds in zip(SUBJECTS, (0.020, 0.005, 0.004), strict=True):
        for verb in figures.VERBS:
            table[subject, verb, 1] = Samples()
            calls = (Call(seconds=seconds), Call(seconds=seconds), Call(seconds=0.001, error="refused"))
            outcome = Outcome(calls=calls, wall_seconds=2 * seconds, user_seconds=0, system_seconds=0)
            table[subject, verb, 1].take(outcome)

    found = figures.of_calls(table)
    ratios = figures.ratios(found, [1])

    assert ratios["add_sequential_median_ratio"] == pytest.approx(4)
    assert ratios["del_sequential_throughput_ratio"] == pytest.approx(4)
    assert ratios["add_sequential_p99_ratio_without_coordinator"] == pytest.approx(5)
    assert found["underlay_failures"] == 2
    assert found["underlay_calls"] == 6
