"""How long the operator takes to give many nodes their first interface, beside what EC2's throttling allows at best.

Time is real: EC2's published buckets let 1,000 nodes through in little more than three minutes, so nothing is scaled,
and CPU time and throttling stand in the relation they have in production.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from rich.console import Console
from rich.table import Table

from bench import usage
from bench.cloud_site import USER_AGENT, CloudSite, Say
from bench.site import SiteFailed
from controlplane import audit
from controlplane.process import Process

ADDRESSES = 8
"""That each node waits for; an interface of the machines has room for nine."""
ATTACH_SECONDS = 0.5
"""How long an attachment takes at the cloud, unless told."""
NO_PREFIXES = "prefixes: not measured, the operator does not use prefix delegation yet"

_READS = frozenset({"get", "list", "watch"})
_THROTTLED = "RequestLimitExceeded"
_KIB_PER_MIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A published limit: ``capacity`` calls at once, then ``refill`` a second."""

    capacity: int
    refill: int


NEEDED = {
    "CreateNetworkInterface": Bucket(capacity=100, refill=5),
    "AttachNetworkInterface": Bucket(capacity=50, refill=5),
    "ModifyNetworkInterfaceAttribute": Bucket(capacity=100, refill=5),
}
"""One call of each is needed per interface, whoever makes it. Rates: EC2 developer guide, "Request throttling"."""


def floor_seconds(nodes: int) -> float:
    """The least time in which EC2 lets one interface per node be made.

    Each operation needs one call per node. ``capacity`` of them go at once, the rest at ``refill`` a second, hence
    ``(nodes - capacity) / refill``. The operations overlap, so the slowest alone counts: attaching, from 50 nodes on.
    Nothing is added for the calls' own time or for what an attachment takes; up to 50 nodes the floor is 0.
    """
    return max(0.0, *((nodes - bucket.capacity) / bucket.refill for bucket in NEEDED.values()))


async def measure(folder: Path, nodes: int, say: Say, *, attach_seconds: float = ATTACH_SECONDS) -> dict[str, float]:
    """Figures of one run, named ``nodes_<N>_interface_…``."""
    say("starting control plane, cloud and operator; making nodes")
    async with CloudSite(folder, nodes=nodes, addresses=ADDRESSES, attach_seconds=attach_seconds) as site:
        name = f"nodes_{nodes}_interface"
        idle, began = usage.rss_mib(site.operator), usage.cpu([site.operator])
        began_apiserver, offset = usage.cpu(site.apiserver()), site.audit_log.stat().st_size
        floor = floor_seconds(nodes)
        seconds = await site.supply(say, within_seconds=60 + 8 * floor)
        used = usage.cpu([site.operator]) - began
        used_apiserver = usage.cpu(site.apiserver()) - began_apiserver
        calls = await site.calls()
        wrong = await site.wrong_nodes()
        if wrong:
            raise SiteFailed(f"pools and cloud differ for {len(wrong)} nodes: {', '.join(wrong[:5])}")
        found = {
            **_of_time(seconds, floor),
            "attach_seconds": attach_seconds,
            **_of_calls(calls, nodes),
            **_of_requests(site.audit_log, offset, nodes),
            "operator_cpu_user_seconds": used.user,
            "operator_cpu_system_seconds": used.system,
            "operator_cpu_ms_per_node": used.total * 1000 / nodes,
            "operator_cpu_share": used.total / seconds[-1],
            "apiserver_cpu_ms_per_node": used_apiserver.total * 1000 / nodes,
            "operator_rss_idle_mib": idle,
            "operator_rss_end_mib": usage.rss_mib(site.operator),
            "operator_rss_peak_mib": _peak_mib(site.operator),
        }
        return {f"{name}_{key}": value for key, value in found.items()}


def show(console: Console, figures: Mapping[str, float], sizes: Iterable[int]) -> None:
    """One column per number of nodes."""
    chosen = list(dict.fromkeys(sizes))
    table = Table(title="one new interface per node, EC2's buckets", title_justify="left")
    table.add_column("")
    for size in chosen:
        table.add_column(f"{size} nodes", justify="right")
    rows: dict[str, dict[int, float]] = {}
    for size in chosen:
        start = f"nodes_{size}_interface_"
        for key, value in figures.items():
            if key.startswith(start):
                rows.setdefault(key.removeprefix(start), {})[size] = value
    for label, row in rows.items():
        table.add_row(label, *(f"{row[size]:.2f}" if size in row else "-" for size in chosen))
    console.print(table)
    console.print(f"over_floor: - where EC2 lets all nodes through at once (floor 0). {NO_PREFIXES}.")


def _of_time(seconds: list[float], floor: float) -> dict[str, float]:
    cuts = quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 99
    found = {
        "seconds": seconds[-1],
        "floor_seconds": floor,
        "first_seconds": seconds[0],
        "median_seconds": cuts[49],
        "p99_seconds": cuts[98],
    }
    return found | ({"over_floor": seconds[-1] / floor} if floor else {})


def _of_calls(calls: Mapping[str, Mapping[str, int]], nodes: int) -> dict[str, float]:
    found = {f"calls_per_node_{operation}": sum(codes.values()) / nodes for operation, codes in sorted(calls.items())}
    throttled = {operation: codes[_THROTTLED] for operation, codes in calls.items() if codes.get(_THROTTLED)}
    found |= {f"throttled_{operation}": float(count) for operation, count in sorted(throttled.items())}
    return found | {"throttled": float(sum(throttled.values()))}


def _of_requests(log: Path, offset: int, nodes: int) -> dict[str, float]:
    counts = audit.count(log, offset=offset)
    ours = {request: count for request, count in counts.items() if request.user_agent == "underlay-operator"}
    others = {request.user_agent for request in counts} - {"underlay-operator", USER_AGENT}
    assert ours, f"the operator's requests are not in the audit log, only those of {sorted(others)}"
    writes = sum(count for request, count in ours.items() if request.verb not in _READS)
    return {"api_requests_per_node": sum(ours.values()) / nodes, "api_writes_per_node": writes / nodes}


def _peak_mib(process: Process) -> float:
    """The most memory that was ever resident."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / _KIB_PER_MIB
