"""One node of a real API server with an agent on it: objects, calls over the agent's socket, what the operator
would write.
"""

import asyncio
import re
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec

from support import leftovers
from support.kernel import FakeKernel
from underlay.cni import frames
from underlay.cni.frames import Call
from underlay.cni.main import run
from underlay.cni.settings import Settings
from underlay.core.api.ippool import MAC_ANNOTATION, NODE_LABEL, SpiderIPPool, SpiderIPPoolSpec
from underlay.core.api.kubernetes import Node, Pod
from underlay.core.api.meta import ObjectMeta
from underlay.core.api.nodenetwork import OPERATOR_MANAGER, SpiderNodeNetwork, SpiderNodeNetworkSpec
from underlay.core.identity import node_label_value
from underlay.core.kube.client import KubeClient
from underlay.core.runtime.checkpoints import Checkpoint, passing

MACS = ("02:00:0a:00:00:01", "02:00:0a:00:00:02", "02:00:0a:00:00:03")
PROVIDER_ID = "aws:///zone-a/i-1"


class Crash(BaseException):
    """The process ends here: nothing that handles errors may run."""


class Refused(Exception):
    """A CNI call that answered an error."""

    def __init__(self, code: int, msg: str, details: str) -> None:
        self.code = code
        self.msg = msg
        self.details = details
        super().__init__(f"{code}: {msg} {details}")


