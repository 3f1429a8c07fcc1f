"""What the agent counts, each with its unit in the name. One registry per agent."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 5, 10, 20, 60)


class Metrics:
    """Declared here, set where things happen."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Histogram(
            "underlay_cni_call_duration_seconds",
            "From a call's last byte to its answer, by command and CNI error code (0: success).",
            ("command", "code"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.claims = Gauge("underlay_claims", "Interfaces of pods that hold addresses.", registry=self.registry)
        self.cooling = Gauge(
            "underlay_addresses_cooling", "Addresses freed less than the cool-down ago.", registry=self.registry
        )
        self.fences = Gauge("underlay_fences", "Releases of addresses under way.", registry=self.registry)
        self.shortages = Counter(
            "underlay_shortages_total", "ADDs that found no free address at once.", registry=self.registry
        )
        self.api_failures = Counter(
            "underlay_api_failures_total",
            "Writes to the API server that failed and are tried again.",
            ("what",),
            registry=self.registry,
        )
