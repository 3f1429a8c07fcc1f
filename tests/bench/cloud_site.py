"""A control plane, a throttling cloud and the operator, with nodes that are nothing but Node objects and machines."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import usage
from bench.site import ROOT, SiteFailed
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
_INSTANCE_TYPE = "m5.large"
_NETWORK = "10.64.0.0/16"
_ACCESS_KEY, _SECRET = "AKIAUNDERLAYBENCH000", "underlay-bench-secret"
_LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "underlay-operator"},
    "spec": {},
}
_AT_ONCE = 8
_LOOK_SECONDS = 0.1
_OUR_TAG = "underlay.spidernet.io/cluster"

Say = Callable[[str], None]


class CloudSite:
    """Made on entry, with ``nodes`` machines and Nodes that no provider serves yet; taken down on exit.

    Every run has processes of its own: the account's buckets are full, the operator knows nothing.
    """

    def __init__(self, folder: Path, *, nodes: int, addresses: int, attach_seconds: float) -> None:
        self.folder = folder
        self._attach_seconds = attach_seconds
        self.machines: dict[str, str] = {}
        """Node → instance."""
        self._count = nodes
        self._addresses = addresses
        self._processes: list[Process] = []
        self._clients: list[Api | Simulator | KubeClient] = []
        self._plane: ControlPlane | None = None
        self._api: Api
        self._kube: KubeClient
        self.simulator: Simulator
        self.operator: Process

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

    async def supply(self, say: Say, *, within_seconds: float) -> list[float]:
        """Has the operator begin with all nodes at once; per node, the seconds until a pool lists its addresses."""
        loop = asyncio.get_running_loop()
        supplied: dict[str, float] = {}
        everyone = asyncio.Event()

        def seen(change: Change[SpiderIPPool]) -> None:
            if isinstance(change, Removed) or len(_listed(change.object)) < self._addresses:
                return
            for node in change.object.spec.node_name or []:
                supplied.setdefault(node, loop.time() - began)
            if len(supplied) == self._count:
                everyone.set()

        pools = Reflector(self._kube, SpiderIPPool)
        pools.subscribe(seen)
        watching, waiting = asyncio.create_task(pools.run()), asyncio.create_task(everyone.wait())
        try:
            await pools.synced.wait()
            began = loop.time()
            await self._api.apply(self._provider())
            while not everyone.is_set():
                self._check_alive()
                if loop.time() - began > within_seconds:
                    raise SiteFailed(
                        f"{len(supplied)} of {self._count} nodes have their addresses after {within_seconds:.0f} s; "
                        f"logs: {self.folder / 'logs'}"
                    )
                say(f"{len(supplied)} of {self._count} nodes have their addresses")
                await asyncio.wait([watching, waiting], timeout=1, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            waiting.cancel()
            await asyncio.wait([watching, waiting])
        return sorted(supplied.values())

    async def calls(self) -> Mapping[str, Mapping[str, int]]:
        """The cloud's own count: operation → code → calls."""
        found: dict[str, dict[str, int]] = await self.simulator.call("GET", "/_sim/calls")
        return found

    async def wrong_nodes(self) -> Sequence[str]:
        """Nodes whose pools list anything but what one new interface of their machine has at the cloud."""
        rows = [row for row in await self.simulator.interfaces() if _OUR_TAG in row["tags"]]
        cloud: dict[str, list[frozenset[str]]] = {}
        for row in rows:
            owner = row["attachment"]["instance"] if row["attachment"] else ""
            cloud.setdefault(owner, []).append(frozenset(row["addresses"]))
        pools: dict[str, list[frozenset[str]]] = {}
        for pool in (await self._kube.list(SpiderIPPool)).items:
            for node in pool.spec.node_name or []:
                pools.setdefault(node, []).append(_listed(pool))
        return [
            node
            for node, machine in self.machines.items()
            if len(pools.get(node, [])) != 1 or pools[node] != cloud.get(machine)
        ]

    async def _start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "logs").mkdir(parents=True)
        self._plane = plane = await asyncio.to_thread(ControlPlane.start, self.folder / "controlplane")
        await asyncio.to_thread(plane.install_crds, ROOT / "charts" / "underlay" / "crds")
        self._api = Api.connect(plane.kubeconfig, user_agent=USER_AGENT)
        self._kube = KubeClient.connect(plane.kubeconfig, user_agent=USER_AGENT)
        self._clients += [self._api, self._kube]
        subnet = await self._start_cloud()
        turn = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._add_node(f"node-{number}", subnet, turn) for number in range(self._count)))
        await self._api.apply(_LEASE, namespace="kube-system")
        self.operator = self._start_operator(plane)
        await self._until("the operator leads", self._leads, within_seconds=30)

    async def _close(self) -> None:
        for client in self._clients:
            await client.close()
        for process in reversed(self._processes):
            process.kill()
        if self._plane is not None:
            await asyncio.to_thread(self._plane.stop)

    async def _start_cloud(self) -> str:
        ready = self.folder / "cloudsim.ready"
        flags = ("--buckets", "--region", _REGION, "--attach-seconds", str(self._attach_seconds))
        program = [sys.executable, "-m", "cloudsim", "--ready-file", str(ready), *flags]
        self._spawn("cloudsim", program, os.environ)

        async def serves() -> bool:
            return ready.exists()

        await self._until("cloudsim serves", serves, within_seconds=20)
        self.simulator = Simulator(str(json.loads(ready.read_text())["url"]))
        self._clients.append(self.simulator)
        await self.simulator.credentials(access_key=_ACCESS_KEY, secret=_SECRET)
        return await self.simulator.network(cidr=_NETWORK, zone=f"{_REGION}a")

    async def _add_node(self, name: str, subnet: str, turn: asyncio.Semaphore) -> None:
        async with turn:
            made = await self.simulator.call("POST", "/_sim/instances", {"type": _INSTANCE_TYPE, "subnet": subnet})
            body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
            await self._api.apply({**body, "spec": {"providerID": made["providerID"]}})
            self.machines[name] = str(made["id"])

    def _start_operator(self, plane: ControlPlane) -> Process:
        settings = {"kubeconfig": str(plane.kubeconfig), "identity": "bench", "leaseNamespace": "kube-system"}
        file = self.folder / "operator.json"
        file.write_text(json.dumps(settings, indent=2))
        keys = {"AWS_ACCESS_KEY_ID": _ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": _SECRET}
        program = Path(sys.executable).with_name("underlay-operator")
        return self._spawn("operator", [str(program), "--config", str(file)], {**os.environ, **keys})

    def _spawn(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Process:
        process = spawn(command, name=name, log=self.folder / "logs" / f"{name}.log", environment=environment)
        self._processes.append(process)
        return process

    async def _leads(self) -> bool:
        """It holds the Lease and is done with starting: a second without work."""
        lease = await self._api.get("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/underlay-operator")
        if not lease["spec"].get("holderIdentity"):
            return False
        before = usage.cpu([self.operator])
        await asyncio.sleep(1)
        return (usage.cpu([self.operator]) - before).total < 0.1

    async def _until(self, what: str, holds: Callable[[], Any], *, within_seconds: float) -> None:
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

    def _provider(self) -> dict[str, Any]:
        """Each node wants as many addresses as one interface has, and none on its primary one."""
        return {
            "apiVersion": "spiderpool.spidernet.io/v2beta1",
            "kind": "SpiderNetworkProvider",
            "metadata": {"name": "bench"},
            "spec": {
                "driver": "aws",
                "region": _REGION,
                "endpoint": self.simulator.url,
                "interfaces": {"usePrimary": False},
                "addresses": {"batch": 1, "buffer": 0, "minimum": self._addresses},
            },
        }


def _listed(pool: SpiderIPPool) -> frozenset[str]:
    found = RangeSet.parse(pool.spec.ips or [], field="spec.ips")
    return frozenset(str(ip_address(address)) for address in found)
