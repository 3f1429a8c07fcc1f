"""The launcher as a runtime meets it: the real static binary, with an agent, without, and with one that makes no
sense.
"""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from underlay.cni import frames
from underlay.cni.frames import Call
from underlay.cni.protocol import SUPPORTED_VERSIONS, parse_spooled

SOURCE = Path(__file__).parents[2] / "cni" / "underlay" / "cni" / "launcher"
CONFIG = b'{"cniVersion":"1.0.0","name":"net","type":"underlay"}'
COMPLETE = {
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launcher")
    subprocess.run(["make", "-s", "-C", SOURCE, f"BUILD={folder}"], check=True, capture_output=True)
    return folder / "underlay"


class Runtime:
    """Executes the launcher with exactly the given environment."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = program
        self.socket = folder / "agent.sock"
        self.spool = folder / "state" / "spool"

    def run(
        self, command: str | None, *, without: tuple[str, ...] = (), stdin: bytes = CONFIG, **more: str
    ) -> subprocess.CompletedProcess[bytes]:
        environment = {key: value for key, value in COMPLETE.items() if key not in without}
        environment |= {"UNDERLAY_SOCKET": str(self.socket), "UNDERLAY_SPOOL": str(self.spool), **more}
        if command is not None:
            environment["CNI_COMMAND"] = command
        return subprocess.run(
            [self.program], input=stdin, env=environment, capture_output=True, timeout=10, check=False
        )

    def error(self, command: str, **more: str) -> tuple[int, str]:
        """(code, msg) of a call that fails."""
        done = self.run(command, stdin=CONFIG, without=(), **more)
        assert done.returncode == 1
        answer = msgspec.json.decode(done.stdout)
        return answer["code"], answer["msg"]

    @contextmanager
    def agent(self, answer: Callable[[Call], bytes]) -> Iterator[list[Call]]:
        """Something that listens and answers one call with whatever bytes."""
        calls: list[Call] = []
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self.socket))
            listening.listen()

            def serve() -> None:
                connection, _ = listening.accept()
                with connection:
                    frame = b""
                    while (expected := frames.expected_length(frame)) is None or len(frame) < expected:
                        frame += connection.recv(65536)
                    calls.append(frames.parse_call(frame))
                    connection.sendall(answer(calls[0]))

            thread = threading.Thread(target=serve)
            thread.start()
            yield calls
            thread.join()


@pytest.fixture
def runtime(program: Path, tmp_path: Path) -> Runtime:
    return Runtime(program, tmp_path)


def test_version_needs_neither_agent_nor_anything_else(runtime: Runtime) -> None:
    """A runtime validates its configuration with VERSION before any agent runs (exact membership of the versions)."""
    done = runtime.run("VERSION", without=tuple(COMPLETE))

    assert done.returncode == 0
    assert msgspec.json.decode(done.stdout) == {
        "cniVersion": "1.1.0",
        "supportedVersions": list(SUPPORTED_VERSIONS),
    }


def test_run_by_hand_it_says_what_it_is(runtime: Runtime) -> None:
    """No CNI_COMMAND: about and versions on stderr, exit 0, nothing on stdout."""
    done = runtime.run(None)

    assert (done.returncode, done.stdout) == (0, b"")
    assert b"CNI plugin underlay" in done.stderr
    assert all(version.encode() in done.stderr for version in SUPPORTED_VERSIONS)


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("ADD", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
        ("CHECK", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
        ("DEL", ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]),
        ("GC", ["CNI_PATH"]),
        ("STATUS", ["CNI_PATH"]),
    ],
)
def test_all_missing_variables_are_named_at_once(runtime: Runtime, command: str, needed: list[str]) -> None:
    """Code 4 and the reference skeleton's text; nothing is spooled."""
    done = runtime.run(command, without=tuple(COMPLETE))

    answer = msgspec.json.decode(done.stdout)
    assert (done.returncode, answer["code"]) == (1, 4)
    assert answer["msg"] == f"required env variables [{','.join(needed)}] missing"
    assert not runtime.spool.exists()


def test_an_unknown_command_is_refused(runtime: Runtime) -> None:
    """Code 4; whatever the variable holds, the answer is JSON."""
    assert runtime.error('a"\\\n\x01') == (4, 'unknown CNI_COMMAND: a"\\\n\x01')


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("CHECK", 11), ("STATUS", 50), ("GC", 50)])
def test_without_an_agent_only_del_succeeds(runtime: Runtime, command: str, code: int) -> None:
    """ADD and CHECK: try again later; STATUS and GC: not available; each names the socket."""
    found, message = runtime.error(command)

    assert found == code
    assert str(runtime.socket) in message


