"""What the operator is told at start."""

from pathlib import Path

import msgspec

from underlay.core.api.meta import wire_name


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Read once from the file given with ``--config``.

    ``settle_seconds``: how long our own write outranks what the cloud's reads say (design: invariant 4).
    ``resync_seconds``: a node is read again from the cloud at least this often; ``secret_seconds``: a provider's Secret
    from the API server. ``lease_seconds``, ``renew_seconds``
    and ``retry_seconds`` are the leader election's duration, renewal deadline and period; ``call_seconds`` bounds a
    cloud call, and must not exceed the first minus the second: what a lost leader began has ended when another begins.
    ``subnet_seconds``: an exhausted subnet is asked again, and free counts are read again, after so long.
    ``workers``: nodes that are worked on at once, without those that wait for the cloud.
    """

    kubeconfig: Path | None = None
    identity: str = ""
    lease_namespace: str = "kube-system"
    lease_name: str = "underlay-operator"
    lease_seconds: float = 15
    renew_seconds: float = 10
    retry_seconds: float = 2
    settle_seconds: float = 60
    resync_seconds: float = 600
    secret_seconds: float = 30
    call_seconds: float = 5
    subnet_seconds: float = 60
    workers: int = 32
    metrics_address: str = ""
    log_level: str = "info"
