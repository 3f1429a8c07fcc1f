"""One node with all that stands round it: control plane, simulated cloud, operator, agent; and the driver.

There is no scheduler and no kubelet: pods are made with their node's name, and the driver makes the CNI calls.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import msgspec

from bench import usage
from bench.calls import Batch, Outcome
from controlplane import access
from controlplane.cluster import SERVICE_CIDR, ControlPlane
from controlplane.process import Process, ProcessFailed, spawn
from world import node as nodes
from world import statuses
from world.api import Api, ApiError
from world.cloud import Fabric, Simulator
from world.commands import run
from world.names import Names
from world.node import Launch, NodeSpec
from world.readings import SPIDERPOOL
from world.record import Record, remove

ROOT = Path(__file__).parents[2]
NODE = "node-1"
MASTER = "ens5"
"""The node's first interface, as the fabric names it."""

_REGION = "eu-central-1"
_INSTANCE_TYPE = "m5.24xlarge"
_VPC = IPv4Network("10.21.0.0/22")
_MANAGEMENT = tuple(IPv4Network(f"203.0.113.{start}/27") for start in range(0, 256, 32))
"""Networks for the management link (TEST-NET-3, RFC 5737); the first that the host does not use."""
_ACCESS_KEY, _SECRET = "AKIAUNDERLAYBENCH000", "underlay-bench-secret"
_LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "underlay-operator"},
    "spec": {},
}
_AT_ONCE = 8
_QUIET_SECONDS = 0.15

Say = Callable[[str], None]
Json = dict[str, Any]


class SiteFailed(Exception):
    """A part did not start, or something did not come true."""


