"""``python -m world.runner FILE``: plays kubelet for all nodes of a world, one asyncio task per pod.

A pod bound to one of the nodes gets a network namespace, the node's CNI list by cnitool, a web server that answers
with the pod's name, and its status; a pod that is to go is torn down in kubelet's order (DEL, namespace, then the
object with grace period 0). As with kubelet, a failed ADD is followed by DEL and tried again in a new sandbox, and an
outage of the API server stops nothing that does not need it.

A pod with the annotation ``world/hold`` waits between binding and ADD until the file ``release`` exists in the
runner's folder.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

from underlay.core.api.kubernetes import Pod
from underlay.core.kube.client import KubeClient
from underlay.core.kube.reflector import Added, Modified, Reflector, Removed
from underlay.core.runtime import logging
from world import sandbox as sandboxes
from world import statuses
from world.api import Api, ApiError
from world.cloud import CloudRefused, Fabric
from world.commands import CommandFailed
from world.heartbeat import beat, now
from world.names import Names, container_id, netns_path
from world.node import NodeSpec
from world.sandbox import Calls, Sandbox

HOLD = "world/hold"
_RETRY_SECONDS = 1.0
_CALLS_AT_ONCE = 8


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The runner's file."""

    world: str
    kubeconfig: str
    fabric: str
    cnitool: str
    cni_path: str
    busybox: str
    folder: str
    nodes: list[NodeSpec]
    pods_per_node: int = 110


