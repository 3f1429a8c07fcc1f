"""Kubeconfig or service account → one HTTP/1.1 client with authentication and TLS.

lightkube reads the configuration, re-reads a rotated service-account token and runs credential plugins. The HTTP
client is built here because its pool must outlive quiet minutes: a new TLS handshake per call costs more than the
call.
"""

import os
import socket
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from lightkube.config.client_adapter import user_auth, verify_cluster
from lightkube.config.kubeconfig import DEFAULT_KUBECONFIG, SERVICE_ACCOUNT, KubeConfig, SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from underlay.core.errors import InvalidInput

# kube-apiserver closes an idle connection after 90 s; below that, so that we are not the one to write into a closing
# connection.
_IDLE_SECONDS = 75.0
# A dead peer (node gone, NAT entry lost) is noticed by the kernel after 15 + 3 x 5 s, even on a watch that has
# nothing to say.
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
]


def http_client(kubeconfig: Path | None, *, user_agent: str, timeout_seconds: float) -> httpx2.AsyncClient:
    """A client for the API server of ``kubeconfig``'s current context.

    None: the pod's service account, else ``$KUBECONFIG``, else ``~/.kube/config``.
    Raises ``InvalidInput`` when none of them can be used.
    """
    try:
        found = _surroundings() if kubeconfig is None else _from_file(kubeconfig)
        user = found.user or User()
        verify = verify_cluster(found.cluster, user, found.abs_file)
        auth = user_auth(user)
    except (ConfigError, LookupError, TypeError, ValueError, OSError, msgspec.MsgspecError) as error:
        raise InvalidInput(
            "kubeconfig",
            found=f"{kubeconfig or 'environment'}: {error!r}",
            expected="a usable Kubernetes configuration",
        ) from error
    limits = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=_IDLE_SECONDS)
    return httpx2.AsyncClient(
        base_url=found.cluster.server,
        auth=auth,
        timeout=time_bounds(timeout_seconds),
        transport=httpx2.AsyncHTTPTransport(verify=verify, limits=limits, socket_options=_KEEPALIVE),
        # Compressing costs the API server more than the bytes cost a cluster's own network.
        headers={"User-Agent": user_agent, "Accept": "application/json", "Accept-Encoding": "identity"},
    )


def time_bounds(timeout_seconds: float, *, read_seconds: float | None = None) -> httpx2.Timeout:
    """Bounds of one call's steps.

    Connecting and the TLS handshake together end before the call's own bound cancels them: the library does not close
    a socket whose handshake is cancelled.
    """
    return httpx2.Timeout(timeout_seconds, connect=0.4 * timeout_seconds, read=read_seconds or timeout_seconds)


def _surroundings() -> SingleConfig:
    if Path(SERVICE_ACCOUNT, "token").exists():
        return _current(KubeConfig.from_service_account())
    return _from_file(Path(os.environ.get("KUBECONFIG", DEFAULT_KUBECONFIG)).expanduser())


def _from_file(path: Path) -> SingleConfig:
    return _current(KubeConfig.from_dict(msgspec.yaml.decode(path.read_bytes(), type=dict[str, Any]), fname=path))


def _current(config: KubeConfig) -> SingleConfig:
    found = config.get()
    if found is None:
        raise ConfigError("no current context")
    return found
