"""The main line of the product with its nodes on a machine of the lab.

Control plane, operator and cloud are on this host. The cloud's network, two nodes with an agent each, and their pods
are on the machine: namespaces there. The nodes have no other network than the cloud's, so a relay brings them the API
server.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from controlplane.cluster import SERVICE_CIDR, ControlPlane
from controlplane.progress import Note
from lab import relay
from lab.folder import ROOT
from lab.machine import CommandFailed, Here, Machine, last_words
from world import statuses
from world.api import Api
from world.cloud import Simulator
from world.node import NodeSpec

CRDS = ROOT / "charts" / "underlay" / "crds"
LAUNCHER = ROOT / "cni" / "underlay" / "cni" / "launcher"
REGION = "eu-central-1"
INSTANCE_TYPE = "t3.medium"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAUNDERLAYLAB00000", "AWS_SECRET_ACCESS_KEY": "known-to-the-simulator-alone"}
NODES = ("node-1", "node-2")

_POOLS = "/apis/spiderpool.spidernet.io/v2beta1/spiderippools"
_PROVIDER = {
    "apiVersion": "spiderpool.spidernet.io/v2beta1",
    "kind": "SpiderNetworkProvider",
    "metadata": {"name": "lab"},
    "spec": {
        "driver": "aws",
        "region": REGION,
        "interfaces": {"usePrimary": False},  # so that an interface has to be made, attached and brought up
        "addresses": {"batch": 4, "buffer": 0.5, "cooldownSeconds": 1},
        "network": {"type": "ipvlan"},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePod:
    """A pod whose ADD has succeeded. ``link`` is its first interface as ``ip -d -j link`` shows it."""

    name: str
    node: str
    namespace: str
    address: IPv4Address
    link: dict[str, Any]


class Line:
    """Made by ``started``. ``note`` tells a person who waits how far it is."""

    def __init__(self, machine: Machine, folder: Path, note: Note) -> None:
        self._machine = machine
        self._folder = folder
        self._note = note
        self._name = f"lab{os.getpid()}"
        self._run = Path(f"/run/{self._name}")
        self._running: dict[str, asyncio.Task[None]] = {}
        self._stack = contextlib.AsyncExitStack()
        self._plane: ControlPlane
        self._api: Api
        self.simulator: Simulator

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, machine: Machine, folder: Path, note: Note) -> AsyncIterator["Line"]:
        """Everything up to one pool with addresses for each node. All logs are in ``folder``."""
        line = cls(machine, folder, note)
        async with line._stack:
            await line._start()
            yield line

    async def add(self, pod: str, node: str) -> LinePod:
        """A pod bound to ``node``, and what kubelet and a runtime do for its network."""
        namespace = f"{self._name}-{pod}"
        made = await self._api.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod},
                "spec": {"nodeName": node, "containers": [{"name": "main", "image": "none"}]},
            }
        )
        await self._make_namespace(namespace)
        result = json.loads(await self._call("ADD", namespace, node, pod=pod, uid=made["metadata"]["uid"]))
        shown = await self._machine.run("ip", "-n", namespace, "-d", "-j", "link", "show", "dev", "eth0")
        return LinePod(
            name=pod,
            node=node,
            namespace=namespace,
            address=IPv4Interface(result["ips"][0]["address"]).ip,
            link=json.loads(shown)[0],
        )

    async def delete(self, pod: LinePod) -> None:
        """The runtime's DEL, and the pod's end."""
        await self._call("DEL", pod.namespace, pod.node)
        await self._api.delete(f"/api/v1/namespaces/default/pods/{pod.name}", {"gracePeriodSeconds": 0})

    async def ping(self, source: LinePod, target: LinePod) -> bool:
        """Whether one of several echo requests is answered."""
        enter = ("nsenter", f"--net=/run/netns/{source.namespace}")
        try:
            await self._machine.run(*enter, "ping", "-n", "-c", "1", "-w", "10", str(target.address))
        except CommandFailed:
            return False
        return True

    async def addresses_at_cloud(self, node: str) -> set[IPv4Address]:
        """Secondary addresses of the node's interfaces other than its first, as the cloud knows them."""
        instance = self._instances[node]
        return {
            IPv4Address(address)
            for interface in await self.simulator.interfaces()
            if (attachment := interface["attachment"]) is not None
            if attachment["instance"] == instance and attachment["device_index"] > 0
            for address in interface["addresses"]
        }

    async def held(self) -> set[IPv4Address]:
        """Addresses that the pools' status gives to a pod."""
        pools = await self._api.items(_POOLS)
        return {
            IPv4Address(address)
            for pool in pools
            for address in json.loads(pool.get("status", {}).get("allocatedIPs") or "{}")
        }

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]], *, seconds: float = 60.0) -> None:
        """Asks until it holds; fails with the words of a program that ended meanwhile."""
        self._note(what)
        try:
            async with asyncio.timeout(seconds * (1 + self._machine.slowness / 10)):
                while not await holds():
                    for task in self._running.values():
                        if task.done():
                            await task
                    await asyncio.sleep(0.2)
        except TimeoutError:
            logs = "\n".join(f"--- {name}\n{last_words(self._log(name), 8)}" for name in self._running)
            raise AssertionError(f"it did not come true in time that {what}\n{logs}") from None

    async def _start(self) -> None:
        self._note("building the launcher")
        await Here().run("make", "--silent", "-C", str(LAUNCHER))
        for node in NODES:
            await self._make_namespace(f"{self._name}-{node}")
        endpoint = self._machine.endpoint()
        await self._start_there(
            "fabric", sys.executable, "-m", "cloudsim.fabric", "--listen", endpoint.listen, "--name", self._name
        )
        self._note("starting the control plane")
        self._plane = await asyncio.to_thread(ControlPlane.start, self._folder / "plane")
        self._stack.push_async_callback(asyncio.to_thread, self._plane.stop)
        await asyncio.to_thread(self._plane.install_crds, CRDS)
        self._api = Api.connect(self._plane.kubeconfig, user_agent="lab")
        self._stack.push_async_callback(self._api.close)
        await self._start_agents()
        await self._start_operator()
        await self.until("the fabric serves", self._said("fabric", "http://"))
        await self._start_cloud(endpoint.url)
        self._instances = {node: await self._plug(node) for node in NODES}
        spec = {**_PROVIDER["spec"], "endpoint": self.simulator.url}  # type: ignore[dict-item]
        await self._api.apply({**_PROVIDER, "spec": spec})
        await self.until("each node has a pool with addresses", self._pools_are_there)
        for node in NODES:
            await self.until(f"the agent of {node} serves", self._said(node, "agent.ready"))

    async def _start_agents(self) -> None:
        port = str(urlsplit(self._plane.url).port)
        namespaces = [f"/run/netns/{self._name}-{node}" for node in NODES]
        script = ("-I", "-S", relay.__file__, port, f"{self._machine.host}:{port}", *namespaces)
        await self._start_there("relay", sys.executable, *script)
        await self.until("the relay serves", self._said("relay", relay.READY))
        for node in NODES:
            settings = {
                "nodeName": node,
                "kubeconfig": str(self._plane.kubeconfig),
                "stateDir": str(self._run / node / "state"),
                "socket": str(self._run / node / "agent.sock"),
                "spool": str(self._run / node / "spool"),
                "serviceCIDRs": [SERVICE_CIDR],
                "addWaitSeconds": 60,
            }
            file = self._folder / f"{node}.json"
            file.write_text(json.dumps(settings))
            await self._machine.run("mkdir", "-p", str(self._run / node / "state"))
            agent = str(Path(sys.executable).with_name("underlay-agent"))
            await self._start_there(node, "ip", "netns", "exec", f"{self._name}-{node}", agent, "--config", str(file))
        self._stack.push_async_callback(self._forget, "rm", "-rf", str(self._run))

    async def _start_operator(self) -> None:
        settings = {"kubeconfig": str(self._plane.kubeconfig), "identity": "lab", "settleSeconds": 5}
        file = self._folder / "operator.json"
        file.write_text(json.dumps(settings))
        operator = str(Path(sys.executable).with_name("underlay-operator"))
        running = Here().running(operator, "--config", str(file), log=self._log("operator"), environment=KEYS)
        self._running["operator"] = await self._stack.enter_async_context(running)

    async def _start_cloud(self, fabric: str) -> None:
        ready = self._folder / "cloudsim.ready"
        flags = ("--listen", "127.0.0.1:0", "--ready-file", str(ready), "--fabric", fabric, "--region", REGION)
        running = Here().running(sys.executable, "-m", "cloudsim", *flags, log=self._log("cloudsim"))
        self._running["cloudsim"] = await self._stack.enter_async_context(running)

        async def serves() -> bool:
            return ready.exists()

        await self.until("the cloud serves", serves)
        self.simulator = Simulator(json.loads(ready.read_text())["url"])
        self._stack.push_async_callback(self.simulator.close)
        await self.simulator.credentials(access_key=KEYS["AWS_ACCESS_KEY_ID"], secret=KEYS["AWS_SECRET_ACCESS_KEY"])
        self._subnet = await self.simulator.network(cidr="10.30.0.0/24", zone=f"{REGION}a")

    async def _plug(self, node: str) -> str:
        """The node's machine at the cloud, and its Node object; the machine's id."""
        netns = f"/run/netns/{self._name}-{node}"
        self._note(f"plugging {node} into the cloud")
        instance = await self.simulator.instance(type_=INSTANCE_TYPE, subnet=self._subnet, netns=netns)
        spec = NodeSpec(
            name=node,
            netns=netns,
            address=instance.private_ip,
            provider_id=instance.provider_id,
            instance_type=INSTANCE_TYPE,
            zone=instance.zone,
            folder=str(self._run / node),
            socket=str(self._run / node / "agent.sock"),
        )
        body = statuses.node(spec, pods=110, now=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        await self._api.apply({key: body[key] for key in body if key != "status"})
        await self._api.patch(f"/api/v1/nodes/{node}/status", {"status": body["status"]})
        return instance.id

    async def _pools_are_there(self) -> bool:
        pools = await self._api.items(_POOLS)
        served = {node for pool in pools if pool["spec"].get("ips") for node in pool["spec"].get("nodeName") or []}
        return served == set(NODES)

    async def _call(self, verb: str, namespace: str, node: str, *, pod: str = "", uid: str = "") -> str:
        """The launcher's answer. Raises ``CommandFailed`` with the CNI error."""
        arguments = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_UID={uid}" if pod else ""
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": namespace,
            "CNI_NETNS": f"/run/netns/{namespace}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(LAUNCHER / "build"),
            "CNI_ARGS": arguments,
            "UNDERLAY_SOCKET": str(self._run / node / "agent.sock"),
            "UNDERLAY_SPOOL": str(self._run / node / "spool"),
        }
        network = msgspec.json.encode({"cniVersion": "1.0.0", "name": "underlay", "type": "underlay"}).decode()
        return await self._machine.run(str(LAUNCHER / "build" / "underlay"), text=network, environment=environment)

    async def _make_namespace(self, name: str) -> None:
        await self._machine.run("ip", "netns", "add", name)
        self._stack.push_async_callback(self._forget, "ip", "netns", "del", name)
        await self._machine.run("ip", "-n", name, "link", "set", "lo", "up")

    async def _forget(self, *command: str) -> None:
        """Cleans the machine, which may be gone, or may clean itself."""
        with contextlib.suppress(CommandFailed, OSError):
            await self._machine.run(*command)

    async def _start_there(self, name: str, *command: str) -> None:
        running = self._machine.running(*command, log=self._log(name))
        self._running[name] = await self._stack.enter_async_context(running)

    def _said(self, name: str, words: str) -> Callable[[], Awaitable[bool]]:
        async def said() -> bool:
            log = self._log(name)
            return log.exists() and words in log.read_text(errors="replace")

        return said

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"
