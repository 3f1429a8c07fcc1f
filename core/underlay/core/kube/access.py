"""How to reach the API server, as plain values, for a library that brings its own client."""

from base64 import b64decode
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from lightkube.config.kubeconfig import KubeConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from underlay.core.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """PEM data and a bearer token; what is None is not configured."""

    server: str
    insecure: bool
    authority: str | None
    token: str | None
    certificate: str | None
    key: str | None


def access(kubeconfig: Path | None) -> Access:
    """From the file's current context, or the surroundings when None. Read anew at each call: tokens rotate.

    Raises ``InvalidInput``.
    """
    try:
        found = (KubeConfig.from_env() if kubeconfig is None else KubeConfig.from_file(kubeconfig)).get()
    except (ConfigError, KeyError, ValueError, OSError) as error:
        raise InvalidInput("kubeconfig", found=str(error), expected="a usable Kubernetes configuration") from error
    if found is None:
        raise InvalidInput("kubeconfig", found="no current context", expected="a usable Kubernetes configuration")
    cluster, user = found.cluster, found.user or User()

    def pem(data: str | None, path: str | None) -> str | None:
        return b64decode(data).decode() if data else _text(found.abs_file(path) if path else None)

    return Access(
        server=cluster.server,
        insecure=bool(cluster.insecure),
        authority=pem(cluster.certificate_auth_data, cluster.certificate_auth),
        token=user.token or _text(user.token_file),
        certificate=pem(user.client_cert_data, user.client_cert),
        key=pem(user.client_key_data, user.client_key),
    )


def _text(path: str | PathLike[str] | None) -> str | None:
    return Path(path).read_text(encoding="utf-8").strip() if path else None
