"""Puts a world together: control plane, cloud and fabric, operator, nodes, runner.

Programs of a world that is played (``detached`` False) die with the process that plays it, even by SIGKILL; what the
kernel cannot take back by itself (namespaces, links) is in the record, and the next start under the same name removes
it.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import msgspec

from controlplane import access, build
from controlplane.cluster import SERVICE_CIDR, ControlPlane
from controlplane.process import Process, spawn
from world import node as nodes
from world import runner, sandbox
from world.api import Api, ApiError
from world.cloud import Fabric, Simulator
from world.commands import run
from world.names import Names
from world.node import Launch, NodeSpec
from world.record import Record, remove
from world.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
LAUNCHER = ROOT / "cni" / "underlay" / "cni" / "launcher"
PROVIDER = ROOT / "examples" / "aws" / "provider.yaml"
FIXED_ADDRESS = ROOT / "examples" / "aws" / "fixed-address.yaml"
REGION = "eu-central-1"
INSTANCE_TYPE = "t3.medium"
ACCESS_KEY, SECRET = "AKIAUNDERLAYDEMO0000", "underlay-demo-secret"
VPC = IPv4Network("10.20.0.0/24")
MANAGEMENT = tuple(IPv4Network(f"198.51.100.{start}/27") for start in range(0, 256, 32))
"""Networks for the management links (TEST-NET-2, RFC 5737); the first that the host does not use."""

_LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "underlay-operator"},
    "spec": {},
}

Say = Callable[[str], None]


class WorldFailed(Exception):
    """A part did not start, or something did not come true; the text says what, and ends with where to look."""


class World:
    """A running world. Made by ``start``; ``close`` frees what this process holds, ``record.remove`` takes it down."""

    def __init__(self, record: Record, *, detached: bool) -> None:
        self.record = record
        self.names = record.names
        self.folder = Path(record.folder)
        self.logs = self.folder / "logs"
        self.nodes: list[NodeSpec] = []
        self.kind = ""
        self.plane: ControlPlane
        self.api: Api
        self.simulator: Simulator
        self.fabric: Fabric
        self.cni_path = self.folder / "cni-bin"
        self._detached = detached
        self._agents: dict[str, Process] = {}
        self.programs: Mapping[str, Path] = {}
        self._subnet = ""

    async def start(self, say: Say, *, size: int = 2) -> None:
        """Everything up to nodes that are Ready; the provider is for its user to apply. What it began is not undone."""
        for made in (self.folder, self.logs):
            made.mkdir(parents=True, exist_ok=True)
        self.record.save()
        say("looking for the control plane's programs")
        self.programs = await asyncio.to_thread(build.ensure)
        self.kind = await nodes.ipvlan_or_macvlan(self.names)
        management = await nodes.free_network(MANAGEMENT)
        await nodes.make_bridge(self.names, management)
        say("starting etcd, kube-apiserver, controller-manager, scheduler; the cloud and its network")
        controlplane = asyncio.create_task(self._start_controlplane(str(management[1])))
        try:
            await self._start_cloud()
            await run(
                "make", "-s", "-C", str(ROOT / "cni/underlay/cni/launcher"), "install", f"CNI_BIN={self.cni_path}"
            )
            say(f"plugging {size} machines ({INSTANCE_TYPE}) into the cloud")
            for number in range(1, size + 1):
                await self._add_node(number, management)
        finally:
            await asyncio.wait([controlplane])
        await controlplane
        say("starting the operator, the agents and the rest of the nodes")
        # An installation makes the Lease. Whoever had to make it himself waits ten seconds: it might have been deleted
        # under a living leader.
        await self.api.apply(_LEASE, namespace="kube-system")
        self.record.remember(self._operator())
        self._start_runner()
        for spec in self.nodes:
            self._agents[spec.name] = self.record.remember(nodes.start_agent(spec, self.launch))
        for spec in self.nodes:
            self.record.remember(nodes.start_proxy(spec, self.launch))
        await self.until("all nodes are Ready", self._nodes_ready, within_seconds=30)

    async def close(self) -> None:
        """Free this process's connections."""
        for name in ("api", "simulator", "fabric"):
            if (client := getattr(self, name, None)) is not None:
                await client.close()

    @property
    def launch(self) -> Launch:
        return Launch(
            names=self.names,
            kubeconfig=self.plane.kubeconfig,
            proxy_kubeconfig=self.plane.kubeconfig_of(access.PROXY),
            kube_proxy=self.programs["kube-proxy"],
            service_cidr=SERVICE_CIDR,
            logs=self.logs,
            detached=self._detached,
        )

    async def apply_provider(self) -> str:
        """examples/aws/provider.yaml with what only this world knows filled in; its name."""
        [manifest] = [part for part in _documents(PROVIDER.read_text()) if part["kind"] == "SpiderNetworkProvider"]
        manifest["spec"] |= {"region": REGION, "endpoint": self.simulator.url}
        manifest["spec"]["network"] = manifest["spec"].get("network", {}) | {"type": self.kind}
        await self.api.apply(manifest)
        return str(manifest["metadata"]["name"])

    async def apply_fixed_address(self, kind: str) -> None:
        """What of that kind is in examples/aws/fixed-address.yaml, with addresses of this world's subnet."""
        for manifest in _documents(FIXED_ADDRESS.read_text()):
            if manifest["kind"] == "SpiderIPPool":
                manifest["spec"] |= {"subnet": str(VPC), "ips": [f"{VPC[-40]}-{VPC[-20]}"]}
            if manifest["kind"] == kind:
                await self.api.apply(manifest)

    def sandboxes(self) -> dict[str, Sandbox]:
        """Pods that have their network, as the runner knows them: also while the API server is away."""
        return sandbox.read_all(self._runner_folder)

    def release_held_pods(self) -> None:
        """Pods with the annotation ``runner.HOLD`` get their ADD from now on."""
        (self._runner_folder / "release").touch()

    async def restart_agent(self, node: str) -> None:
        """SIGKILL, then a new process on the same state."""
        [spec] = [spec for spec in self.nodes if spec.name == node]
        old = self._agents[node]
        await asyncio.to_thread(old.kill, signal.SIGKILL)
        self._agents[node] = nodes.start_agent(spec, self.launch)
        self.record.replace(old, self._agents[node])

    async def stop_apiserver(self) -> None:
        await asyncio.to_thread(self.plane.stop_apiserver)

    async def start_apiserver(self) -> None:
        await asyncio.to_thread(self.plane.start_apiserver)

    async def until(self, what: str, holds: Callable[[], Any], *, within_seconds: float) -> None:
        """Asks until ``holds()`` gives None; it otherwise says what is missing. Raises ``WorldFailed`` with the last
        of that.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_seconds
        while True:
            try:
                missing = await holds()
            except ApiError as error:
                missing = str(error)
            if missing is None:
                return
            self.check_processes()
            if loop.time() > deadline:
                raise WorldFailed(f"not within {within_seconds:.0f} s: {what}. Missing: {missing}. Logs: {self.logs}")
            await asyncio.sleep(0.2)

    def check_processes(self) -> None:
        """Raises ``WorldFailed`` with the last words of a process that ended by itself. An operator that had to end,
        since it could not renew its lease, is started again, as its Deployment does.
        """
        for process in self.record.processes:
            if process.alive():
                continue
            if process.name != "operator" or "LeaseLost" not in process.last_words():
                raise WorldFailed(f"{process.name} ended by itself. It said last:\n{process.last_words()}")
            self.record.replace(process, self._operator())

    @property
    def _runner_folder(self) -> Path:
        return self.folder / "runner"

    async def _start_controlplane(self, bind: str) -> None:
        self.plane = await asyncio.to_thread(
            lambda: ControlPlane.start(self.record.controlplane, bind=bind, controllers=True, detached=self._detached)
        )
        self.api = Api.connect(self.plane.kubeconfig, user_agent="world")
        await asyncio.to_thread(self.plane.install_crds, ROOT / "charts" / "underlay" / "crds")

    async def _start_cloud(self) -> None:
        fabric = await self._start_server("fabric", "cloudsim.fabric", "--name", self.names.world)
        self.fabric = Fabric(fabric)
        cloud = await self._start_server("cloudsim", "cloudsim", "--fabric", fabric, "--region", REGION)
        self.simulator = Simulator(cloud)
        await self.simulator.credentials(access_key=ACCESS_KEY, secret=SECRET)
        self._subnet = await self.simulator.network(cidr=str(VPC), zone=f"{REGION}a")

    async def _start_server(self, name: str, module: str, *flags: str) -> str:
        """A server of ours that writes its URL into a ready file."""
        ready = self.folder / f"{name}.ready"
        ready.unlink(missing_ok=True)
        self._spawn(name, [sys.executable, "-m", module, "--ready-file", str(ready), *flags])

        async def answered() -> str | None:
            return None if ready.exists() else "its ready file"

        await self.until(f"{name} serves", answered, within_seconds=20)
        return str(json.loads(ready.read_text())["url"])

    async def _add_node(self, number: int, management: IPv4Network) -> None:
        name = f"node-{number}"
        netns = await nodes.make_namespace(self.names, name, number, management)
        instance = await self.simulator.instance(type_=INSTANCE_TYPE, subnet=self._subnet, netns=netns)
        spec = nodes.describe(
            name, instance, type_=INSTANCE_TYPE, netns=netns, folder=self.folder, sockets=self.record.sockets
        )
        nodes.write_cni_configuration(spec, self.names)
        self.nodes.append(spec)

    def _operator(self) -> Process:
        settings = {
            "kubeconfig": str(self.plane.kubeconfig),
            "identity": "demo",
            "leaseNamespace": "kube-system",
            "leaseName": "underlay-operator",
            "settleSeconds": 5,
            "metricsAddress": "",
            "logLevel": "info",
        }
        file = self.folder / "operator.json"
        file.write_text(json.dumps(settings, indent=2))
        program = Path(sys.executable).with_name("underlay-operator")
        keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        return self._launch("operator", [str(program), "--config", str(file)], environment={**os.environ, **keys})

    def _start_runner(self) -> None:
        settings = runner.Settings(
            world=self.names.world,
            kubeconfig=str(self.plane.kubeconfig),
            fabric=self.fabric.url,
            cnitool=str(self.programs["cnitool"]),
            cni_path=str(self.cni_path),
            busybox=shutil.which("busybox") or "busybox",
            folder=str(self._runner_folder),
            nodes=self.nodes,
        )
        file = self.folder / "runner.json"
        file.write_bytes(msgspec.json.encode(settings))
        self._spawn("runner", [sys.executable, "-m", "world.runner", str(file)])

    def _spawn(self, name: str, command: Sequence[str]) -> None:
        self.record.remember(self._launch(name, command))

    def _launch(self, name: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Process:
        return spawn(
            command, name=name, log=self.logs / f"{name}.log", detached=self._detached, environment=environment
        )

    async def _nodes_ready(self) -> str | None:
        found = {node["metadata"]["name"]: node for node in await self.api.items("/api/v1/nodes")}
        for spec in self.nodes:
            node = found.get(spec.name)
            if node is None:
                return f"{spec.name} is not registered"
            if not any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", [])):
                return f"{spec.name} is not Ready"
        return None


async def fresh(names: Names, folder: Path, *, detached: bool) -> World:
    """A world to be started, after everything left of an earlier one of its name was removed."""
    await remove(names)
    shutil.rmtree(folder, ignore_errors=True)
    return World(Record(world=names.world, folder=str(folder)), detached=detached)


def _documents(text: str) -> list[dict[str, Any]]:
    """The parts of a YAML file."""
    return [msgspec.yaml.decode(part) for part in text.split("\n---\n") if part.strip()]
