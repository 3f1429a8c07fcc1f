"""What lets a client into the API server: tokens, keys, kubeconfig files.

Each user has a static token (``--token-auth-file``), which the API server reads once when it starts.
"""

import csv
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

ADMIN = "admin"
CONTROLLER_MANAGER = "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"
PROXY = "system:kube-proxy"

_ALWAYS: Mapping[str, Sequence[str]] = {
    ADMIN: ("system:masters",),
    CONTROLLER_MANAGER: ("system:masters",),  # all its controllers share this one identity
    SCHEDULER: (),  # RBAC's bootstrap roles name this user, and the next
    PROXY: (),
}


def issue_tokens(file: Path, users: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
    """Writes the token file for ``users`` (name → groups) and those every cluster has; gives name → token."""
    tokens = {}
    with file.open("w", newline="") as lines:
        file.chmod(0o600)
        writer = csv.writer(lines)
        for user, groups in {**_ALWAYS, **users}.items():
            tokens[user] = secrets.token_hex(16)
            writer.writerow([tokens[user], user, user, ",".join(groups)])
    return tokens


def generate_service_account_key(file: Path) -> None:
    """An RSA key with which the API server signs service account tokens and checks them."""
    subprocess.run(["openssl", "genrsa", "-out", str(file), "2048"], check=True, capture_output=True)


def write_kubeconfig(file: Path, *, url: str, certificates: str, user: str, token: str) -> Path:
    """``certificates`` is PEM text: what the API server's own certificate is checked against."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "underlay",
                "cluster": {"server": url, "certificate-authority-data": certificates.encode()},  # written as base64
            }
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "underlay", "context": {"cluster": "underlay", "user": user}}],
        "current-context": "underlay",
    }
    file.touch(mode=0o600)
    file.write_bytes(msgspec.yaml.encode(msgspec.to_builtins(config)))
    return file
