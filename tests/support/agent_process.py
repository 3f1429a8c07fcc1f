"""The agent as a process in a network namespace that plays the node, and the launcher as a runtime executes it.

machine  mgmt 172.31.77.2 ── the host's end, where the API server listens
         eth1             ── the link that pods rest on (macvlan), with nothing behind it
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from controlplane.cluster import ControlPlane
from support.node import MACS, NodeUnderTest
from underlay.core.api.kubernetes import Node
from underlay.core.kube.client import KubeClient

ROOT = Path(__file__).parents[2]
PREFIX = f"ag{os.getpid() % 100_000}"
HOST_ADDRESS = "172.31.77.1"
NODE_ADDRESS = "172.31.77.2"
CONFIG: Mapping[str, object] = {"cniVersion": "1.1.0", "name": "underlay", "type": "underlay"}


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@contextmanager
def namespace(name: str) -> Iterator[str]:
    ip("netns", "add", name)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@contextmanager
def machine() -> Iterator[str]:
    """A namespace with a way to the API server and one link that pods may rest on."""
    with ExitStack() as stack:
        node = stack.enter_context(namespace(f"{PREFIX}-node"))
        far = stack.enter_context(namespace(f"{PREFIX}-far"))
        ip("link", "add", f"{PREFIX}h", "type", "veth", "peer", "name", "mgmt", "netns", node)
        ip("addr", "add", f"{HOST_ADDRESS}/24", "dev", f"{PREFIX}h")
        ip("link", "set", f"{PREFIX}h", "up")
        ip("-n", node, "addr", "add", f"{NODE_ADDRESS}/24", "dev", "mgmt")
        ip("-n", node, "link", "set", "mgmt", "up")
        ip("-n", node, "link", "set", "lo", "up")
        ip("-n", node, "link", "add", "eth1", "address", MACS[0], "type", "veth", "peer", "name", "p", "netns", far)
        ip("-n", far, "link", "set", "p", "up")
        stack.callback(_remove_sandboxes)
        yield node


def _remove_sandboxes() -> None:
    for left in Path("/run/netns").glob(f"{PREFIX}-s*"):
        ip("netns", "delete", left.name)


def built_launcher(folder: Path) -> Path:
    words = ["make", "-s", "-C", str(ROOT / "cni/underlay/cni/launcher"), f"BUILD={folder}"]
    subprocess.run(words, check=True, capture_output=True)
    return folder / "underlay"


def addresses(netns: str) -> dict[str, list[str]]:
    """Interface → IPv4 addresses, as the kernel has them."""
    links = json.loads(ip("-n", netns, "-j", "-4", "addr"))
    return {link["ifname"]: [item["local"] for item in link["addr_info"]] for link in links if link["ifname"] != "lo"}


class AgentProcess:
    """One node's agent: started and killed as often as a test likes. ``died_at`` is where the last one killed itself,
    as "label pass N".
    """

    def __init__(self, machine: str, node: NodeUnderTest, launcher: Path) -> None:
        self.machine = machine
        self.node = node
        self.launcher = launcher
        self.running: asyncio.subprocess.Process | None = None
        self.died_at = ""
        settings = {"nodeName": node.name, "kubeconfig": node.settings.kubeconfig, "addWaitSeconds": 5}
        settings |= {"stateDir": node.settings.state_dir, "socket": node.settings.socket, "spool": node.settings.spool}
        settings |= {"netnsFolder": str(node.folder / "netns"), "serviceCIDRs": ["10.96.0.0/16"]}
        self.config = node.folder / "agent.json"
        self.log = node.folder / "agent.log"
        self.config.write_bytes(msgspec.json.encode(settings))

    async def start(self) -> None:
        """As its users start it; returns once it serves."""
        with self.log.open("ab") as log:
            begins = log.tell()
            words = [str(ROOT / ".venv/bin/underlay-agent"), "--config", str(self.config)]
            self.running = await self._spawn(words, stderr=log)
        async with asyncio.timeout(20):
            while b"agent.ready" not in self.log.read_bytes()[begins:]:
                assert self.running.returncode is None, "the agent ended before it was ready"
                await asyncio.sleep(0.02)

    async def start_to_die(self, at: str = "", count: int = 1) -> bool:
        """One that kills itself when it passes ``at`` for the ``count``-th time; False: it did before it served."""
        words = [sys.executable, "-m", "support.killed_agent", "--config", str(self.config)]
        words += ["--at", at, "--pass", str(count)] if at else []
        with self.log.open("ab") as log:
            self.running = await self._spawn(words, stdout=asyncio.subprocess.PIPE, stderr=log)
        assert self.running.stdout is not None
        async with asyncio.timeout(20):
            line = await self.running.stdout.readline()
        if line == b"ready\n":
            return True
        assert line.startswith(b"killed at "), self.log.read_text()
        await self._buried(line)
        return False

    async def has_died(self, within_seconds: float) -> bool:
        """Whether the agent has killed itself; its last words are in ``died_at`` then."""
        if self.running is None:
            return True
        assert self.running.stdout is not None
        try:
            async with asyncio.timeout(within_seconds):
                line = await self.running.stdout.readline()
        except TimeoutError:
            return False
        assert line, f"the agent ended by itself:\n{self.log.read_text()[-4000:]}"
        await self._buried(line)
        return True

    async def kill(self) -> None:
        """Wherever it is."""
        assert await self.end(signal.SIGKILL) == -signal.SIGKILL

    async def end(self, number: signal.Signals) -> int:
        assert self.running is not None
        self.running.send_signal(number)
        async with asyncio.timeout(10):
            await self.running.communicate()
        status, self.running = self.running.returncode, None
        return -1 if status is None else status

    async def run(
        self,
        command: str,
        pod: str,
        netns: str,
        *,
        container: str = "",
        ifname: str = "eth0",
        config: bytes | Path | None = None,
        changes: Mapping[str, str | None] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """The launcher as a runtime executes it, for a sandbox whose namespace is called ``netns``.

        ``config`` is what it reads on stdin, a path: that file. ``changes`` of its environment; None: without it.
        """
        environment: dict[str, str | None] = {
            **self.node.environment(command, pod, container or netns, ifname),
            "CNI_NETNS": f"/run/netns/{netns}",
            "UNDERLAY_SOCKET": self.node.settings.socket,
            "UNDERLAY_SPOOL": self.node.settings.spool,
            **(changes or {}),
        }
        given = {key: value for key, value in environment.items() if value is not None}
        content = msgspec.json.encode(CONFIG) if config is None else config
        return await asyncio.to_thread(self._execute, given, content)

    async def call(
        self, command: str, pod: str, netns: str, *, container: str = "", ifname: str = "eth0"
    ) -> dict[str, Any]:
        """What ``run`` printed: a result, nothing, or an error with its "code"."""
        done = await self.run(command, pod, netns, container=container, ifname=ifname)
        answer: dict[str, Any] = json.loads(done.stdout or b"{}")
        assert done.returncode == ("code" in answer)
        return answer

    def _execute(self, environment: Mapping[str, str], config: bytes | Path) -> subprocess.CompletedProcess[bytes]:
        if isinstance(config, bytes):
            return subprocess.run(
                [self.launcher], env=environment, input=config, capture_output=True, timeout=30, check=False
            )
        stdin = os.open(config, os.O_RDONLY)
        try:
            return subprocess.run(
                [self.launcher], env=environment, stdin=stdin, capture_output=True, timeout=30, check=False
            )
        finally:
            os.close(stdin)

    async def _spawn(
        self, words: list[str], *, stderr: IO[bytes], stdout: int | None = None
    ) -> asyncio.subprocess.Process:
        environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
        return await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", self.machine, *words, env=environment, stdout=stdout, stderr=stderr
        )

    async def _buried(self, last_words: bytes) -> None:
        assert self.running is not None
        async with asyncio.timeout(10):
            await self.running.communicate()
        assert self.running.returncode == -signal.SIGKILL
        self.died_at, self.running = last_words.decode().removeprefix("killed at ").strip(), None


@asynccontextmanager
async def agent_on_a_node(folder: Path, name: str, *, cooldown_seconds: int) -> AsyncIterator[AgentProcess]:
    """Control plane, machine and Node; the agent is not started. Namespaces that a failed test left go at the end."""
    launcher = await asyncio.to_thread(built_launcher, folder / "build")
    with machine() as where, ControlPlane.start(folder / "controlplane", bind=HOST_ADDRESS) as plane:
        plane.install_crds(ROOT / "charts/underlay/crds")
        async with KubeClient.connect(plane.kubeconfig, user_agent="test-process/1") as client:
            node = NodeUnderTest(name, client, plane.kubeconfig, folder / "node")
            await node.create(cooldown_seconds=cooldown_seconds)
            own = {"status": {"addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}]}}
            await client.merge_patch(Node, name, own, subresource="status")
            process = AgentProcess(where, node, launcher)
            try:
                yield process
            finally:
                if process.running is not None:
                    await process.end(signal.SIGKILL)
