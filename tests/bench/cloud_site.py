"""A control plane, a simulated cloud and the operator, with nodes that are nothing but Node objects and machines."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import usage
from bench.site import ROOT, SiteFailed
from controlplane import access
from controlplane.cluster import ControlPlane
from controlplane.process import Process, ProcessFailed, spawn
from underlay.core.addresses import RangeSet
from underlay.core.api.ippool import SpiderIPPool
from underlay.core.kube.client import KubeClient
from underlay.core.kube.reflector import Change, Reflector, Removed
from world.api import Api
from world.cloud import Simulator

USER_AGENT = "bench"

_REGION = "eu-central-1"
_FIRST_NETWORK = IPv4Network("10.64.0.0/16")
_OF_A_NETWORK = 65_000
"""Addresses that machines may have there: EC2 keeps five of a subnet, and blocks need some room."""
_ACCESS_KEY, _SECRET = "AKIAUNDERLAYBENCH000", "underlay-bench-secret"
_LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "underlay-operator"},
    "spec": {},
}
_AT_ONCE = 8
_LOOK_SECONDS = 0.1
_QUIET_SECONDS, _QUIET_SHARE = 3, 0.03
"""On a busy machine a process with work to do has more than this share."""

Say = Callable[[str], None]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """``count`` machines, ``node-0`` and so on, which have ``secondary`` addresses on their only interface from the
    start. ``most``: how many each will have at the end, so that the subnets are large enough.
    """

    count: int
    type: str = "m5.large"
    secondary: int = 0
    most: int = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """The cloud's. ``buckets``: it throttles as EC2 publishes."""

    attach_seconds: float = 0.5
    buckets: bool = True


