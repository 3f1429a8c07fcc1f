"""Nodes with the real agent on a kernel that is not one, and a runtime that makes its CNI calls as kubelet does.

Cheaper than namespaces by far, so that a test can have many; journal, fences and cool-down are the agent's own.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv6Address
from pathlib import Path

from support.fleet import Fleet
from support.kernel import FakeKernel
from support.node import NodeUnderTest, Refused
from support.operator_site import cut_off, time_passes
from support.ownership import Ownership
from underlay.cni.datapath.attach import HostLink, Want
from underlay.cni.datapath.calls import Attached, Detach
from underlay.cni.datapath.solicitation import Router6
from underlay.core.api.kubernetes import Pod
from underlay.core.identity import Mac
from underlay.core.kube.client import KubeClient
from underlay.core.kube.reflector import Change, Reflector, Removed

_LOOK_SECONDS = 0.2
_ROUTER = Router6(address=IPv6Address("fe80:ec2::1"), lifetime_seconds=1800)


class OwnedKernel(FakeKernel):
    """Tells ``ownership`` which pod has which address, as its namespace gets or loses it.

    Namespaces are named ``<pod's UID>.<attempt>``.
    """

    def __init__(self, ownership: Ownership) -> None:
        super().__init__({})
        self._ownership = ownership

    async def attach(self, want: Want) -> Attached:
        done = await super().attach(want)
        for address in want.addresses:
            self._ownership.take(str(address.ip), pod_of(want.netns))
        return done

    async def detach(self, gone: Detach) -> None:
        if gone.netns is not None and (there := self.interfaces.get((gone.netns, gone.ifname))):
            for address in there.addresses:
                self._ownership.free(str(address.ip))
        await super().detach(gone)

    def plug(self, macs: Iterable[str]) -> None:
        """The machine's interfaces, as the cloud has them now; a router answers on each."""
        wanted = {Mac(mac) for mac in macs}
        self.host = {mac: link for mac, link in self.host.items() if mac in wanted}
        for mac in sorted(wanted - self.host.keys()):
            index = max((link.index for link in self.host.values()), default=1) + 1
            self.host[mac] = HostLink(index=index, name=f"eth{index}", mac=mac, mtu=9001, up=False)
        self.routers = {link.name: _ROUTER for link in self.host.values()}


class Kubelet:
    """Every pod bound to the node gets a sandbox and an ADD until one succeeds, and a DEL when it is gone."""

    def __init__(self, node: NodeUnderTest, client: KubeClient) -> None:
        self._node = node
        self._pods = Reflector(client, Pod, fields=f"spec.nodeName={node.name}")
        self._leaving: dict[str, asyncio.Event] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._pods.subscribe(lambda change: self._hear(change, tasks))
            tasks.create_task(self._pods.run())

    def _hear(self, change: Change[Pod], tasks: asyncio.TaskGroup) -> None:
        uid = change.object.metadata.uid or ""
        if isinstance(change, Removed):
            self._leaving.setdefault(uid, asyncio.Event()).set()
        elif uid not in self._leaving:
            self._leaving[uid] = asyncio.Event()
            tasks.create_task(self._live(change.object.metadata.name.removeprefix(f"{self._node.name}-"), uid))

    async def _live(self, pod: str, uid: str) -> None:
        attempt, leaving = 0, self._leaving[uid]
        while not leaving.is_set():
            try:
                await self._node.add_any(pod, f"{uid}.{attempt}")
                break
            except Refused:
                await self._node.delete(pod, f"{uid}.{attempt}")
                attempt += 1
                await time_passes(_LOOK_SECONDS)
        else:
            return
        await leaving.wait()
        await self._node.delete(pod, f"{uid}.{attempt}")


def pod_of(netns: str) -> str:
    """The UID in a namespace's path."""
    return Path(netns).name.rpartition(".")[0]


class Machines:
    """The running machines of a fleet's nodes, each with its agent and kubelet."""

    def __init__(self, fleet: Fleet, kubeconfig: Path, folder: Path, tasks: asyncio.TaskGroup) -> None:
        self._fleet = fleet
        self._kubeconfig = kubeconfig
        self._folder = folder
        self._tasks = tasks
        self._kubelets: dict[str, asyncio.Task[None]] = {}
        self._made = 0
        self._kernels: list[OwnedKernel] = []
        self.nodes: dict[str, NodeUnderTest] = {}

    async def start(self, name: str) -> None:
        """A machine that remembers nothing takes the node's name."""
        self._made += 1
        node = NodeUnderTest(name, self._fleet.site.client, self._kubeconfig, self._folder / str(self._made))
        node.kernel = kernel = OwnedKernel(self._fleet.ownership)
        self._kernels.append(kernel)
        self.nodes[name] = node
        await node.start()
        self._kubelets[name] = self._tasks.create_task(Kubelet(node, self._fleet.site.client).run())

    async def unplug(self, name: str) -> None:
        """Whatever ran on it is no more."""
        node = self.nodes.pop(name)
        await cut_off(self._kubelets.pop(name))
        await node.stop()
        for address in node.kernel.addresses():
            self._fleet.ownership.free(str(address))

    async def plug(self) -> None:
        """What a fabric does, until cancelled: attached interfaces appear on their machines."""
        while True:
            table = await asyncio.to_thread(self._fleet.site.sim.control, "GET", "/table")
            macs: dict[str, list[str]] = {}
            for row in table["interfaces"]:
                if row["attachment"] and row["attachment"]["state"] == "attached":
                    macs.setdefault(row["attachment"]["instance"], []).append(row["mac"])
            for name, node in self.nodes.items():
                assert isinstance(node.kernel, OwnedKernel)
                node.kernel.plug(macs.get(self._fleet.site.nodes[name], []))
            await time_passes(_LOOK_SECONDS)

    @property
    def problems(self) -> list[str]:
        return [problem for kernel in self._kernels for problem in kernel.problems]


@asynccontextmanager
async def real_agents(fleet: Fleet, kubeconfig: Path, folder: Path) -> AsyncIterator[Machines]:
    """A machine for each node of the fleet. Pods must be named ``<node>-<anything>``."""
    async with asyncio.TaskGroup() as group:
        machines = Machines(fleet, kubeconfig, folder, group)
        plugging = group.create_task(machines.plug())
        try:
            await asyncio.gather(*map(machines.start, fleet.nodes))
            yield machines
        finally:
            for task in (plugging, *machines._kubelets.values()):
                await cut_off(task)
            for node in machines.nodes.values():
                await node.stop()
    assert machines.problems == []
    assert fleet.ownership.problems == []
