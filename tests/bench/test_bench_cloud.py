"""The cloud benchmark works, and its arithmetic is EC2's; how fast the operator is, is not for a test to say."""

import io
import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bench import __main__ as program
from bench import cloud, cloud_table, reaction, scale
from bench.synthetic_pods import Cluster


def test_the_floor_follows_the_published_buckets() -> None:
    """Attaching has the smallest bucket, 50 calls and 5 a second: a thousand nodes need at least 190 s; assigning has
    100 and 5: 180 s.
    """
    assert [cloud.INTERFACE.floor_seconds(nodes) for nodes in (1000, 300, 100, 50, 1)] == [190, 50, 10, 0, 0]
    assert [cloud.PREFIX.floor_seconds(nodes) for nodes in (1000, 300, 100, 1)] == [180, 40, 0, 0]


def test_synthetic_pods_are_spread_evenly_and_paged() -> None:
    """Pages of any size give each pod once, with a name, UID and node of its own; a node's are those that say so."""
    cluster = Cluster(pods=120, nodes=12)
    pods, start = [], "0"
    while start:
        page = msgspec.json.decode(cluster.page(int(start), 50))
        pods += page["items"]
        start = page["metadata"].get("continue", "")

    assert len({pod["metadata"]["uid"] for pod in pods}) == len({pod["metadata"]["name"] for pod in pods}) == 120
    assert set(Counter(pod["spec"]["nodeName"] for pod in pods).values()) == {10}
    for node in range(12):
        names = {pod["metadata"]["name"] for pod in pods if pod["spec"]["nodeName"] == f"node-{node}"}
        assert names == {cluster.name(number) for number in cluster.of_node(node)}


@pytest.mark.apiserver
@pytest.mark.parametrize(
    ("supply", "calls"),
    [
        pytest.param(cloud.INTERFACE, {"CreateNetworkInterface": 1, "AttachNetworkInterface": 1}, id="interface"),
        pytest.param(cloud.PREFIX, {"AssignPrivateIpAddresses": 1}, id="prefix"),
    ],
)
async def test_a_small_run_gives_all_figures(
    supply: cloud.Supply, calls: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four nodes all get their addresses by one call of each needed operation, and every promised figure is written and
    printed; the ratio to a floor of zero is left out.
    """
    monkeypatch.setattr(program, "ROOT", tmp_path)

    found = await cloud.measure(tmp_path / "site", supply, 4, lambda _: None)
    written = json.loads(program.write("cloud", found).read_text())
    paper = io.StringIO()
    cloud_table.show(Console(file=paper, width=120), written, [supply], [4])

    assert all(isinstance(value, (int, float)) for value in written.values())
    promised = {
        "seconds",
        "floor_seconds",
        "median_seconds",
        "p99_seconds",
        "throttled",
        "api_requests_per_node",
        "operator_cpu_ms_per_node",
        "simulator_cpu_share",
        "operator_rss_end_mib",
        "operator_rss_peak_mib",
        "machine_load_before",
    }
    start = f"nodes_4_{supply.name}_"
    assert {f"{start}{name}" for name in promised} <= written.keys()
    assert {operation: written[f"{start}calls_per_node_{operation}"] for operation in calls} == calls
    assert f"{start}over_floor" not in written
    assert "operator_rss_peak_mib" in paper.getvalue()


@pytest.mark.apiserver
async def test_reaction_is_measured_for_every_pod(tmp_path: Path) -> None:
    """Each of four pods gets an address, which took some time; the half that was quickest was not slower than all."""
    found = await reaction.measure(tmp_path / "site", lambda _: None, nodes=2, pods_per_node=2)

    assert found["reaction_samples"] == 4
    assert 0 < found["reaction_p50_ms"] <= found["reaction_p99_ms"] <= found["reaction_max_ms"]


@pytest.mark.apiserver
async def test_a_large_cluster_is_served_with_synthetic_pods(tmp_path: Path) -> None:
    """Twelve nodes with 120 pods: pools are made at the adoption; afterwards there is nothing to write for a node, and
    each pool still has the addresses that were there from the start.
    """
    found = await scale.measure(tmp_path / "site", lambda _: None, nodes=12, pods=120)

    assert found["scale_adoption_api_writes_per_node"] >= 2
    assert found["scale_api_writes_per_node"] == 0
    assert 0 < found["scale_rss_mib"] <= found["scale_rss_peak_mib"]
    assert 0 < found["scale_synced_seconds"] <= found["scale_rested_seconds"]