def test_without_an_agent_a_del_is_kept(runtime: Runtime) -> None:
    """Success, and one whole request frame in the spool, under its final name, with everything the agent needs."""
    done = runtime.run("DEL", CNI_ARGS="K8S_POD_NAME=p")

    assert (done.returncode, done.stdout) == (0, b"")
    [kept] = runtime.spool.iterdir()
    assert kept.name.endswith("-c1-eth0.del")
    call = frames.parse_call(kept.read_bytes())
    attachment, netns = parse_spooled(call.environment)
    assert (attachment.container_id, attachment.ifname, netns) == ("c1", "eth0", "/run/netns/x")
    assert call.stdin == CONFIG


def test_a_hostile_name_stays_within_the_spool(runtime: Runtime) -> None:
    """The container id is the caller's text: as part of a file name it cannot leave the folder."""
    runtime.run("DEL", CNI_CONTAINERID="../../../etc/x", CNI_IFNAME="a/b")

    [kept] = runtime.spool.iterdir()
    assert kept.name.endswith("-.._.._.._etc_x-a_b.del")


def test_a_del_that_cannot_be_kept_fails(runtime: Runtime) -> None:
    """Success would leak the address: the runtime is told (code 5) and tries again."""
    runtime.spool.parent.mkdir()
    runtime.spool.write_bytes(b"a file where the folder should be")

    code, message = runtime.error("DEL")

    assert code == 5
    assert "could not be kept in its spool" in message


BROKEN: Mapping[str, bytes] = {
    "nothing": b"",
    "half-a-head": b"\0\0",
    "half-an-answer": frames.render_answer(0, b"{}")[:-1],
    "another-version": b"\0\0\0\x06\x02\0\0\0{}",
    "impossible-status": b"\0\0\0\x06\x01\x07\0\0{}",
    "enormous": b"\xff\xff\xff\xff\x01\0\0\0",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_answer_is_no_answer(runtime: Runtime, broken: bytes) -> None:
    """ADD fails with 11 and DEL is kept, as if nobody had listened."""
    with runtime.agent(lambda _: broken):
        assert runtime.error("ADD")[0] == 11
    runtime.socket.unlink()
    with runtime.agent(lambda _: broken):
        assert runtime.run("DEL").returncode == 0
    assert len(list(runtime.spool.iterdir())) == 1


def test_an_agent_that_is_silent_is_given_up(runtime: Runtime) -> None:
    """After the deadline the launcher answers for itself."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(runtime.socket))
        listening.listen()

        assert runtime.error("ADD", UNDERLAY_DEADLINE_MS="100")[0] == 11


def test_the_call_reaches_the_agent_and_its_answer_the_runtime(runtime: Runtime) -> None:
    """CNI_*, UNDERLAY_* and the trace context go over, nothing else of the environment; stdout and status come back."""
    with runtime.agent(lambda _: frames.render_answer(1, b'{"code":7}')) as calls:
        done = runtime.run("ADD", TRACEPARENT="00-1", HOME="/root", CNI_ARGS="A=b", CNI_NETNS_OVERRIDE="1")

    assert (done.returncode, done.stdout) == (1, b'{"code":7}')
    [call] = calls
    assert call.stdin == CONFIG
    assert call.deadline_seconds == 110
    assert call.environment == COMPLETE | {
        "CNI_COMMAND": "ADD",
        "CNI_ARGS": "A=b",
        "CNI_NETNS_OVERRIDE": "1",
        "TRACEPARENT": "00-1",
        "UNDERLAY_SOCKET": str(runtime.socket),
        "UNDERLAY_SPOOL": str(runtime.spool),
    }


def test_it_is_small_and_needs_nothing(program: Path) -> None:
    """A static program: it runs in a host's namespace whatever the host has; small, so that it starts at once."""
    described = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)

    assert "not a dynamic executable" in described.stderr + described.stdout
    assert program.stat().st_size < 1_000_000


def test_installing_replaces_a_program_that_runs(program: Path, tmp_path: Path) -> None:
    """By rename: an executing program is not written to ("text file busy"), and the new one has another inode."""
    target = tmp_path / "bin"
    words: list[str | Path] = [
        "make",
        "-s",
        "-C",
        SOURCE,
        "install",
        f"BUILD={program.parent}",
        f"CNI_BIN={target}",
        "NAMES=underlay x",
    ]
    subprocess.run(words, check=True, capture_output=True)
    first = (target / "underlay").stat().st_ino
    with subprocess.Popen(
        [target / "underlay"], stdin=subprocess.PIPE, env={"CNI_COMMAND": "GC", "CNI_PATH": "/"}
    ) as one:
        subprocess.run(words, check=True, capture_output=True)
        one.kill()

    assert (target / "underlay").stat().st_ino != first
    assert os.access(target / "x", os.X_OK)
