"""The real process, launcher, datapath and API server: an agent in a network namespace that plays the node."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from support.agent_process import PREFIX, ROOT, AgentProcess, addresses, agent_on_a_node, ip, namespace
from underlay.cni.errors import Code

pytestmark = [pytest.mark.apiserver, pytest.mark.netns]


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[AgentProcess]:
    async with agent_on_a_node(tmp_path, "process-0", cooldown_seconds=1) as process:
        yield process


async def test_the_life_of_an_agent(process: AgentProcess) -> None:
    """Pods get real addresses and ping; SIGKILL, a DEL kept meanwhile, a new agent goes on; SIGTERM ends it with 0."""
    node = process.node
    await node.pool("a", ["10.9.0.10-10.9.0.12"])
    await node.pod("one")
    await node.pod("two")
    with namespace(f"{PREFIX}-one") as one, namespace(f"{PREFIX}-two") as two:
        await process.start()

        first = await process.call("ADD", "one", one)
        second = await process.call("ADD", "two", two)

        assert [item["address"] for item in first["ips"]] == ["10.9.0.10/16"]
        assert [item["address"] for item in second["ips"]] == ["10.9.0.11/16"]
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

        assert [item["address"] for item in third["ips"]] == ["10.9.0.12/16"]
        assert node.spooled() == []
        print("RSS MiB:", _rss_mib(process))
        assert await process.call("DEL", "two", two) == {}
        assert await process.call("DEL", "two", two) == {}
        assert "eth0" not in {name for name, found in addresses(two).items() if found}
        assert await process.end(signal.SIGTERM) == 0


def _rss_mib(process: AgentProcess) -> float:
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