class Runner:
    """All pods of all nodes of one world."""

    def __init__(self, settings: Settings, api: Api, client: KubeClient, fabric: Fabric) -> None:
        self._settings = settings
        self._names = Names(world=settings.world)
        self._api = api
        self._nodes = {node.name: node for node in settings.nodes}
        self._pods = {node.name: Reflector(client, Pod, fields=f"spec.nodeName={node.name}") for node in settings.nodes}
        self._fabric = fabric
        self._slots = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._leaving: dict[str, asyncio.Event] = {}
        self._veths: set[tuple[str, str]] = set()
        self._folder = Path(settings.folder)
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Never returns."""
        sandboxes.kept(self._folder).mkdir(parents=True, exist_ok=True)
        async with asyncio.TaskGroup() as tasks:
            for node in self._nodes.values():
                tasks.create_task(beat(node, self._api, pods=self._settings.pods_per_node))
            for found in self._known().values():
                self._leaving[found.uid] = asyncio.Event()
                tasks.create_task(self._live(found.pod, found.uid, found.node, hold=False, known=found))
            for name, pods in self._pods.items():
                pods.subscribe(lambda change, node=name: self._hear(change, node, tasks))  # type: ignore[misc]
                pods.after_list(lambda node=name: self._forget_unlisted(node))  # type: ignore[misc]
                tasks.create_task(pods.run())

    def _hear(self, change: Added[Pod] | Modified[Pod] | Removed[Pod], node: str, tasks: asyncio.TaskGroup) -> None:
        pod = change.object
        uid = pod.metadata.uid or ""
        if isinstance(change, Removed) or pod.metadata.deletion_timestamp:
            if (leaving := self._leaving.get(uid)) is not None:
                leaving.set()
                return
            if isinstance(change, Removed):
                return
        if uid in self._leaving or pod.status.phase in ("Succeeded", "Failed"):
            return
        self._leaving[uid] = asyncio.Event()
        if pod.metadata.deletion_timestamp:
            self._leaving[uid].set()
        key = f"{pod.metadata.namespace}/{pod.metadata.name}"
        hold = HOLD in pod.metadata.annotations
        tasks.create_task(self._live(key, uid, node, hold=hold, host_network=pod.spec.host_network))

    def _forget_unlisted(self, node: str) -> None:
        """Sandboxes whose pod vanished while nobody watched."""
        present = {pod.metadata.uid for pod in self._pods[node].store.items()}
        for found in self._known().values():
            if found.node == node and found.uid not in present:
                self._leaving[found.uid].set()

    async def _live(
        self, pod: str, uid: str, node: str, *, hold: bool, host_network: bool = False, known: Sandbox | None = None
    ) -> None:
        """The whole life of one pod."""
        leaving = self._leaving[uid]
        box: Sandbox | None = known
        try:
            if not host_network and not leaving.is_set():
                if hold:
                    await _either(self._released(), leaving)
                box = box or await self._start(pod, uid, node, leaving)
            web = await self._serve(box) if box is not None else None
            if not leaving.is_set():
                await self._report(pod, uid, node, box, leaving)
            await leaving.wait()
            if web is not None:
                web.kill()
                await web.wait()
            if box is not None:
                await self._stop(box)
            await self._gone(pod, uid)
        finally:
            del self._leaving[uid]

    async def _released(self) -> None:
        while not (self._folder / "release").exists():  # noqa: ASYNC110 - another process makes the file
            await asyncio.sleep(0.05)

    async def _start(self, pod: str, uid: str, node: str, leaving: asyncio.Event) -> Sandbox | None:
        """Sandbox after sandbox until one gets its network; None if the pod is to go before."""
        failures = 0
        while not leaving.is_set():
            box = self._new_sandbox(pod, uid, node, failures)
            sandboxes.keep(self._folder, box)
            await sandboxes.make(box)
            began = time.monotonic()
            try:
                async with self._slots:
                    result = await self._calls(node).add(box)
            except CommandFailed as failed:
                failures += 1
                self._log.warning("add.failed", pod=pod, node=node, error=failed.text, failures=failures)
                await self._stop(box)
                await _either(asyncio.sleep(_RETRY_SECONDS), leaving)
                continue
            box = sandboxes.with_result(box, result, time.monotonic() - began)
            sandboxes.keep(self._folder, box)
            await self._tell_fabric(box, box.mac)
            self._log.info("pod.started", pod=pod, node=node, addresses=box.addresses, seconds=box.add_seconds)
            return box
        return None

    def _new_sandbox(self, pod: str, uid: str, node: str, failures: int) -> Sandbox:
        """Container ids of cnitool share their first eight characters, and a host veth is named by the first eleven.

        So the sandbox takes the first name whose veth no other sandbox of its node has.
        """
        attempt = failures
        while True:
            path = netns_path(self._names.sandbox(uid, attempt))
            veth = (node, container_id(path)[:11])
            if veth not in self._veths and not path.exists():
                self._veths.add(veth)
                return Sandbox(pod=pod, uid=uid, node=node, netns=str(path), failures=failures)
            attempt += 1

    async def _stop(self, box: Sandbox) -> None:
        """DEL until it succeeds, then the namespace."""
        while True:
            try:
                async with self._slots:
                    await self._calls(box.node).delete(box)
                break
            except CommandFailed as failed:
                self._log.warning("del.failed", pod=box.pod, node=box.node, error=failed.text)
                await asyncio.sleep(_RETRY_SECONDS)
        await self._tell_fabric(box, None)
        await sandboxes.unmake(box)
        self._veths.discard((box.node, container_id(Path(box.netns))[:11]))
        sandboxes.forget(self._folder, box)
        self._log.info("pod.stopped", pod=box.pod, node=box.node)

    async def _serve(self, box: Sandbox) -> asyncio.subprocess.Process:
        """The pod's one program: answers port 80 with the pod's name. It dies with us."""
        root = self._folder / "www" / box.uid
        root.mkdir(parents=True, exist_ok=True)
        (root / "index.html").write_text(box.pod + "\n")
        return await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", box.name),
            *(self._settings.busybox, "httpd", "-f", "-p", "80", "-h", str(root)),
            stdin=asyncio.subprocess.DEVNULL,
        )

    async def _report(self, pod: str, uid: str, node: str, box: Sandbox | None, leaving: asyncio.Event) -> None:
        """Running and Ready, as soon as the API server listens."""
        while not leaving.is_set():
            try:
                found = await self._api.get(_path(pod))
                if found["metadata"]["uid"] == uid:
                    address = self._nodes[node].address
                    body = statuses.running(
                        found, addresses=box.addresses if box else [address], host=address, now=now()
                    )
                    await self._api.patch(_path(pod) + "/status", body)
            except ApiError as error:
                if error.status == 404:
                    return
                self._log.warning("status.failed", pod=pod, error=str(error))
                await _either(asyncio.sleep(_RETRY_SECONDS), leaving)
            else:
                return

    async def _gone(self, pod: str, uid: str) -> None:
        """The object itself; another pod of that name is left alone."""
        while True:
            try:
                await self._api.delete(_path(pod), {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
            except ApiError as error:
                if error.status in (404, 409):
                    return
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _tell_fabric(self, box: Sandbox, mac: str | None) -> None:
        """A macvlan pod has a MAC of its own, which a cloud would refuse and the fabric must be told."""
        if not box.addresses:
            return
        try:
            await self._fabric.patch_macs(dict.fromkeys(box.addresses, mac))
        except CloudRefused as refused:
            if mac is not None:  # an address may be back at the cloud before its pod's end is told
                self._log.warning("fabric.refused", pod=box.pod, error=str(refused))

    def _calls(self, name: str) -> Calls:
        node = self._nodes[name]
        return Calls(
            cnitool=self._settings.cnitool,
            cni_path=self._settings.cni_path,
            configuration=node.cni_configuration,
            network=self._names.cni_network,
            socket=node.socket,
            spool=node.spool,
        )

    def _known(self) -> Mapping[str, Sandbox]:
        return sandboxes.read_all(self._folder)


async def _either(wait: Any, event: asyncio.Event) -> None:  # noqa: ANN401 - any awaitable
    """Until ``wait`` ends or ``event`` is set."""
    tasks = [asyncio.ensure_future(wait), asyncio.ensure_future(event.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _path(pod: str) -> str:
    namespace, _, name = pod.partition("/")
    return f"/api/v1/namespaces/{namespace}/pods/{name}"


async def _main(settings: Settings) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    kubeconfig = Path(settings.kubeconfig)
    api = Api.connect(kubeconfig, user_agent="world-runner")
    client = KubeClient.connect(kubeconfig, user_agent="world-runner")
    fabric = Fabric(settings.fabric)
    try:
        await Runner(settings, api, client, fabric).run()
    except asyncio.CancelledError:
        structlog.get_logger().info("runner.stopped")
    finally:
        await api.close()
        await client.close()
        await fabric.close()


if __name__ == "__main__":
    logging.configure("world-runner")
    asyncio.run(_main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)))