class CloudSite:
    """Made on entry, with machines and Nodes that no provider serves yet; taken down on exit.

    Every run has processes of its own: the account's buckets are full, the operator knows nothing.
    """

    def __init__(self, folder: Path, machines: Machines, behaviour: Behaviour) -> None:
        self.folder = folder
        self.machines: dict[str, str] = {}
        """Node → instance."""
        self.api: Api
        self.kube: KubeClient
        self.simulator: Simulator
        self.operator: Process
        self.cloudsim: Process
        self._wanted = machines
        self._behaviour = behaviour
        self._processes: list[Process] = []
        self._clients: list[Api | Simulator | KubeClient] = []
        self._plane: ControlPlane | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    @property
    def audit_log(self) -> Path:
        """Of the API server."""
        assert self._plane is not None
        return self._plane.audit_log

    def apiserver(self) -> list[Process]:
        """The API server's process."""
        assert self._plane is not None
        return [process for process in self._plane.processes if process.name == "kube-apiserver"]

    async def provide(self, spec: Mapping[str, object]) -> None:
        """From now on a provider of this spec serves all nodes."""
        there = {"driver": "aws", "region": _REGION, "endpoint": self.simulator.url}
        kind = {"apiVersion": "spiderpool.spidernet.io/v2beta1", "kind": "SpiderNetworkProvider"}
        await self.api.apply({**kind, "metadata": {"name": "bench"}, "spec": {**there, **spec}})

    async def supply(
        self, say: Say, begin: Callable[[], Awaitable[None]], *, addresses: int, within_seconds: float
    ) -> list[float]:
        """``begin()`` makes the operator begin; per node, the seconds until a pool lists that many addresses."""
        loop = asyncio.get_running_loop()
        supplied: dict[str, float] = {}
        everyone = asyncio.Event()
        began = loop.time()

        def seen(change: Change[SpiderIPPool]) -> None:
            if isinstance(change, Removed) or len(listed(change.object)) < addresses:
                return
            for node in change.object.spec.node_name or []:
                supplied.setdefault(node, loop.time() - began)
            if len(supplied) == self._wanted.count:
                everyone.set()

        async with self.watching(seen):
            began = loop.time()
            await begin()
            while not everyone.is_set():
                self._check_alive()
                if loop.time() - began > within_seconds:
                    raise SiteFailed(
                        f"{len(supplied)} of {self._wanted.count} nodes have their addresses after "
                        f"{within_seconds:.0f} s; logs: {self.folder / 'logs'}"
                    )
                say(f"{len(supplied)} of {self._wanted.count} nodes have their addresses")
                with suppress(TimeoutError):
                    await asyncio.wait_for(everyone.wait(), timeout=1)
        return sorted(supplied.values())

    @asynccontextmanager
    async def watching(self, seen: Callable[[Change[SpiderIPPool]], None]) -> AsyncIterator[None]:
        """``seen`` is told of all pools and their changes while the block runs; a failing watch fails the block."""
        pools = Reflector(self.kube, SpiderIPPool)
        pools.subscribe(seen)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(pools.run())
            await pools.synced.wait()
            yield
            task.cancel()

    async def calls(self) -> Mapping[str, Mapping[str, int]]:
        """The cloud's own count: operation → code → calls."""
        found: dict[str, dict[str, int]] = await self.simulator.call("GET", "/_sim/calls")
        return found

    async def wrong_nodes(self) -> Sequence[str]:
        """Nodes whose pools list anything but the secondary addresses and prefixes that the interfaces of their machine
        have at the cloud.
        """
        cloud: dict[str, set[frozenset[str]]] = {}
        for row in await self.simulator.interfaces():
            if row["attachment"] and (found := _secondary(row)):
                cloud.setdefault(row["attachment"]["instance"], set()).add(found)
        pools: dict[str, list[frozenset[str]]] = {}
        for pool in (await self.kube.list(SpiderIPPool)).items:
            for node in pool.spec.node_name or []:
                pools.setdefault(node, []).append(listed(pool))
        return [
            node
            for node, machine in self.machines.items()
            if len(pools.get(node, [])) != len(cloud.get(machine, ())) or set(pools[node]) != cloud[machine]
        ]

    async def start_operator(self, *, pods: int = 0, **settings: object) -> None:
        """Until it leads. ``pods``: it sees that many synthetic ones on the nodes instead of the API server's."""
        assert self._plane is not None
        kubeconfig = await self._put_pods_before(self._plane, pods) if pods else self._plane.kubeconfig
        whole = {"kubeconfig": str(kubeconfig), "identity": "bench", "leaseNamespace": "kube-system", **settings}
        file = self.folder / "operator.json"
        file.write_text(json.dumps(whole, indent=2))
        keys = {"AWS_ACCESS_KEY_ID": _ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": _SECRET}
        program = Path(sys.executable).with_name("underlay-operator")
        self.operator = self._spawn("operator", [str(program), "--config", str(file)], {**os.environ, **keys})
        await self.until("the operator leads", self._leads, within_seconds=30)

    async def stop_operator(self) -> None:
        """As Kubernetes stops a pod: it gives back its lease."""
        self._processes.remove(self.operator)
        await asyncio.to_thread(self.operator.kill, signal.SIGTERM, within_seconds=30)

    async def quiet(self, *, within_seconds: float) -> None:
        """The operator is done with what there was to do: some seconds nearly without work."""

        async def rests() -> bool:
            before = usage.cpu([self.operator])
            await asyncio.sleep(_QUIET_SECONDS)
            return (usage.cpu([self.operator]) - before).total < _QUIET_SHARE * _QUIET_SECONDS

        await self.until("the operator rests", rests, within_seconds=within_seconds)

    async def _start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "logs").mkdir(parents=True)
        self._plane = plane = await asyncio.to_thread(ControlPlane.start, self.folder / "controlplane")
        await asyncio.to_thread(plane.install_crds, ROOT / "charts" / "underlay" / "crds")
        self.api = Api.connect(plane.kubeconfig, user_agent=USER_AGENT)
        self.kube = KubeClient.connect(plane.kubeconfig, user_agent=USER_AGENT)
        self._clients += [self.api, self.kube]
        subnets = await self._start_cloud()
        turn = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(
            *(self._add_node(number, subnets[number % len(subnets)], turn) for number in range(self._wanted.count))
        )
        await self.api.apply(_LEASE, namespace="kube-system")

    async def _close(self) -> None:
        for client in self._clients:
            await client.close()
        for process in reversed(self._processes):
            process.kill()
        if self._plane is not None:
            await asyncio.to_thread(self._plane.stop)

    async def _start_cloud(self) -> list[str]:
        """Subnets, large enough together."""
        ready = self.folder / "cloudsim.ready"
        flags = ["--region", _REGION, "--attach-seconds", str(self._behaviour.attach_seconds)]
        flags += ["--buckets"] if self._behaviour.buckets else []
        program = [sys.executable, "-m", "cloudsim", "--ready-file", str(ready), *flags]
        self.cloudsim = self._spawn("cloudsim", program, os.environ)
        await self.until("cloudsim serves", _then(_written, ready), within_seconds=20)
        self.simulator = Simulator(str(json.loads(ready.read_text())["url"]))
        self._clients.append(self.simulator)
        await self.simulator.credentials(access_key=_ACCESS_KEY, secret=_SECRET)
        needed = -(-self._wanted.count * (self._wanted.most + 1) // _OF_A_NETWORK)
        size = _FIRST_NETWORK.num_addresses
        networks = [ip_network((int(_FIRST_NETWORK.network_address) + size * number, 16)) for number in range(needed)]
        return [await self.simulator.network(cidr=str(network), zone=f"{_REGION}a") for network in networks]

    async def _add_node(self, number: int, subnet: str, turn: asyncio.Semaphore) -> None:
        name, wanted = f"node-{number}", self._wanted
        machine = {"type": wanted.type, "subnet": subnet, "secondary_count": wanted.secondary}
        async with turn:
            made = await self.simulator.call("POST", "/_sim/instances", machine)
            body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
            await self.api.apply({**body, "spec": {"providerID": made["providerID"]}})
            self.machines[name] = str(made["id"])

    async def _put_pods_before(self, plane: ControlPlane, pods: int) -> Path:
        """Between operator and API server; the kubeconfig that leads there."""
        ready, file = self.folder / "pods.ready", self.folder / "pods.kubeconfig"
        counts = ["--pods", str(pods), "--nodes", str(self._wanted.count)]
        program = [sys.executable, "-m", "bench.pod_source", "--kubeconfig", str(plane.kubeconfig), *counts]
        self._spawn("pods", [*program, "--ready-file", str(ready)], os.environ)
        await self.until("the synthetic pods are served", _then(_written, ready), within_seconds=20)
        config: Json = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "pods",
            "contexts": [{"name": "pods", "context": {"cluster": "pods", "user": "admin"}}],
            "clusters": [{"name": "pods", "cluster": {"server": ready.read_text()}}],
            "users": [{"name": "admin", "user": {"token": plane.token_of(access.ADMIN)}}],
        }
        file.write_text(json.dumps(config))
        return file

    def _spawn(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Process:
        process = spawn(command, name=name, log=self.folder / "logs" / f"{name}.log", environment=environment)
        self._processes.append(process)
        return process

    async def _leads(self) -> bool:
        lease = await self.api.get("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/underlay-operator")
        return bool(lease["spec"].get("holderIdentity"))

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]], *, within_seconds: float) -> None:
        """Until ``holds()``. Raises ``SiteFailed``, or ``ProcessFailed`` when a process ended."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_seconds
        while not await holds():
            self._check_alive()
            if loop.time() > deadline:
                raise SiteFailed(f"not within {within_seconds:.0f} s: {what}. Logs: {self.folder / 'logs'}")
            await asyncio.sleep(_LOOK_SECONDS)

    def _check_alive(self) -> None:
        for process in self._processes:
            if not process.alive():
                raise ProcessFailed(f"{process.name} ended by itself. It said last:\n{process.last_words()}")


def listed(pool: SpiderIPPool) -> frozenset[str]:
    """A pool's addresses."""
    found = RangeSet.parse(pool.spec.ips or [], field="spec.ips")
    return frozenset(str(ip_address(address)) for address in found)


def _secondary(row: Json) -> frozenset[str]:
    """What an interface has besides its primary address."""
    blocks = [ip_network(prefix) for prefix in row.get("prefixes", [])]
    return frozenset(row["addresses"]) | {str(address) for block in blocks for address in block}


def _then(holds: Callable[[Path], bool], file: Path) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return holds(file)

    return asked


def _written(file: Path) -> bool:
    return file.exists() and bool(file.read_text())
