"""Real nodes: a network namespace plugged into the fabric, the agent's process, and a kubelet that calls the launcher
by libcni for each pod. What pods have is read from the kernel.
"""

import asyncio
import json
import signal
from pathlib import Path

from controlplane import access
from controlplane.cluster import SERVICE_CIDR
from controlplane.process import Process
from soak.ground import Ground, provider_of
from soak.stage import Stage
from support.modes import Mode
from support.operator_site import REGION, Site
from support.ownership import Ownership
from underlay.core.api.kubernetes import Node, Pod
from underlay.core.kube.reflector import Change, Reflector, Removed
from world import node as nodes
from world import sandbox as sandboxes
from world.cloud import Instance
from world.commands import CommandFailed, run
from world.names import container_id, netns_path
from world.node import Launch, NodeSpec
from world.sandbox import Calls, Sandbox

_RETRY_SECONDS = 0.5
_CALLS_AT_ONCE = 4


class Machine:
    """One node; ``sandboxes`` by the pod's UID are those whose ADD has succeeded."""

    def __init__(self, stage: Stage, site: Site, spec: NodeSpec, ownership: Ownership, launch: Launch) -> None:
        self._stage = stage
        self._spec = spec
        self._ownership = ownership
        self._launch = launch
        self._agent: Process | None = None
        self._pods = Reflector(site.client, Pod, fields=f"spec.nodeName={spec.name}")
        self._leaving: dict[str, asyncio.Event] = {}
        self._places = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._veths: set[str] = set()
        self.sandboxes: dict[str, Sandbox] = {}

    @property
    def name(self) -> str:
        return self._spec.name

    def start_agent(self) -> None:
        started = nodes.start_agent(self._spec, self._launch)
        if self._agent is None:
            self._stage.record.remember(started)
        else:
            self._stage.record.replace(self._agent, started)
        self._agent = started

    async def restart_agent(self) -> None:
        """SIGKILL wherever it is, then a new process on the same state."""
        assert self._agent is not None
        await asyncio.to_thread(self._agent.kill, signal.SIGKILL)
        self.start_agent()

    async def kubelet(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._pods.subscribe(lambda change: self._hear(change, tasks))
            tasks.create_task(self._pods.run())

    async def kernel(self) -> dict[str, str]:
        """Address → UID of the pod in whose namespace it is, by the kernel."""
        found: dict[str, str] = {}
        for uid, box in list(self.sandboxes.items()):
            try:
                links = json.loads(await run("ip", "-n", box.name, "-j", "addr", "show", "eth0"))
            except CommandFailed:
                continue  # it ends just now; of a pod that stays and has no address the readings tell
            found |= {item["local"]: uid for item in links[0]["addr_info"] if item["scope"] == "global"}
        return found

    def _hear(self, change: Change[Pod], tasks: asyncio.TaskGroup) -> None:
        pod, uid = change.object, change.object.metadata.uid or ""
        if isinstance(change, Removed):
            self._leaving.setdefault(uid, asyncio.Event()).set()
        elif uid not in self._leaving:
            self._leaving[uid] = asyncio.Event()
            tasks.create_task(self._live(f"{pod.metadata.namespace}/{pod.metadata.name}", uid))

    async def _live(self, pod: str, uid: str) -> None:
        attempt, leaving = 0, self._leaving[uid]
        while not leaving.is_set():
            box = self._sandbox(pod, uid, attempt)
            await sandboxes.make(box)
            try:
                async with self._places:
                    box = sandboxes.with_result(box, await self._calls.add(box), 0)
            except CommandFailed:
                await self._end(box)
                attempt += 1
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for address in box.addresses:
                self._ownership.take(address, uid)
            self.sandboxes[uid] = box
            await leaving.wait()
            await self._end(box)

    async def _end(self, box: Sandbox) -> None:
        """DEL until it succeeds, then the namespace."""
        while True:
            try:
                async with self._places:
                    await self._calls.delete(box)
                break
            except CommandFailed:
                await asyncio.sleep(_RETRY_SECONDS)
        for address in box.addresses:
            self._ownership.free(address)
        self.sandboxes.pop(box.uid, None)
        await sandboxes.unmake(box)

    def _sandbox(self, pod: str, uid: str, attempt: int) -> Sandbox:
        """Named so that its host veth is no other sandbox's: cnitool's ids begin alike."""
        while True:
            path = netns_path(self._stage.names.sandbox(uid, attempt))
            veth = container_id(path)[:11]
            if veth not in self._veths:
                self._veths.add(veth)
                return Sandbox(pod=pod, uid=uid, node=self.name, netns=str(path))
            attempt += 1000

    @property
    def _calls(self) -> Calls:
        return Calls(
            cnitool=str(self._stage.cnitool),
            cni_path=str(self._stage.cni_path),
            configuration=self._spec.cni_configuration,
            network=self._stage.names.cni_network,
            socket=self._spec.socket,
            spool=self._spec.spool,
        )


async def machine(stage: Stage, ground: Ground, number: int, *, mode: Mode, ownership: Ownership) -> Machine:
    """A node of the mode's provider that is really there; its agent has been started."""
    site, provider = ground.site, provider_of(ground.site, mode)
    name = f"{site.name}-real{number}"
    netns = await nodes.make_namespace(stage.names, name, number, stage.management)
    body = {"type": mode.small, "subnet": ground.subnets[provider], "netns": netns}
    made = await asyncio.to_thread(stage.sim.control, "POST", "/instances", body)
    instance = Instance(
        id=made["id"],
        private_ip=made["private_ip"],
        eni=made["eni"],
        mac=made["mac"],
        provider_id=made["providerID"],
        zone=f"{REGION}a",
    )
    spec = nodes.describe(
        name, instance, type_=mode.small, netns=netns, folder=stage.folder, sockets=stage.record.sockets
    )
    nodes.write_cni_configuration(spec, stage.names)
    await site.add_node(name.removeprefix(f"{site.name}-"), provider_id=instance.provider_id, site=provider)
    addresses = {"status": {"addresses": [{"type": "InternalIP", "address": instance.private_ip}]}}
    await site.client.merge_patch(Node, name, addresses, subresource="status")
    launch = Launch(
        names=stage.names,
        kubeconfig=stage.plane.kubeconfig,
        proxy_kubeconfig=stage.plane.kubeconfig_of(access.PROXY),
        kube_proxy=Path(),
        service_cidr=SERVICE_CIDR,
        logs=stage.logs,
        detached=False,
    )
    found = Machine(stage, site, spec, ownership, launch)
    found.start_agent()
    return found
