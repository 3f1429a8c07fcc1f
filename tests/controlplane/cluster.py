"""ControlPlane: a real etcd and kube-apiserver, and on wish kube-controller-manager and kube-scheduler.

Ready in a few seconds. etcd does not fsync: the data is thrown away with the folder. An outage of the API server is
``stop_apiserver()`` and ``start_apiserver()``: same port, same certificate, same data.
"""

import errno
import os
import random
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2
import msgspec

from controlplane import access, arguments, audit, build, crds
from controlplane.arguments import APISERVER, CONTROLLER_MANAGER, ETCD, SCHEDULER, SERVICE_CIDR, Record
from controlplane.process import Process, ProcessFailed, spawn

__all__ = ["SERVICE_CIDR", "ControlPlane", "ProcessFailed"]

_READY_WITHIN_SECONDS = 90.0
_POLL_SECONDS = 0.05
_RECORD = "record.json"


class ControlPlane:
    """A running control plane in a folder of its own, which ``stop()`` removes.

    Blocking calls, seconds at most. Processes die with the program that started them unless ``detached`` (see
    ``controlplane.process``).
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self.folder = Path(record.folder)

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        bind: str = "127.0.0.1",
        controllers: bool = False,
        users: Mapping[str, Sequence[str]] | None = None,
        detached: bool = False,
    ) -> Self:
        """Starts everything in ``folder`` (made if missing) and returns once it can be used.

        ``bind`` is the address clients reach the API server at. With ``controllers`` the controller-manager and the
        scheduler run too. ``users`` (name → groups) get tokens beside the administrator's; what they may do is left to
        RBAC objects. Missing programs are built first, which takes minutes.
        Raises ``ProcessFailed``; nothing runs and the folder is gone then.
        """
        programs = build.ensure([ETCD, APISERVER, "kubectl", *([CONTROLLER_MANAGER, SCHEDULER] if controllers else [])])
        folder.mkdir(parents=True, exist_ok=True)
        plane = cls(
            Record(
                folder=str(folder.absolute()),
                bind=bind,
                ports=_free_ports({bind, "127.0.0.1"}, arguments.PORTS),
                tokens=access.issue_tokens(folder / "tokens.csv", users or {}),
                programs={name: str(path) for name, path in programs.items()},
                controllers=controllers,
                detached=detached,
            )
        )
        try:
            plane._start()
        except BaseException:
            plane.stop()
            raise
        return plane

    @classmethod
    def attach(cls, folder: Path) -> Self:
        """The control plane that another process left running in ``folder``; FileNotFoundError if there is none."""
        return cls(msgspec.json.decode((folder / _RECORD).read_bytes(), type=Record))

    def stop(self) -> None:
        """Ends the processes and removes the folder; also when some, or all, are gone already."""
        for process in reversed(self._record.processes):
            process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Of the API server."""
        return self._record.url(APISERVER)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.kubeconfig_of(access.ADMIN)

    def kubeconfig_of(self, user: str) -> Path:
        """Of a user named when starting, or of one of those in ``controlplane.access``."""
        self.token_of(user)
        return self._record.kubeconfig(user)

    def token_of(self, user: str) -> str:
        """The bearer token that stands for ``user``; KeyError if nobody named that user when starting."""
        return self._record.tokens[user]

    @property
    def certificates(self) -> str:
        """PEM text: what the API server's certificate is checked against."""
        return self._certificates(APISERVER)

    @property
    def audit_log(self) -> Path:
        """One JSON object per request (see ``controlplane.audit``)."""
        return self._record.file("audit.log")

    @property
    def processes(self) -> Sequence[Process]:
        """What runs, in the order of starting."""
        return self._record.processes

    def program(self, name: str) -> Path:
        """Where a program that belongs to this control plane lies ("kubectl")."""
        return Path(self._record.programs[name])

    def stop_apiserver(self) -> None:
        """The outage begins: the server is killed, its clients' connections break."""
        staying = [process for process in self._record.processes if process.name != APISERVER]
        for process in self._record.processes:
            if process not in staying:
                process.kill()
        self._remember(staying)

    def start_apiserver(self) -> None:
        """The outage ends: returns once the server is ready again."""
        self._spawn(APISERVER, arguments.apiserver(self._record))
        self._await_healthy(APISERVER, "/readyz")

    def restart_apiserver(self) -> None:
        """An outage as short as can be."""
        self.stop_apiserver()
        self.start_apiserver()

    def kubectl(self, *words: str | Path, stdin: str | None = None) -> str:
        """What the real kubectl prints, run as administrator; ProcessFailed with its words if it refuses."""
        command = [self.program("kubectl"), f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.folder / 'kubectl'}"]
        done = subprocess.run(
            [*map(str, command), *map(str, words)],
            env=_environment(),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ProcessFailed(f"kubectl {' '.join(map(str, words))}: {done.stderr.strip()}")
        return str(done.stdout)

    def install_crds(self, folder: Path) -> None:
        """Applies every manifest in ``folder`` and returns once the server serves the new kinds."""
        files = [f"--filename={file}" for file in sorted(folder.glob("*.yaml"))]
        if not files:
            return
        self.kubectl("apply", "--server-side", "--force-conflicts", *files)
        self.kubectl("wait", "--for=condition=Established", "--timeout=30s", *files)
        # "Established" is said a moment before the new path answers.
        for path in crds.served_paths(self.kubectl("get", "--raw", crds.PATH)):
            self._await_answer(path)

    def _start(self) -> None:
        record = self._record
        access.generate_service_account_key(record.file("service-accounts.key"))
        record.file("audit-policy.json").write_bytes(msgspec.json.encode(audit.POLICY))
        record.file("scheduler.json").write_bytes(msgspec.json.encode(arguments.scheduler_configuration(record)))
        self._spawn(ETCD, arguments.etcd(record))
        self.start_apiserver()
        for user, token in record.tokens.items():
            file = record.kubeconfig(user)
            access.write_kubeconfig(file, url=self.url, certificates=self.certificates, user=user, token=token)
        if record.controllers:
            self._spawn(CONTROLLER_MANAGER, arguments.controller_manager(record))
            self._spawn(SCHEDULER, arguments.scheduler(record))
            self._await_healthy(CONTROLLER_MANAGER, "/healthz")
            self._await_healthy(SCHEDULER, "/healthz")
            self._await_answer("/api/v1/namespaces/default/serviceaccounts/default")  # without it no pod is admitted
        # These come a moment after readiness, and clients rely on them.
        self._await_answer("/api/v1/namespaces/default")
        self._await_answer("/api/v1/namespaces/kube-system")

    def _spawn(self, name: str, words: Sequence[str]) -> None:
        process = spawn(
            [self.program(name), *words],
            name=name,
            log=self._record.file(f"{name}.log"),
            detached=self._record.detached,
            environment=_environment(),
        )
        self._remember([*self._record.processes, process])

    def _remember(self, processes: Sequence[Process]) -> None:
        self._record = msgspec.structs.replace(self._record, processes=tuple(processes))
        new = self._record.file(f"{_RECORD}.new")
        new.touch(mode=0o600)
        new.write_bytes(msgspec.json.encode(self._record))
        new.replace(self._record.file(_RECORD))

    def _certificates(self, program: str) -> str:
        """Empty before the program has made them."""
        files = list(self._record.certificate_folder(program).glob("*.crt"))
        return files[0].read_text() if files else ""

    def _await_healthy(self, program: str, path: str) -> None:
        self._await(f"{program} is ready", partial(self._is_ok, program, path))

    def _await_answer(self, path: str) -> None:
        self._await(f"the API server knows {path}", partial(self._is_ok, APISERVER, path))

    def _is_ok(self, program: str, path: str) -> bool:
        token = self.token_of(access.ADMIN) if program == APISERVER else ""  # the others know no users
        return _status(self._record.url(program) + path, self._certificates(program), token) == httpx2.codes.OK

    def _await(self, what: str, holds: Callable[[], bool]) -> None:
        """Asks until ``holds``; gives up when a process ended or after a long time."""
        deadline = time.monotonic() + _READY_WITHIN_SECONDS
        while not holds():
            for process in self._record.processes:
                if not process.alive():
                    raise ProcessFailed(f"{process.name} ended; its last words:\n{process.last_words()}")
            if time.monotonic() > deadline:
                said = "\n".join(f"{process.name}:\n{process.last_words()}" for process in self._record.processes)
                raise ProcessFailed(f"not within {_READY_WITHIN_SECONDS:.0f} s: {what}\n{said}")
            time.sleep(_POLL_SECONDS)


def _status(url: str, certificates: str, token: str) -> int:
    """Of a GET; 0 when nobody answers, or not yet with a certificate."""
    if not certificates:
        return 0
    try:
        context = ssl.create_default_context(cadata=certificates)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with httpx2.Client(verify=context, headers=headers, trust_env=False, timeout=5) as client:
            return int(client.get(url).status_code)
    except (httpx2.TransportError, ssl.SSLError):
        return 0  # SSLError: the certificate is being written


def _environment() -> dict[str, str]:
    """Ours without proxies: everything here talks to this machine only."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def _free_ports(addresses: set[str], names: Sequence[str]) -> dict[str, int]:
    """A port for each name, free on all ``addresses``.

    Below the range of ephemeral ports: a client that knocks during an outage could be given the very port it knocks at
    as its own, and would then keep the server from coming back.
    """
    lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = random.sample(range(10_000, max(lowest_ephemeral, 12_000)), 200)
    free = (port for port in candidates if all(_is_free(address, port) for address in addresses))
    ports = dict(zip(names, free, strict=False))
    if len(ports) < len(names):
        raise ProcessFailed(f"no {len(names)} free ports below {lowest_ephemeral} on {', '.join(sorted(addresses))}")
    return ports


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, port))
        except OSError as problem:
            return problem.errno != errno.EADDRINUSE  # whatever else is wrong, the program will say it better
    return True
