"""The whole story, and that nothing of it stays: after its end, Ctrl-C, a death without warning, and `down`."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from world import record
from world.commands import run
from world.names import Names
from world.world import ROOT

pytestmark = [pytest.mark.netns, pytest.mark.apiserver]

NAMES = Names(world=f"t{os.getpid()}")
FOLDER = ROOT / "build" / NAMES.world
RECORD = record.RUN_FOLDER / f"{NAMES.world}.json"


@pytest.fixture(autouse=True)
async def _clean() -> AsyncIterator[None]:
    """Whatever a failed test leaves is removed."""
    yield
    await record.remove(NAMES)
    (record.RUN_FOLDER / f"{NAMES.world}.lock").unlink(missing_ok=True)


async def test_the_demo_holds_and_leaves_nothing() -> None:
    """All scenes hold (exit code 0), and no namespace, link, process or folder of it stays."""
    code, said = await _end_of(await _start("demo"))

    assert code == 0, said
    assert "Everything held" in said
    assert await _left() == []


async def test_an_interrupted_demo_leaves_nothing() -> None:
    """Ctrl-C while pods are being started ends it with its own code, and nothing stays."""
    demo = await _start("demo")
    await _until_says(demo, "Deployment of 12 pods")
    demo.send_signal(signal.SIGINT)
    code, _ = await _end_of(demo)

    assert code == 128 + signal.SIGINT
    assert await _left() == []


async def test_down_removes_what_a_killed_demo_left() -> None:
    """After SIGKILL no process of the world runs on, and `down` removes its namespaces and links."""
    demo = await _start("demo")
    await _until_says(demo, "Deployment of 12 pods")
    known = record.load(NAMES.world)
    assert known is not None
    demo.kill()
    await demo.wait()

    assert [process.name for process in known.processes if not process.ends(within_seconds=10)] == []
    assert await _left() != []
    code, _ = await _end_of(await _start("down"))
    assert code == 0
    assert await _left() == []


async def test_up_leaves_a_world_that_works_and_down_removes_it() -> None:
    """What `up` writes leads kubectl to pods that run; `down` removes all of it."""
    code, said = await _end_of(await _start("up"))
    assert code == 0, said

    pods = json.loads(await run("sh", "-c", f". {FOLDER}/env && kubectl get pods -o json"))["items"]
    assert [pod["status"]["phase"] for pod in pods] == ["Running"] * 4
    columns = await run("sh", "-c", f". {FOLDER}/env && kubectl get snp,snn,sp,sib,se")
    assert all(word in columns for word in ("node-1", "node-2", "t3.medium"))
    code, _ = await _end_of(await _start("down"))
    assert code == 0
    assert await _left() == []


async def _start(verb: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "world", verb, "--name", NAMES.world),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def _until_says(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stdout is not None
    said = b""
    async with asyncio.timeout(90):
        while line := await process.stdout.readline():
            said += line
            if text in line.decode():
                return
    pytest.fail(f"it ended without saying {text!r}: {said.decode()}")


async def _end_of(process: asyncio.subprocess.Process) -> tuple[int, str]:
    try:
        async with asyncio.timeout(240):
            out, _ = await process.communicate()
    except TimeoutError:
        process.terminate()
        out, _ = await process.communicate()
        pytest.fail(f"it did not end within 240 s: {out.decode()}")
    assert process.returncode is not None
    return process.returncode, out.decode()


async def _left() -> list[str]:
    """Whatever bears the world's name on this machine."""
    namespaces = [line.split()[0] for line in (await run("ip", "netns")).splitlines() if line.strip()]
    links = [link["ifname"] for link in json.loads(await run("ip", "-j", "link"))]
    return [
        *(name for name in namespaces if NAMES.owns_namespace(name)),
        *(name for name in links if NAMES.owns_link(name)),
        *_files(),
        *_processes(),
    ]


def _files() -> list[str]:
    cached = Path("/var/lib/cni/results").glob(f"{NAMES.cni_network}-*")
    return [str(path) for path in (*cached, FOLDER, RECORD) if path.exists()]


def _processes() -> list[str]:
    """Command lines with the world's folder or one of its namespaces, or of a program that works for it by name."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(str(FOLDER) in word or word == NAMES.world or NAMES.owns_namespace(word) for word in words):
            found.append(" ".join(words))
    return found
