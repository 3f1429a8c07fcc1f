"""A Debian kernel in QEMU, its processors emulated, on the host's own files (read-only; writes stay in its memory).

Nothing outlives the test run: when the run ends, even by SIGKILL, the lifeline breaks and the guest powers off.
``python -m lab.guest COMMAND...`` boots one for a single command.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.progress import Note, step
from lab import folder, inside, kernel
from lab.folder import ROOT
from lab.kernel import Kernel, NoKernel
from lab.machine import CommandFailed, Endpoint, background, last_words

MODULES = (
    *("virtio_net", "ipvlan", "macvlan", "veth", "bridge", "dummy"),
    *("nf_tables", "nf_conntrack", "nf_nat", "nft_ct", "nft_nat", "nft_masq", "nft_redir", "nft_chain_nat"),
    *("nft_fib_inet", "nft_reject_inet", "nft_limit", "nft_log", "nft_quota"),
)
"""Loaded at boot: programs ask for most of these by themselves, but each such request costs the guest half a second."""

_COMMANDS_PORT = 7000
_SERVER_PORT = 7001
_BOOT_SECONDS = 120.0
_POWER_OFF_SECONDS = 5.0


class GuestLost(Exception):
    """The guest did not boot, or is gone; the text ends with what its console showed last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ports:
    """On this host's loopback."""

    commands: int
    server: int


class Guest:
    """A booted guest: a ``lab.machine.Machine``. ``limit_seconds`` after its boot began it is killed, whatever runs."""

    host = "10.0.2.2"
    slowness = 30.0

    def __init__(self, place: Path, ports: _Ports, token: str, qemu: subprocess.Popen[bytes]) -> None:
        self._console = place / "console.log"
        self._ports = ports
        self._token = token
        self._qemu = qemu
        self._lifeline: socket.socket | None = None
        self._overdue = False

    @classmethod
    @contextlib.contextmanager
    def booted(cls, *, limit_seconds: float = 480.0) -> Iterator["Guest"]:
        """Raises ``GuestLost`` or ``NoKernel``."""
        found = kernel.ensure()
        place = folder.new()
        token = secrets.token_hex(16)
        (place / "token").touch(mode=0o600)
        (place / "token").write_text(token)
        ports = _Ports(commands=_free_port(), server=_free_port())
        qemu = _boot(found, place, ports)
        guest = cls(place, ports, token, qemu)
        limit = threading.Timer(limit_seconds, guest._end_overdue)
        limit.daemon = True
        try:
            with step("booting the kernel lab (about 15 s)") as note:
                guest._await_boot(note)
            limit.start()
            yield guest
        finally:
            limit.cancel()
            guest._end()

    def endpoint(self) -> Endpoint:
        """There is one, for one server at a time."""
        return Endpoint(listen=f"0.0.0.0:{_SERVER_PORT}", url=f"http://127.0.0.1:{self._ports.server}")

    async def run(
        self,
        *command: str,
        text: str = "",
        environment: Mapping[str, str] | None = None,
        heard: Callable[[str], None] | None = None,
    ) -> str:
        """See ``Machine.run``."""
        out, err = [], []
        status = None
        async for said in self._execute(command, text, environment):
            if "exit" in said:
                status = int(said["exit"])
            elif "out" in said:
                out.append(said["out"])
                if heard is not None:
                    heard(said["out"])
            else:
                err.append(said["err"])
        if status is None:
            raise self._lost(" ".join(command))
        if status:
            raise CommandFailed(command, status, "".join(err + out))
        return "".join(out)

    @contextlib.asynccontextmanager
    async def running(
        self, *command: str, log: Path, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[asyncio.Task[None]]:
        """See ``Machine.running``."""

        async def follow() -> None:
            with log.open("a") as file:
                async for said in self._execute(command, "", environment):
                    file.write(said.get("out", "") + said.get("err", ""))
                    file.flush()
            raise CommandFailed(command, None, last_words(log))

        async with background(follow()) as task:
            yield task

    async def _execute(
        self, command: tuple[str, ...], text: str, environment: Mapping[str, str] | None
    ) -> AsyncIterator[dict[str, str]]:
        request = {
            "token": self._token,
            "command": command,
            "text": text,
            "environment": {**_environment(), **(environment or {})},
            "folder": str(ROOT),
        }
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._ports.commands, limit=1 << 24)
        except OSError as gone:
            raise self._lost(" ".join(command)) from gone
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    yield json.loads(line)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _await_boot(self, note: Note) -> None:
        """Until the guest's end serves; then ties the guest's life to ours."""
        deadline = time.monotonic() + _BOOT_SECONDS
        ready = threading.Event()
        copier = threading.Thread(target=self._copy_console, args=(ready, note), name="console", daemon=True)
        copier.start()
        while not ready.wait(0.2):
            if self._qemu.poll() is not None or time.monotonic() > deadline:
                raise self._lost("boot")
        self._lifeline = socket.create_connection(("127.0.0.1", self._ports.commands), timeout=10)
        self._lifeline.sendall(json.dumps({"token": self._token, "lifeline": True}).encode() + b"\n")

    def _copy_console(self, ready: threading.Event, note: Note) -> None:
        """Through a pipe: QEMU would truncate a file of ours with each of its four consoles."""
        assert self._qemu.stdout is not None
        with self._console.open("w") as console:
            for line in self._qemu.stdout:
                text = line.decode(errors="replace").rstrip()
                console.write(text + "\n")
                console.flush()
                if text == inside.READY:
                    ready.set()
                if not ready.is_set():
                    note(text[:60])

    def _lost(self, doing: str) -> GuestLost:
        why = "its time was over" if self._overdue else "it is gone"
        return GuestLost(f"the kernel lab's guest did not finish {doing!r}: {why}.\n{last_words(self._console)}")

    def _end_overdue(self) -> None:
        self._overdue = True
        self._end()

    def _end(self) -> None:
        """Lets the guest power off, or kills exactly the processes started here: they have a group of their own."""
        if self._lifeline is not None:
            self._lifeline.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._qemu.wait(_POWER_OFF_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._qemu.pid, signal.SIGKILL)
        self._qemu.wait()