class NodeUnderTest:
    """``folder`` holds the agent's files and the pods' namespaces (plain files, which the fake kernel takes for
    them).
    """

    def __init__(self, name: str, client: KubeClient, kubeconfig: Path, folder: Path) -> None:
        self.name = name
        self.client = client
        self.folder = folder
        self.kernel = FakeKernel({mac: f"eth{index}" for index, mac in enumerate(MACS)})
        (folder / "netns").mkdir(parents=True, exist_ok=True)
        self.settings = Settings(
            node_name=name,
            kubeconfig=str(kubeconfig),
            state_dir=str(folder / "state"),
            socket=str(folder / "agent.sock"),
            spool=str(folder / "spool"),
            netns_folder=str(folder / "netns"),
            add_wait_seconds=5,
        )
        self.agent: asyncio.Task[None] | None = None

    # what others write

    async def create(self, *, cooldown_seconds: int = 30) -> None:
        """The Node and its SpiderNodeNetwork."""
        node = await self.client.apply(Node, self.name, {"spec": {"providerID": PROVIDER_ID}}, manager="test")
        await self.client.create(
            SpiderNodeNetwork(
                metadata=ObjectMeta(name=self.name),
                spec=SpiderNodeNetworkSpec(
                    provider="test",
                    node_uid=node.metadata.uid or "",
                    provider_id=PROVIDER_ID,
                    network_type="macvlan",
                    cooldown_seconds=cooldown_seconds,
                ),
            )
        )

    async def pool(self, suffix: str, ips: Sequence[str], *, interface: int = 0) -> SpiderIPPool:
        """A pool of this node on one of its interfaces."""
        return await self._pool(
            suffix,
            SpiderIPPoolSpec(subnet="10.9.0.0/16", ip_version=4, gateway="10.9.0.1", ips=list(ips)),
            interface=interface,
        )

    async def pool6(
        self, suffix: str, ips: Sequence[str], *, interface: int = 0, gateway: str | None = None
    ) -> SpiderIPPool:
        """A pool of IPv6; without ``gateway`` the interface's router is to be found."""
        spec = SpiderIPPoolSpec(subnet="2001:db8:9::/64", ip_version=6, gateway=gateway, ips=list(ips))
        return await self._pool(suffix, spec, interface=interface)

    async def _pool(self, suffix: str, spec: SpiderIPPoolSpec, *, interface: int) -> SpiderIPPool:
        return await self.client.create(
            SpiderIPPool(
                metadata=ObjectMeta(
                    name=f"{self.name}-{suffix}",
                    labels={NODE_LABEL: node_label_value(self.name)},
                    annotations={MAC_ANNOTATION: MACS[interface]},
                ),
                spec=spec,
            )
        )

    async def resize(self, suffix: str, ips: Sequence[str]) -> SpiderIPPool:
        return await self.client.merge_patch(SpiderIPPool, f"{self.name}-{suffix}", {"spec": {"ips": list(ips)}})

    async def wish(self, **spec: object) -> SpiderNodeNetwork:
        """The operator changes the SpiderNodeNetwork's spec."""
        return await self.client.merge_patch(SpiderNodeNetwork, self.name, {"spec": spec})

    async def record_epoch(self, epoch: str) -> None:
        """As an earlier agent would have left it."""
        await self.client.apply(
            SpiderNodeNetwork,
            self.name,
            {"status": {"journalEpoch": epoch}},
            manager="underlay-agent",
            subresource="status",
        )

    async def pod(self, name: str, **spec: object) -> Pod:
        """A pod that the scheduler has bound here."""
        body = {
            "spec": {
                "nodeName": self.name,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": "none"}],
                **spec,
            }
        }
        return await self.client.apply(Pod, f"{self.name}-{name}", body, manager=OPERATOR_MANAGER, namespace="default")

    async def network(self) -> SpiderNodeNetwork:
        return await self.client.get(SpiderNodeNetwork, self.name)

    # the agent

    async def start(self, *, checkpoint: Checkpoint = passing, settings: Settings | None = None) -> None:
        """Start an agent and wait until it serves; raises what ended it instead."""
        ready = asyncio.Event()
        self.agent = asyncio.create_task(
            run(settings or self.settings, checkpoint=checkpoint, ready=ready.set, kernel=self.kernel)
        )
        waiting = asyncio.create_task(ready.wait())
        async with asyncio.timeout(20):
            await asyncio.wait((self.agent, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.agent.done():
            agent, self.agent = self.agent, None
            await agent

    async def stop(self) -> None:
        """End the agent, however it is doing."""
        if self.agent is not None:
            self.agent.cancel()
            await asyncio.wait((self.agent,))
            if not self.agent.cancelled():
                self.agent.exception()
            self.agent = None
        leftovers.collect()

    def point_at(self, url: str) -> None:
        """The next agent finds the API server at ``url``."""
        kubeconfig = self.folder / "kubeconfig"
        original = Path(self.settings.kubeconfig).read_text()
        kubeconfig.write_text(re.sub(r"https://127.0.0.1:\d+", url, original))
        self.settings = msgspec.structs.replace(self.settings, kubeconfig=str(kubeconfig))

    # a runtime

    def netns(self, container: str) -> Path:
        path = self.folder / "netns" / container
        path.touch()
        return path

    def environment(self, command: str, pod: str, container: str, ifname: str = "eth0") -> dict[str, str]:
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": str(self.folder / "netns" / container),
            "CNI_IFNAME": ifname,
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={self.name}-{pod}",
        }

    async def call(self, command: str, pod: str, container: str, **config: object) -> dict[str, Any]:
        """One CNI call over the socket. Raises ``Refused``, or ``ConnectionError`` when the agent ended during it."""
        body = msgspec.json.encode({"cniVersion": "1.0.0", "name": "underlay", "type": "underlay", **config})
        frame = Call(environment=self.environment(command, pod, container), stdin=body, deadline_seconds=60)
        status, stdout = await self.exchange(frames.render_call(frame))
        answer: dict[str, Any] = msgspec.json.decode(stdout) if stdout else {}
        if status:
            raise Refused(answer["code"], answer["msg"], answer.get("details", ""))
        return answer

    async def exchange(self, frame: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_unix_connection(self.settings.socket)
        try:
            writer.write(frame)
            async with asyncio.timeout(40):
                answer = await reader.read()
        finally:
            writer.close()
        if not answer:
            raise ConnectionError("the agent closed without an answer")
        return frames.parse_answer(answer)

    async def add(self, pod: str, container: str, **config: object) -> IPv4Address:
        """ADD into a fresh namespace; the address."""
        return IPv4Address((await self.add_any(pod, container, **config)).partition("/")[0])

    async def add_any(self, pod: str, container: str, **config: object) -> str:
        """ADD into a fresh namespace; the first address with its mask, of whichever family."""
        self.netns(container)
        answer = await self.call("ADD", pod, container, **config)
        first: str = answer["ips"][0]["address"]
        return first

    async def delete(self, pod: str, container: str) -> None:
        """DEL, and the runtime removes the namespace."""
        await self.call("DEL", pod, container)
        self.kernel.remove_namespace(str(self.folder / "netns" / container))

    def spool(self, pod: str, container: str) -> None:
        """What the launcher leaves when no agent answers."""
        frame = Call(environment=self.environment("DEL", pod, container), stdin=b"{}", deadline_seconds=60)
        folder = Path(self.settings.spool)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"1-{container}-eth0.del").write_bytes(frames.render_call(frame))

    def spooled(self) -> list[Path]:
        return list(Path(self.settings.spool).iterdir())
