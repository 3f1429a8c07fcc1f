"""What an agent is told at its start: one JSON or YAML file, camel-case keys."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """``kubeconfig`` empty: the service account of the pod the agent runs in. ``netns_folder``: where the runtime
    keeps pod namespaces.

    ``add_wait_seconds``: how long an ADD waits for an address before it answers 11.
    """

    node_name: str
    kubeconfig: str = ""
    state_dir: str = "/var/lib/underlay"
    socket: str = "/run/underlay/agent.sock"
    spool: str = "/var/lib/underlay/spool"
    netns_folder: str = "/run/netns"
    service_cidrs: list[str] = msgspec.field(default_factory=list, name="serviceCIDRs")
    add_wait_seconds: float = 20.0
    log_level: str = "info"
    metrics_address: str = ""