def _boot(found: Kernel, place: Path, ports: _Ports) -> subprocess.Popen[bytes]:
    script = (sys.executable, "-I", "-S", inside.__file__, str(_COMMANDS_PORT), str(place / "token"), *MODULES)
    forwards = ",".join(
        f"hostfwd=tcp:127.0.0.1:{ours}-10.0.2.15:{theirs}"
        for ours, theirs in ((ports.commands, _COMMANDS_PORT), (ports.server, _SERVER_PORT))
    )
    vng = shutil.which("vng", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if vng is None or shutil.which("qemu-system-x86_64") is None:
        raise NoKernel("vng or qemu-system-x86_64 is missing; run: make setup")
    command = [vng, "--disable-kvm", "--force-9p", "--verbose", "--user", "root", "--memory", "2G", "--cpus", "2"]
    command += [
        "--run",
        str(found.image),
        f"--qemu-opts=-netdev user,id=n0,{forwards} -device virtio-net-pci,netdev=n0",
    ]
    return subprocess.Popen(
        [*command, "--", shlex.join(script)],
        cwd=ROOT,
        env={**os.environ, **_environment(), "TMPDIR": str(place)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _environment() -> Mapping[str, str]:
    """For programs there: ours are found, nothing is written beside the sources, and no proxy stands between."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/tmp",  # noqa: S108 - the guest's own
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "LANG": "C.UTF-8",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(command: Sequence[str]) -> int:
    """Boots, runs one command, shows what it says."""

    async def run(guest: Guest) -> None:
        await guest.run(*command, heard=lambda text: print(text, end="", flush=True))

    try:
        with Guest.booted() as guest:
            asyncio.run(run(guest))
    except (CommandFailed, GuestLost, NoKernel) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["uname", "-a"]))
