"""How long the operator takes to give many nodes their addresses, beside what EC2's throttling allows at best.

Time is real: EC2's published buckets let 1,000 nodes through in little more than three minutes, so nothing is scaled,
and CPU time and throttling stand in the relation they have in production.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from bench import usage
from bench.cloud_site import USER_AGENT, Behaviour, CloudSite, Machines, Say
from bench.site import SiteFailed
from controlplane import audit
from controlplane.process import Process

ATTACH_SECONDS = 0.5
"""How long an attachment takes at the cloud, unless told."""

_READS = frozenset({"get", "list", "watch"})
_PER_CLUSTER = frozenset({"leases", "spidernetworkproviders/status"})
"""Written as time passes, however many nodes there are."""
_THROTTLED = "RequestLimitExceeded"
_KIB_PER_MIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A published limit: ``capacity`` calls at once, then ``refill`` a second."""

    capacity: int
    refill: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """One way of giving a node ``addresses``: what the provider says, and the buckets of the calls that are needed
    once per node, whoever makes them.
    """

    name: str
    spec: Mapping[str, object]
    addresses: int
    needed: Mapping[str, Bucket]

    def floor_seconds(self, nodes: int) -> float:
        """The least time in which EC2 lets all nodes through.

        ``capacity`` of the calls go at once, the rest at ``refill`` a second, hence ``(nodes - capacity) / refill``.
        The operations overlap, so the slowest alone counts. Nothing is added for the calls' own time or for what an
        attachment takes; as many nodes as the smallest bucket holds have the floor 0.
        """
        return max(0.0, *((nodes - bucket.capacity) / bucket.refill for bucket in self.needed.values()))


# Rates: EC2 developer guide, "Request throttling for the Amazon EC2 API".
INTERFACE = Supply(
    name="interface",
    spec={
        "interfaces": {"usePrimary": False},
        "addresses": {"batch": 1, "buffer": 0, "minimum": 8},
    },
    addresses=8,
    needed={
        "CreateNetworkInterface": Bucket(capacity=100, refill=5),
        "AttachNetworkInterface": Bucket(capacity=50, refill=5),
        "ModifyNetworkInterfaceAttribute": Bucket(capacity=100, refill=5),
    },
)
"""One new interface, which has room for nine addresses; the primary one gets none."""
PREFIX = Supply(
    name="prefix",
    spec={
        "interfaces": {"usePrimary": True},
        "addresses": {"mode": "prefix", "buffer": 0, "minimum": 16},
    },
    addresses=16,
    needed={"AssignPrivateIpAddresses": Bucket(capacity=100, refill=5)},
)
"""One /28 on the primary interface."""
SUPPLIES: Sequence[Supply] = (INTERFACE, PREFIX)


async def measure(
    folder: Path, supply: Supply, nodes: int, say: Say, *, attach_seconds: float = ATTACH_SECONDS
) -> dict[str, float]:
    """Figures of one run, named ``nodes_<N>_<supply>_…``."""
    say("starting control plane, cloud and operator; making nodes")
    behaviour = Behaviour(attach_seconds=attach_seconds)
    async with CloudSite(folder, Machines(count=nodes), behaviour) as site:
        await site.start_operator()
        await site.quiet(within_seconds=60)
        ours = {"operator": [site.operator], "simulator": [site.cloudsim], "apiserver": site.apiserver()}
        idle, offset = usage.rss_mib(site.operator), site.audit_log.stat().st_size
        began = {name: usage.cpu(processes) for name, processes in ours.items()}
        floor, load = supply.floor_seconds(nodes), os.getloadavg()[0]
        seconds = await site.supply(
            say,
            lambda: site.provide(supply.spec),
            addresses=supply.addresses,
            within_seconds=60 + 8 * floor,
        )
        used = {name: usage.cpu(processes) - began[name] for name, processes in ours.items()}
        calls = await site.calls()
        wrong = await site.wrong_nodes()
        if wrong:
            raise SiteFailed(f"pools and cloud differ for {len(wrong)} nodes: {', '.join(wrong[:5])}")
        found = {
            **_of_time(seconds, floor),
            "attach_seconds": attach_seconds,
            **_of_calls(calls, nodes),
            **of_requests(site.audit_log, offset, nodes),
            "operator_cpu_user_seconds": used["operator"].user,
            "operator_cpu_system_seconds": used["operator"].system,
            "operator_cpu_ms_per_node": used["operator"].total * 1000 / nodes,
            **{f"{name}_cpu_share": cpu.total / seconds[-1] for name, cpu in used.items()},
            "operator_rss_idle_mib": idle,
            "operator_rss_end_mib": usage.rss_mib(site.operator),
            "operator_rss_peak_mib": peak_mib(site.operator),
            "machine_load_before": load,
            "machine_load_after": os.getloadavg()[0],
        }
        return {f"nodes_{nodes}_{supply.name}_{key}": value for key, value in found.items()}


def of_requests(log: Path, offset: int, nodes: int) -> dict[str, float]:
    """What the operator asked of the API server, per node; as writes count those of objects that nodes have."""
    counts = audit.count(log, offset=offset)
    ours = {request: count for request, count in counts.items() if request.user_agent == "underlay-operator"}
    others = {request.user_agent for request in counts} - {"underlay-operator", USER_AGENT}
    assert ours, f"the operator's requests are not in the audit log, only those of {sorted(others)}"
    writes = sum(
        count for request, count in ours.items() if request.verb not in _READS and request.resource not in _PER_CLUSTER
    )
    return {"api_requests_per_node": sum(ours.values()) / nodes, "api_writes_per_node": writes / nodes}


def peak_mib(process: Process) -> float:
    """The most memory that was ever resident."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / _KIB_PER_MIB


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