class Site:
    """Made by ``start``, taken down by ``close``, in whatever state it is."""

    def __init__(self, names: Names, folder: Path, *, kind: str, addresses: int) -> None:
        self.names = names
        self.folder = folder
        self._kind = kind
        self._addresses = addresses
        self._record = Record(world=names.world, folder=str(folder.absolute()))
        self._driver: asyncio.subprocess.Process | None = None
        self._clients: list[Api | Simulator | Fabric] = []
        self.plane: ControlPlane
        self.api: Api
        self.node: NodeSpec
        self.agent: Process
        self.operator: Process
        self.launcher = folder / "cni-bin" / "underlay"

    async def start(self, say: Say) -> None:
        """Everything up to ``addresses`` that the agent can give. What was begun is not undone: ``close`` does that."""
        await remove(self.names)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._logs.mkdir(parents=True)
        self._record.save()
        say("starting etcd and kube-apiserver; the cloud and its network")
        management = await nodes.free_network(_MANAGEMENT)
        await nodes.make_bridge(self.names, management)
        controlplane = asyncio.create_task(self._start_controlplane(str(management[1])))
        try:
            simulator, subnet = await self._start_cloud()
            source = ROOT / "cni/underlay/cni/launcher"
            await run("make", "-s", "-C", str(source), "install", f"CNI_BIN={self.launcher.parent}")
            netns = await nodes.make_namespace(self.names, NODE, 1, management)
            instance = await simulator.instance(type_=_INSTANCE_TYPE, subnet=subnet, netns=netns)
            self.node = nodes.describe(
                NODE, instance, type_=_INSTANCE_TYPE, netns=netns, folder=self.folder, sockets=self._record.sockets
            )
        finally:
            await asyncio.wait([controlplane])
        await controlplane
        say(f"starting operator and agent; waiting for {self._addresses} addresses")
        await self.api.apply(_LEASE, namespace="kube-system")
        await self._register_node()
        self._start_operator(simulator.url)
        self.agent = self._record.remember(nodes.start_agent(self.node, self._launch))
        await self._start_driver()
        await self.api.apply(self._provider(simulator.url))
        await self._until("the agent has addresses to give", self._addresses_there, within_seconds=90)

    async def close(self, *, keep_logs: bool = False) -> None:
        """Take everything down."""
        for client in self._clients:
            await client.close()
        if self._driver is not None and self._driver.returncode is None:
            self._driver.kill()
            await self._driver.wait()
        await remove(self.names, keep_logs=keep_logs)

    async def carry_out(self, batch: Batch) -> Outcome:
        """Have the driver make the calls."""
        assert self._driver is not None
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(msgspec.json.encode(batch) + b"\n")
        await self._driver.stdin.drain()
        answer = await self._driver.stdout.readline()
        if not answer:
            said = (self._logs / "driver.log").read_text()
            raise SiteFailed(f"the driver ended by itself. It said:\n{said}")
        return msgspec.json.decode(answer, type=Outcome)

    async def make_pods(self, names: Sequence[str]) -> Mapping[str, str]:
        """Pods bound to the node: name → uid."""

        async def make(name: str) -> tuple[str, str]:
            async with turn:
                made = await self.api.apply(_pod(name))
            return name, str(made["metadata"]["uid"])

        turn = asyncio.Semaphore(_AT_ONCE)
        return dict(await asyncio.gather(*map(make, names)))

    async def delete_pods(self, names: Sequence[str]) -> None:
        """At once, as kubelet does it in the end."""

        async def delete(name: str) -> None:
            async with turn:
                await self.api.delete(f"/api/v1/namespaces/default/pods/{name}", {"gracePeriodSeconds": 0})

        turn = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*map(delete, names))

    def apiserver(self) -> list[Process]:
        """The API server's process."""
        return [process for process in self.plane.processes if process.name == "kube-apiserver"]

    def etcd(self) -> list[Process]:
        """Likewise."""
        return [process for process in self.plane.processes if process.name == "etcd"]

    async def quiet(self, *, at_most_seconds: float = 3.0) -> None:
        """Until agent, operator and API server have done what the last calls left them to do."""
        loop = asyncio.get_running_loop()
        until = loop.time() + at_most_seconds
        busy = [self.agent, self.operator, *self.apiserver()]
        calm, before = 0, usage.cpu(busy)
        while calm < 2 and loop.time() < until:
            await asyncio.sleep(_QUIET_SECONDS)
            now = usage.cpu(busy)
            calm = calm + 1 if (now - before).total <= 0.1 * _QUIET_SECONDS else 0
            before = now

    @property
    def _logs(self) -> Path:
        return self.folder / "logs"

    @property
    def _launch(self) -> Launch:
        return Launch(
            names=self.names,
            kubeconfig=self.plane.kubeconfig,
            proxy_kubeconfig=self.plane.kubeconfig_of(access.PROXY),
            kube_proxy=Path(),
            service_cidr=SERVICE_CIDR,
            logs=self._logs,
            detached=False,
        )

    async def _start_controlplane(self, bind: str) -> None:
        self.plane = await asyncio.to_thread(lambda: ControlPlane.start(self._record.controlplane, bind=bind))
        self.api = Api.connect(self.plane.kubeconfig, user_agent="bench")
        self._clients.append(self.api)
        await asyncio.to_thread(self.plane.install_crds, ROOT / "charts" / "underlay" / "crds")

    async def _start_cloud(self) -> tuple[Simulator, str]:
        fabric = await self._start_server("fabric", "cloudsim.fabric", "--name", self.names.world)
        url = await self._start_server("cloudsim", "cloudsim", "--fabric", fabric, "--region", _REGION)
        simulator = Simulator(url)
        self._clients.append(simulator)
        await simulator.credentials(access_key=_ACCESS_KEY, secret=_SECRET)
        return simulator, await simulator.network(cidr=str(_VPC), zone=f"{_REGION}a")

    async def _start_server(self, name: str, module: str, *flags: str) -> str:
        ready = self.folder / f"{name}.ready"
        self._spawn(name, [sys.executable, "-m", module, "--ready-file", str(ready), *flags])

        async def answered() -> str | None:
            return None if ready.exists() else "its ready file"

        await self._until(f"{name} serves", answered, within_seconds=20)
        return str(json.loads(ready.read_text())["url"])

    async def _register_node(self) -> None:
        body = statuses.node(self.node, pods=1000, now=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        await self.api.apply({key: body[key] for key in body if key != "status"})
        await self.api.patch(f"/api/v1/nodes/{NODE}/status", {"status": body["status"]})

    def _start_operator(self, cloud: str) -> None:
        settings = {"kubeconfig": str(self.plane.kubeconfig), "identity": "bench", "leaseNamespace": "kube-system"}
        file = self.folder / "operator.json"
        file.write_text(json.dumps(settings, indent=2))
        keys = {"AWS_ACCESS_KEY_ID": _ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": _SECRET, "AWS_ENDPOINT_URL": cloud}
        program = Path(sys.executable).with_name("underlay-operator")
        self.operator = self._spawn("operator", [str(program), "--config", str(file)], {**os.environ, **keys})

    async def _start_driver(self) -> None:
        # PDEATHSIG: it must not outlive us; ``ip netns exec`` replaces itself by the program.
        command = ("setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.names.node_namespace(NODE))
        with (self._logs / "driver.log").open("wb") as log:
            self._driver = await asyncio.create_subprocess_exec(
                *command,
                *(sys.executable, "-m", "bench.driver"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=1 << 24,
                start_new_session=True,
            )

    def _spawn(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Process:
        process = spawn(command, name=name, log=self._logs / f"{name}.log", environment=environment)
        return self._record.remember(process)

    def _provider(self, cloud: str) -> Json:
        """More addresses from the start than any batch needs, kept whatever comes; freed ones are given at once."""
        return {
            "apiVersion": "spiderpool.spidernet.io/v2beta1",
            "kind": "SpiderNetworkProvider",
            "metadata": {"name": "bench"},
            "spec": {
                "driver": "aws",
                "region": _REGION,
                "endpoint": cloud,
                "interfaces": {"usePrimary": True},
                "addresses": {
                    "batch": 1,
                    "buffer": 0,
                    "minimum": self._addresses,
                    "cooldownSeconds": 0,
                    "releaseDelaySeconds": 3600,
                },
                "network": {"type": self._kind},
            },
        }

    async def _addresses_there(self) -> str | None:
        pools = await self.api.items(f"{SPIDERPOOL}/spiderippools")
        there = sum(pool.get("status", {}).get("totalIPCount", 0) for pool in pools)
        return None if there >= self._addresses else f"{self._addresses - there} of {self._addresses}"

    async def _until(self, what: str, holds: Callable[[], Any], *, within_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_seconds
        while True:
            try:
                missing = await holds()
            except ApiError as error:
                missing = str(error)
            if missing is None:
                return
            for process in self._record.processes:
                if not process.alive():
                    raise ProcessFailed(f"{process.name} ended by itself. It said last:\n{process.last_words()}")
            if loop.time() > deadline:
                raise SiteFailed(f"not within {within_seconds:.0f} s: {what}. Missing: {missing}. Logs: {self._logs}")
            await asyncio.sleep(0.1)


def _pod(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"nodeName": NODE, "containers": [{"name": "web", "image": "busybox"}]},
    }
