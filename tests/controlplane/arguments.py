"""What each program is told: command lines and configuration, from the record of a control plane."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from controlplane import access
from controlplane.process import Process

SERVICE_CIDR = "10.96.0.0/16"

ETCD = "etcd"
APISERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"

PORTS = (ETCD, "etcd-peer", APISERVER, CONTROLLER_MANAGER, SCHEDULER)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """All that another process needs to take over a control plane; kept as ``record.json`` in its folder."""

    folder: str
    bind: str
    ports: Mapping[str, int]
    tokens: Mapping[str, str]
    programs: Mapping[str, str]
    controllers: bool
    detached: bool
    processes: tuple[Process, ...] = ()

    def file(self, name: str) -> Path:
        return Path(self.folder) / name

    def url(self, program: str) -> str:
        """Where a program answers; only the API server is for others than us."""
        address = self.bind if program == APISERVER else "127.0.0.1"
        return f"https://{f'[{address}]' if ':' in address else address}:{self.ports[program]}"

    def certificate_folder(self, program: str) -> Path:
        """Where a program puts the self-signed certificate it makes for itself."""
        return self.file(f"{program}-certificates")

    def kubeconfig(self, user: str) -> Path:
        return self.file(f"kubeconfig-{user.replace(':', '-')}")


def etcd(record: Record) -> Sequence[str]:
    client, peer = f"http://127.0.0.1:{record.ports[ETCD]}", f"http://127.0.0.1:{record.ports['etcd-peer']}"
    return [
        "--name=underlay",
        f"--data-dir={record.file('etcd')}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=underlay={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver(record: Record) -> Sequence[str]:
    key = record.file("service-accounts.key")
    arguments = [
        f"--etcd-servers=http://127.0.0.1:{record.ports[ETCD]}",
        f"--bind-address={record.bind}",
        f"--advertise-address={record.bind}",
        f"--secure-port={record.ports[APISERVER]}",
        f"--cert-dir={record.certificate_folder(APISERVER)}",
        "--endpoint-reconciler-type=none",  # on loopback there is no address to publish
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        f"--token-auth-file={record.file('tokens.csv')}",
        "--authorization-mode=RBAC",
        f"--audit-policy-file={record.file('audit-policy.json')}",
        f"--audit-log-path={record.file('audit.log')}",
        "--profiling=false",
    ]
    if not record.controllers:
        arguments.append("--disable-admission-plugins=ServiceAccount")  # nobody would make the accounts it asks for
    return arguments


def controller_manager(record: Record) -> Sequence[str]:
    return [
        f"--kubeconfig={record.kubeconfig(access.CONTROLLER_MANAGER)}",
        "--bind-address=127.0.0.1",
        f"--secure-port={record.ports[CONTROLLER_MANAGER]}",
        f"--cert-dir={record.certificate_folder(CONTROLLER_MANAGER)}",
        f"--service-account-private-key-file={record.file('service-accounts.key')}",
        f"--root-ca-file={record.certificate_folder(APISERVER) / 'apiserver.crt'}",
        "--leader-elect=false",
        "--kube-api-qps=500",  # the default of 20 is what a run with hundreds of pods would measure
        "--kube-api-burst=1000",
    ]


def scheduler(record: Record) -> Sequence[str]:
    """Reads ``scheduler.json``, which holds ``scheduler_configuration``."""
    return [
        f"--config={record.file('scheduler.json')}",
        "--bind-address=127.0.0.1",
        f"--secure-port={record.ports[SCHEDULER]}",
        f"--cert-dir={record.certificate_folder(SCHEDULER)}",
    ]


def scheduler_configuration(record: Record) -> Mapping[str, object]:
    kubeconfig = str(record.kubeconfig(access.SCHEDULER))
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig, "qps": 500, "burst": 1000},
        "leaderElection": {"leaderElect": False},
    }
