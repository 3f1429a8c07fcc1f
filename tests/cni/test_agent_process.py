"""The real process, launcher, datapath and API server: an agent in a network namespace that plays the node."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from controlplane.cluster import ControlPlane
from support.node import MACS, NodeUnderTest
from underlay.cni.errors import Code
from underlay.core.kube.client import KubeClient

pytestmark = [pytest.mark.apiserver, pytest.mark.netns]

ROOT = Path(__file__).parents[2]
PREFIX = f"ag{os.getpid() % 100_000}"
HOST_ADDRESS = "172.31.77.1"
_numbers = itertools.count()


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@contextmanager
def namespace(name: str) -> Iterator[str]:
    ip("netns", "add", name)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.fixture
def machine() -> Iterator[str]:
    """A namespace with a way to the API server and one link that pods may rest on."""
    with ExitStack() as stack:
        node = stack.enter_context(namespace(f"{PREFIX}-node"))
        far = stack.enter_context(namespace(f"{PREFIX}-far"))
        ip("link", "add", f"{PREFIX}h", "type", "veth", "peer", "name", "mgmt", "netns", node)
        ip("addr", "add", f"{HOST_ADDRESS}/24", "dev", f"{PREFIX}h")
        ip("link", "set", f"{PREFIX}h", "up")
        ip("-n", node, "addr", "add", "172.31.77.2/24", "dev", "mgmt")
        ip("-n", node, "link", "set", "mgmt", "up")
        ip("-n", node, "link", "set", "lo", "up")
        ip("-n", node, "link", "add", "eth1", "address", MACS[0], "type", "veth", "peer", "name", "p", "netns", far)
        ip("-n", far, "link", "set", "p", "up")
        yield node


class Process:
    """``underlay-agent`` in the node's namespace, and the launcher as a runtime would execute it."""

    def __init__(self, machine: str, node: NodeUnderTest, launcher: Path) -> None:
        self.machine = machine
        self.node = node
        self.launcher = launcher
        self.running: asyncio.subprocess.Process | None = None
        settings = {"nodeName": node.name, "kubeconfig": node.settings.kubeconfig, "addWaitSeconds": 5}
        settings |= {"stateDir": node.settings.state_dir, "socket": node.settings.socket, "spool": node.settings.spool}
        settings |= {"netnsFolder": str(node.folder / "netns"), "serviceCIDRs": ["10.96.0.0/16"]}
        self.config = node.folder / "agent.json"
        self.config.write_bytes(msgspec.json.encode(settings))

    async def start(self) -> None:
        words = ["netns", "exec", self.machine, str(ROOT / ".venv/bin/underlay-agent"), "--config", str(self.config)]
        self.running = await asyncio.create_subprocess_exec("ip", *words, stderr=asyncio.subprocess.PIPE)
        assert self.running.stderr is not None
        async with asyncio.timeout(20):
            while b"agent.ready" not in (line := await self.running.stderr.readline()):
                assert line, "the agent ended before it was ready"

    async def end(self, number: signal.Signals) -> int:
        assert self.running is not None
        self.running.send_signal(number)
        async with asyncio.timeout(10):
            await self.running.communicate()
        status, self.running = self.running.returncode, None
        return -1 if status is None else status

    async def call(self, command: str, pod: str, netns: str) -> dict[str, object]:
        environment = self.node.environment(command, pod, netns) | {
            "CNI_NETNS": f"/run/netns/{netns}",
            "UNDERLAY_SOCKET": self.node.settings.socket,
            "UNDERLAY_SPOOL": self.node.settings.spool,
        }
        config = b'{"cniVersion":"1.1.0","name":"underlay","type":"underlay"}'
        done = await asyncio.to_thread(
            subprocess.run, [self.launcher], env=environment, input=config, capture_output=True, timeout=30, check=False
        )
        answer: dict[str, object] = json.loads(done.stdout or b"{}")
        assert done.returncode == ("code" in answer)
        return answer


