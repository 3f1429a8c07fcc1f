"""The control plane itself: it serves, survives an outage, and leaves nothing behind."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from controlplane import audit
from controlplane.arguments import Record
from controlplane.cluster import ControlPlane
from controlplane.process import ProcessFailed

pytestmark = pytest.mark.apiserver


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    users = {"reader": ["readers"]}
    with ControlPlane.start(tmp_path_factory.mktemp("cluster"), controllers=True, users=users) as running:
        yield running


def test_data_survives_an_outage(plane: ControlPlane) -> None:
    """What was stored before the API server was killed is there when it is back at the same place."""
    plane.kubectl("create", "namespace", "before")
    uid = plane.kubectl("get", "namespace", "before", "--output=jsonpath={.metadata.uid}")
    url = plane.url

    plane.stop_apiserver()
    with pytest.raises(ProcessFailed, match="refused"):
        plane.kubectl("get", "namespaces")
    plane.start_apiserver()

    assert url == plane.url
    assert uid == plane.kubectl("get", "namespace", "before", "--output=jsonpath={.metadata.uid}")


def test_controllers_and_scheduler_work(plane: ControlPlane) -> None:
    """The controller-manager makes a Deployment's pods, the scheduler binds them to the node there is."""
    node = """{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}"""
    ready = """{"status": {"allocatable": {"pods": "9", "cpu": "4", "memory": "4Gi"},
                           "conditions": [{"type": "Ready", "status": "True", "reason": "Test"}]}}"""
    plane.kubectl("create", "--filename=-", stdin=node)
    plane.kubectl("patch", "node", "node-1", "--subresource=status", "--type=merge", f"--patch={ready}")
    plane.kubectl("create", "namespace", "work")
    plane.kubectl("wait", "serviceaccount/default", "-nwork", "--for=create", "--timeout=20s")
    plane.kubectl("create", "deployment", "web", "-nwork", "--image=none", "--replicas=2")

    plane.kubectl("wait", "pod", "-nwork", "--selector=app=web", "--for=create", "--timeout=20s")
    plane.kubectl("wait", "pod", "-nwork", "--selector=app=web", "--for=condition=PodScheduled", "--timeout=20s")

    nodes = plane.kubectl("get", "pods", "-nwork", "--output=jsonpath={.items[*].spec.nodeName}")
    assert nodes.split() == ["node-1", "node-1"]


def test_users_have_what_rbac_gives_them(plane: ControlPlane) -> None:
    """A named user is authenticated, with its groups, and may do nothing until a binding says so."""
    as_reader = f"--kubeconfig={plane.kubeconfig_of('reader')}"
    with pytest.raises(ProcessFailed, match='User "reader" cannot list resource "nodes"'):
        plane.kubectl("get", "nodes", as_reader)

    plane.kubectl("create", "clusterrole", "see-nodes", "--verb=list", "--resource=nodes")
    plane.kubectl("create", "clusterrolebinding", "see-nodes", "--clusterrole=see-nodes", "--group=readers")

    plane.kubectl("wait", "clusterrolebinding/see-nodes", "--for=create")
    assert plane.kubectl("get", "nodes", "--output=name", as_reader).split() == ["node/node-1"]


def test_audit_log_counts_requests(plane: ControlPlane) -> None:
    """A request appears in the log by the time it is answered, under the client's name."""
    begin = plane.audit_log.stat().st_size
    plane.kubectl("create", "configmap", "counted")

    counts = audit.count(plane.audit_log, offset=begin)

    assert counts[audit.Request("kubectl", "create", "configmaps", 201)] == 1


def test_crds_are_served_once_installed(plane: ControlPlane, tmp_path: Path) -> None:
    """After ``install_crds`` a list of the new kind succeeds at once; an empty folder is no mistake."""
    (tmp_path / "things.yaml").write_text(
        """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.org}
spec:
  group: example.org
  scope: Cluster
  names: {kind: Thing, plural: things}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
"""
    )
    (tmp_path / "none").mkdir()

    plane.install_crds(tmp_path / "none")
    plane.install_crds(tmp_path)

    listed = msgspec.json.decode(plane.kubectl("get", "--raw", "/apis/example.org/v1/things"))
    assert listed["items"] == []


def test_stop_leaves_nothing(tmp_path: Path) -> None:
    """After ``stop`` no process and no file remains, whatever ran; to stop twice is no mistake."""
    plane = ControlPlane.start(tmp_path / "plane")
    assert {process.name for process in plane.processes} == {"etcd", "kube-apiserver"}
    assert all(process.alive() for process in plane.processes)

    plane.stop()
    plane.stop()

    assert not any(process.alive() for process in plane.processes)
    assert list(tmp_path.iterdir()) == []


def test_a_detached_plane_is_stopped_by_another_process(tmp_path: Path) -> None:
    """A detached control plane outlives the command that started it, and its record is enough to end it."""
    start = (
        "import sys, pathlib, controlplane.cluster as c; c.ControlPlane.start(pathlib.Path(sys.argv[1]), detached=True)"
    )
    subprocess.run([sys.executable, "-c", start, tmp_path / "plane"], check=True, timeout=100)

    plane = ControlPlane.attach(tmp_path / "plane")
    assert all(process.alive() for process in plane.processes)
    assert plane.kubectl("get", "namespace", "default", "--output=name").strip() == "namespace/default"
    plane.stop()

    assert not any(process.alive() for process in plane.processes)
    assert list(tmp_path.iterdir()) == []


def test_attached_processes_die_with_a_killed_parent(tmp_path: Path) -> None:
    """Not even a SIGKILL of its parent leaves a part of it running; its folder can be removed later."""
    start = (
        "import sys, pathlib, controlplane.cluster as c; c.ControlPlane.start(pathlib.Path(sys.argv[1]));"
        "print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", start, str(tmp_path / "plane")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        record = msgspec.json.decode((tmp_path / "plane" / "record.json").read_bytes(), type=Record)
        parent.send_signal(signal.SIGKILL)

    assert all(process.ends(within_seconds=10) for process in record.processes)
    ControlPlane.attach(tmp_path / "plane").stop()
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_ends_says_why(tmp_path: Path) -> None:
    """An address that is not this machine's makes the start fail with the program's own words, and leaves nothing."""
    with pytest.raises(ProcessFailed, match=r"kube-apiserver ended(.|\n)*cannot assign requested address"):
        ControlPlane.start(tmp_path / "plane", bind="192.0.2.1")

    assert list(tmp_path.iterdir()) == []
