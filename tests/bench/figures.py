"""Samples → named numbers. Pure.

A latency is named ``<subject>_<verb>_<load>_<statistic>_ms``, a throughput ``…_per_second``. A ratio is above 1 where
Underlay is better: the reference chain's time by ours, our throughput by the chain's.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, quantiles

from bench.calls import Outcome, Verb
from bench.subjects import CHAIN, SUBJECTS, UNDERLAY, WITHOUT_COORDINATOR
from bench.usage import Cpu
from controlplane.audit import Request

Figures = dict[str, float]
VERBS: tuple[Verb, ...] = ("ADD", "DEL")
STATISTICS = ("median", "p90", "p99")
_READS = frozenset({"get", "list", "watch"})
_SUFFIX = {UNDERLAY: "", WITHOUT_COORDINATOR: "_without_coordinator"}


@dataclass(slots=True)
class Samples:
    """Everything measured of one subject, verb and number of calls at a time."""

    seconds: list[float] = field(default_factory=list)
    wall_seconds: float = 0.0
    user_seconds: float = 0.0
    system_seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    def take(self, outcome: Outcome) -> None:
        """Add a batch."""
        self.seconds += [call.seconds for call in outcome.calls if not call.error]
        self.errors += [call.error for call in outcome.calls if call.error]
        self.wall_seconds += outcome.wall_seconds
        self.user_seconds += outcome.user_seconds
        self.system_seconds += outcome.system_seconds


Table = Mapping[tuple[str, Verb, int], Samples]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one verb for many pods took, with all that follows it off the path."""

    calls: int
    launcher: Cpu
    agent: Cpu
    apiserver: Cpu
    etcd: Cpu
    operator: Cpu


def load(width: int) -> str:
    """``sequential`` or ``parallel_8``."""
    return "sequential" if width == 1 else f"parallel_{width}"


def of_calls(table: Table) -> Figures:
    """Latencies and throughputs."""
    found: Figures = {}
    for (subject, verb, width), samples in table.items():
        name = f"{subject}_{verb.lower()}_{load(width)}"
        for statistic, value in _statistics(samples.seconds).items():
            found[f"{name}_{statistic}_ms"] = value * 1000
        found[f"{name}_per_second"] = len(samples.seconds) / samples.wall_seconds
    for subject in SUBJECTS:
        all_of_it = [samples for (name, _, _), samples in table.items() if name == subject]
        found[f"{subject}_calls"] = sum(len(samples.seconds) + len(samples.errors) for samples in all_of_it)
        found[f"{subject}_failures"] = sum(len(samples.errors) for samples in all_of_it)
    return found


def ratios(found: Mapping[str, float], widths: Iterable[int]) -> Figures:
    """Underlay against the chain, each load on its own."""
    ratio: Figures = {}
    for width in widths:
        for verb in VERBS:
            tail = f"{verb.lower()}_{load(width)}"
            for ours, suffix in _SUFFIX.items():
                for statistic in STATISTICS:
                    key = f"{tail}_{statistic}"
                    ratio[f"{key}_ratio{suffix}"] = found[f"{CHAIN}_{key}_ms"] / found[f"{ours}_{key}_ms"]
                ratio[f"{tail}_throughput_ratio{suffix}"] = (
                    found[f"{ours}_{tail}_per_second"] / found[f"{CHAIN}_{tail}_per_second"]
                )
    return ratio


def of_teardown(seconds: Mapping[str, Sequence[float]]) -> Figures:
    """Per pod, from the first DEL of a batch until the kernel is done with the last namespace."""
    return {f"{subject}_teardown_per_pod_ms": fmean(values) * 1000 for subject, values in seconds.items()}


def of_chain(table: Table) -> Figures:
    """CPU time of the reference plugins per call; nothing of them is resident."""
    found: Figures = {}
    for verb in VERBS:
        samples = [item for (subject, of, _), item in table.items() if (subject, of) == (CHAIN, verb)]
        calls = sum(len(item.seconds) for item in samples)
        user, system = sum(item.user_seconds for item in samples), sum(item.system_seconds for item in samples)
        name = f"{CHAIN}_cpu_per_{verb.lower()}"
        found |= {f"{name}_user_ms": user / calls * 1000, f"{name}_kernel_ms": system / calls * 1000}
        found[f"{name}_ms"] = (user + system) / calls * 1000
    return found


def of_usage(verb: Verb, used: Usage) -> Figures:
    """CPU time of Underlay per call: the launcher's and the agent's own, the kernel's for both, the API server's.

    ``cpu_per_add_ms`` is what the node pays: launcher, Python and kernel.
    """
    name, each = f"cpu_per_{verb.lower()}", 1000 / used.calls
    node = {
        "launcher": used.launcher.user,
        "python": used.agent.user,
        "kernel": used.agent.system + used.launcher.system,
    }
    elsewhere = {"apiserver": used.apiserver.total, "etcd": used.etcd.total, "operator": used.operator.total}
    found = {f"{name}_{part}_ms": seconds * each for part, seconds in (node | elsewhere).items()}
    return found | {f"{name}_ms": sum(node.values()) * each}


def of_requests(counts: Counter[Request], pods: int, *, ours: frozenset[str]) -> Figures:
    """Requests to the API server per pod life, by user agent; those of the measuring itself (``ours``) are left out."""
    found: Figures = {}
    for request, count in counts.items():
        if request.user_agent in ours:
            continue
        agent = "".join(char if char.isalnum() else "_" for char in request.user_agent)
        kinds = ("requests",) if request.verb in _READS else ("requests", "writes")
        for kind in kinds:
            key = f"api_{kind}_per_pod_{agent}"
            found[key] = found.get(key, 0.0) + count / pods
    return found


def _statistics(seconds: Sequence[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return dict.fromkeys(STATISTICS, seconds[0] if seconds else float("nan"))
    cuts = quantiles(seconds, n=100, method="inclusive")
    return {"median": cuts[49], "p90": cuts[89], "p99": cuts[98]}