@pytest.fixture
async def process(machine: str, tmp_path: Path) -> AsyncIterator[Process]:
    build = tmp_path / "build"
    words = ["make", "-s", "-C", str(ROOT / "cni/underlay/cni/launcher"), f"BUILD={build}"]
    subprocess.run(words, check=True, capture_output=True)  # noqa: ASYNC221 - nothing else runs yet
    with ControlPlane.start(tmp_path / "controlplane", bind=HOST_ADDRESS) as plane:
        plane.install_crds(ROOT / "charts/underlay/crds")
        async with KubeClient.connect(plane.kubeconfig, user_agent="test-process/1") as client:
            node = NodeUnderTest(f"process-{next(_numbers)}", client, plane.kubeconfig, tmp_path / "node")
            await node.create(cooldown_seconds=1)
            process = Process(machine, node, build / "underlay")
            yield process
            if process.running is not None:
                await process.end(signal.SIGKILL)


def addresses(netns: str) -> dict[str, list[str]]:
    """Interface → IPv4 addresses, as the kernel has them."""
    links = json.loads(ip("-n", netns, "-j", "-4", "addr"))
    return {link["ifname"]: [item["local"] for item in link["addr_info"]] for link in links if link["ifname"] != "lo"}


async def test_the_life_of_an_agent(process: Process) -> None:
    """Pods get real addresses and ping; SIGKILL, a DEL kept meanwhile, a new agent goes on; SIGTERM ends it with 0."""
    node = process.node
    await node.pool("a", ["10.9.0.10-10.9.0.12"])
    await node.pod("one")
    await node.pod("two")
    with namespace(f"{PREFIX}-one") as one, namespace(f"{PREFIX}-two") as two:
        await process.start()

        first = await process.call("ADD", "one", one)
        second = await process.call("ADD", "two", two)

        assert [item["address"] for item in first["ips"]] == ["10.9.0.10/16"]  # type: ignore[attr-defined]
        assert [item["address"] for item in second["ips"]] == ["10.9.0.11/16"]  # type: ignore[attr-defined]
        assert addresses(one)["eth0"] == ["10.9.0.10"]
        ip("netns", "exec", one, "ping", "-c", "1", "-W", "2", "10.9.0.11")
        again = await process.call("ADD", "one", one)
        assert again["code"] == Code.INVALID_ENVIRONMENT

        await process.end(signal.SIGKILL)
        assert (await process.call("ADD", "one", one))["code"] == Code.TRY_AGAIN
        assert await process.call("DEL", "one", one) == {}
        ip("netns", "delete", one)
        ip("netns", "add", one)
        await process.start()
        third = await process.call("ADD", "one", one)

        assert [item["address"] for item in third["ips"]] == ["10.9.0.12/16"]  # type: ignore[attr-defined]
        assert node.spooled() == []
        print("RSS MiB:", _rss_mib(process))
        assert await process.call("DEL", "two", two) == {}
        assert await process.call("DEL", "two", two) == {}
        assert "eth0" not in {name for name, found in addresses(two).items() if found}
        assert await process.end(signal.SIGTERM) == 0


def _rss_mib(process: Process) -> float:
    assert process.running is not None
    status = Path(f"/proc/{process.running.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        pytest.param({}, "nodeName", id="no-node"),
        pytest.param({"nodeName": "n", "addWait": 1}, "addWait", id="misspelt"),
        pytest.param({"nodeName": "n", "kubeconfig": "/nowhere"}, "/nowhere", id="no-kubeconfig"),
    ],
)
async def test_settings_that_cannot_work_are_one_sentence(
    settings: dict[str, object], named: str, tmp_path: Path
) -> None:
    """The agent ends at once with a line that names the setting; no stack trace."""
    (tmp_path / "agent.json").write_bytes(msgspec.json.encode(settings | {"stateDir": str(tmp_path / "state")}))
    words = [str(ROOT / ".venv/bin/underlay-agent"), "--config", str(tmp_path / "agent.json")]

    agent = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE)
    _, complaint = await agent.communicate()

    assert agent.returncode == 1
    assert named in complaint.decode()
    assert "Traceback" not in complaint.decode()
