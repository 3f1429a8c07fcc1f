"""One sandbox of a pod: its network namespace, and the CNI calls that the real libcni makes for it."""

import contextlib
import json
import os
from collections.abc import Mapping
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import msgspec

from world.commands import CommandFailed, run
from world.names import container_id


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a pod's sandbox; kept as a file while it exists, for the demo to read when the API server is
    away.

    ``addresses`` empty: its ADD has not succeeded yet. ``mac``: of its first interface.
    """

    pod: str
    uid: str
    node: str
    netns: str
    addresses: list[str] = []
    mac: str = ""
    add_seconds: float = 0.0
    failures: int = 0

    @property
    def name(self) -> str:
        return Path(self.netns).name


class Calls(msgspec.Struct, frozen=True, kw_only=True):
    """How one node's CNI calls are made."""

    cnitool: str
    cni_path: str
    configuration: str
    network: str
    socket: str
    spool: str

    async def add(self, sandbox: Sandbox) -> dict[str, Any]:
        """The CNI result. Raises ``CommandFailed`` with the plugin's error."""
        result: dict[str, Any] = json.loads(await self._call("add", sandbox))
        return result

    async def delete(self, sandbox: Sandbox) -> None:
        """Raises ``CommandFailed``; a runtime then calls again."""
        await self._call("del", sandbox)

    async def _call(self, verb: str, sandbox: Sandbox) -> str:
        return await run(self.cnitool, verb, self.network, sandbox.netns, environment=self._environment(sandbox))

    def _environment(self, sandbox: Sandbox) -> Mapping[str, str]:
        """Kubelet's arguments, as containerd passes them."""
        namespace, _, name = sandbox.pod.partition("/")
        arguments = {
            "IgnoreUnknown": "1",
            "K8S_POD_NAMESPACE": namespace,
            "K8S_POD_NAME": name,
            "K8S_POD_INFRA_CONTAINER_ID": container_id(Path(sandbox.netns)),
            "K8S_POD_UID": sandbox.uid,
        }
        return {
            "PATH": os.environ.get("PATH", ""),
            "CNI_PATH": self.cni_path,
            "NETCONFPATH": self.configuration,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in arguments.items()),
            "UNDERLAY_SOCKET": self.socket,
            "UNDERLAY_SPOOL": self.spool,
        }


def with_result(sandbox: Sandbox, result: Mapping[str, Any], seconds: float) -> Sandbox:
    """The sandbox after an ADD: the addresses of the result's interfaces that lie in the sandbox (CNI 1.0 "ips")."""
    addresses = [str(ip_interface(found["address"]).ip) for found in result.get("ips", [])]
    inside = [interface for interface in result.get("interfaces", []) if interface.get("sandbox")]
    mac = str(inside[0].get("mac", "")) if inside else ""
    return msgspec.structs.replace(sandbox, addresses=addresses, mac=mac, add_seconds=round(seconds, 4))


async def make(sandbox: Sandbox) -> None:
    """The empty namespace, loopback up, as a runtime hands it over."""
    await run("ip", "netns", "add", sandbox.name)
    await run("ip", "-n", sandbox.name, "link", "set", "lo", "up")


async def unmake(sandbox: Sandbox) -> None:
    """Nothing happens if it is gone."""
    with contextlib.suppress(CommandFailed):
        await run("ip", "netns", "del", sandbox.name)


def kept(folder: Path) -> Path:
    """Where a runner with ``folder`` keeps one file per sandbox."""
    return folder / "sandboxes"


def keep(folder: Path, sandbox: Sandbox) -> None:
    """Write it down, whole or not at all."""
    part = kept(folder) / f".{sandbox.uid}"
    part.write_bytes(msgspec.json.encode(sandbox))
    part.replace(kept(folder) / f"{sandbox.uid}.json")


def forget(folder: Path, sandbox: Sandbox) -> None:
    """It is gone."""
    (kept(folder) / f"{sandbox.uid}.json").unlink(missing_ok=True)


def read_all(folder: Path) -> dict[str, Sandbox]:
    """Those that have their network, by pod (``namespace/name``)."""
    found: dict[str, Sandbox] = {}
    for path in kept(folder).glob("*.json"):
        try:
            box = msgspec.json.decode(path.read_bytes(), type=Sandbox)
        except FileNotFoundError:
            continue  # just torn down
        if box.addresses:
            found[box.pod] = box
    return found
