"""What the operator counts, each with its unit in the name; docs/metrics.md explains them. One registry per process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from underlay.core.api.nodenetwork import Demand
from underlay.core.cloud.limits import CallEnd, Observer

_CALL_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_WAIT_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 60, 120, 300)
_ACTION_BUCKETS = (0, 1, 2, 3, 5, 8, 13)
_PLAN_BUCKETS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1)


@dataclass(frozen=True, slots=True)
class SubnetState:
    """``free`` None: the cloud does not say. ``pressure``: see ``core.cloud.pressure``."""

    provider: str
    subnet: str
    free: int | None
    pressure: int


class Metrics:
    """Declared here, set where things happen."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.calls = Counter(
            "underlay_cloud_calls",
            "Attempts of cloud calls by how they ended: Success, the class of the error, or BreakerOpen (not sent).",
            ("provider", "operation", "class"),
            registry=self.registry,
        )
        self.call_seconds = Histogram(
            "underlay_cloud_call_seconds",
            "From sending a call to its answer.",
            ("operation",),
            buckets=_CALL_BUCKETS,
            registry=self.registry,
        )
        self.limiter_wait_seconds = Histogram(
            "underlay_cloud_limiter_wait_seconds",
            "How long an attempt waited for its token before it was sent.",
            ("operation",),
            buckets=_WAIT_BUCKETS,
            registry=self.registry,
        )
        self.orphans = Counter(
            "underlay_orphans",
            "Interfaces that nobody claims, by what became of them: deleted, found (dry run: at every look), failed.",
            ("provider", "outcome"),
            registry=self.registry,
        )
        self.plan_seconds = Histogram(
            "underlay_plan_seconds", "Deciding what one node needs.", buckets=_PLAN_BUCKETS, registry=self.registry
        )
        self.plan_actions = Histogram(
            "underlay_plan_actions",
            "Cloud writes that a node's plan asks for; 0: the node has what it should have, or cannot get more.",
            buckets=_ACTION_BUCKETS,
            registry=self.registry,
        )

    def planned(self, seconds: float, actions: int) -> None:
        """A plan was made."""
        self.plan_seconds.observe(seconds)
        self.plan_actions.observe(actions)

    def observer(self, provider: str) -> Observer:
        """What counts the calls of a gate."""

        def observe(end: CallEnd) -> None:
            self.calls.labels(provider, end.operation, end.outcome).inc()
            if end.seconds is not None:
                self.call_seconds.labels(end.operation).observe(end.seconds)
                self.limiter_wait_seconds.labels(end.operation).observe(end.waited_seconds)

        return observe

    def collected(self, provider: str, outcome: str) -> None:
        """What became of an orphan."""
        self.orphans.labels(provider, outcome).inc()

    def follow(
        self,
        *,
        levels: Callable[[], Mapping[str, int]],
        demands: Callable[[], Iterable[Demand]],
        subnets: Callable[[], Iterable[SubnetState]],
    ) -> None:
        """States that are read when somebody asks: the breaker's level by provider, the demand of each node, subnets.

        All are called in the exporter's thread.
        """
        self.registry.register(_States(levels=levels, demands=demands, subnets=subnets))


@asynccontextmanager
async def exported(metrics: Metrics, address: str) -> AsyncIterator[None]:
    """Serves ``/metrics`` at ``host:port``; with an empty address nowhere."""
    if not address:
        yield
        return
    host, _, port = address.rpartition(":")
    server, thread = start_http_server(int(port), host.strip("[]") or "0.0.0.0", registry=metrics.registry)
    try:
        yield
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class _States(Collector):
    levels: Callable[[], Mapping[str, int]]
    demands: Callable[[], Iterable[Demand]]
    subnets: Callable[[], Iterable[SubnetState]]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        level = GaugeMetricFamily(
            "underlay_cloud_breaker_level",
            "0: everything is sent, 1: something that releases is held back, 2: calls are held back.",
            labels=("provider",),
        )
        for provider, value in self.levels().items():
            level.add_metric((provider,), value)
        yield level
        demands = list(self.demands())
        sums = {
            "usable": sum(demand.usable for demand in demands),
            "target": sum(demand.target for demand in demands),
            "pods": sum(demand.pods for demand in demands),
            "cooling": sum(demand.cooling for demand in demands),
            "room": sum(demand.room for demand in demands),
        }
        addresses = GaugeMetricFamily(
            "underlay_node_addresses",
            "Sums over all nodes: addresses at the cloud, wanted, of pods, cooling down; pods that could come (room).",
            labels=("state",),
        )
        for state, value in sums.items():
            addresses.add_metric((state,), value)
        yield addresses
        free = GaugeMetricFamily(
            "underlay_subnet_free_addresses",
            "Free IPv4 addresses as the cloud last said, less what has been taken since.",
            labels=("provider", "subnet"),
        )
        pressure = GaugeMetricFamily(
            "underlay_subnet_pressure",
            "How scarce IPv4 addresses are: 0 normal, 1 low, 2 empty.",
            labels=("provider", "subnet"),
        )
        for known in self.subnets():
            if known.free is not None:
                free.add_metric((known.provider, known.subnet), known.free)
            pressure.add_metric((known.provider, known.subnet), known.pressure)
        yield free
        yield pressure
