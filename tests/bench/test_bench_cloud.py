"""The cloud benchmark works, and its arithmetic is EC2's; how fast the operator is, is not for a test to say."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench import __main__ as program
from bench import cloud


def test_the_floor_follows_the_published_buckets() -> None:
    """Attaching has the smallest bucket, 50 calls and 5 a second: a thousand nodes need at least 190 s."""
    assert cloud.floor_seconds(1000) == 190
    assert cloud.floor_seconds(300) == 50
    assert cloud.floor_seconds(100) == 10
    assert cloud.floor_seconds(50) == 0
    assert cloud.floor_seconds(1) == 0


@pytest.mark.apiserver
async def test_a_small_run_gives_all_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four nodes all get their interface, which cost one create and one attach each, and every promised figure is
    written and printed; the ratio to a floor of zero is left out.
    """
    monkeypatch.setattr(program, "ROOT", tmp_path)

    found = await cloud.measure(tmp_path / "site", 4, lambda _: None)
    written = json.loads(program.write("cloud", found).read_text())
    paper = io.StringIO()
    cloud.show(Console(file=paper, width=120), written, [4])

    assert all(isinstance(value, (int, float)) for value in written.values())
    promised = {
        "seconds",
        "floor_seconds",
        "median_seconds",
        "p99_seconds",
        "calls_per_node_DescribeNetworkInterfaces",
        "throttled",
        "api_requests_per_node",
        "operator_cpu_ms_per_node",
        "operator_rss_end_mib",
        "operator_rss_peak_mib",
    }
    assert {f"nodes_4_interface_{name}" for name in promised} <= written.keys()
    assert written["nodes_4_interface_calls_per_node_CreateNetworkInterface"] == 1
    assert written["nodes_4_interface_calls_per_node_AttachNetworkInterface"] == 1
    assert "nodes_4_interface_over_floor" not in written
    assert cloud.NO_PREFIXES[:12] in paper.getvalue()
