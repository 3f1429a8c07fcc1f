"""What the kernel or a surprise does to a call, through the whole agent; and how often the API server is asked."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import pytest

from controlplane import audit
from support.node import NodeUnderTest, Refused
from support.observing import added, allocated, endpoint, no_endpoint, reported
from underlay.cni import frames
from underlay.cni.datapath.errors import (
    AddressBusy,
    InterfaceExists,
    KernelRefused,
    KindConflict,
    MasterMissing,
    NamespaceGone,
)
from underlay.cni.frames import Call
from underlay.core.api.kubernetes import Job, Pod, ReplicaSet

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver


async def test_each_refusal_of_the_kernel_has_its_code(node: NodeUnderTest) -> None:
    """CNI's code and the name of what is wrong; 11 for what may pass, 100 for what the kernel refused, 999 for what
    nobody foresaw. None of them leaves an address or an interface behind.
    """
    pool = await node.pool("a", ["10.9.0.10-10.9.0.30"])
    await node.pod("one")
    await node.start()
    await added(node, "one", "first")
    await node.delete("one", "first")
    failures: list[tuple[Exception, int, str]] = [
        (InterfaceExists("eth0", "/n"), 4, "CNI_IFNAME"),
        (NamespaceGone("/n", "gone"), 8, "CNI_NETNS"),
        (MasterMissing("eth1"), 11, "master eth1"),
        (AddressBusy("10.9.0.10", 2), 11, "10.9.0.10"),
        (KindConflict("eth1", "macvlan"), 11, "master eth1"),
        (KernelRefused(12, "create link"), 100, "interface eth0"),
        (RuntimeError("surprise"), 999, "RuntimeError: surprise"),
    ]

    for number, (failure, code, named) in enumerate(failures):
        node.kernel.fail_next = failure
        with pytest.raises(Refused) as refused:
            await node.add("one", f"c{number}")

        assert (refused.value.code, named in refused.value.msg) == (code, True), failure
        assert node.kernel.addresses() == {}
    await allocated(node, pool, {})


async def test_a_runtime_may_insist_on_the_nodes_own_namespace(node: NodeUnderTest) -> None:
    """CNI_NETNS_OVERRIDE 1 or true, in any case, lets CNI_NETNS be the plugin's own; without it that is code 8."""
    await node.pool("a", ["10.9.0.10-10.9.0.30"])
    await node.pod("one")
    await node.start()
    await added(node, "one", "first")
    codes: dict[str, int] = {}

    for override in ("", "0", "1", "TRUE"):
        environment = node.environment("ADD", "one", f"c{override}") | {"CNI_NETNS": "/proc/self/ns/net"}
        body = msgspec.json.encode({"cniVersion": "1.0.0", "name": "underlay"})
        call = Call(environment=environment | {"CNI_NETNS_OVERRIDE": override}, stdin=body, deadline_seconds=60)
        _, stdout = await node.exchange(frames.render_call(call))
        codes[override] = msgspec.json.decode(stdout).get("code", 0)
        node.kernel.interfaces.pop(("/proc/self/ns/net", "eth0"), None)

    assert codes == {"": 8, "0": 8, "1": 0, "TRUE": 0}


async def test_an_endpoint_names_the_topmost_controller(node: NodeUnderTest, apiserver: "ApiServer") -> None:
    """Deployment for a ReplicaSet's pod, CronJob for a Job's, as Spiderpool does; the direct controller where that has
    none or is gone. Each controller is read once.
    """
    await node.pool("a", ["10.9.0.10-10.9.0.30"])
    await _controller(node, ReplicaSet, "web-1", {"kind": "Deployment", "apiVersion": "apps/v1", "name": "web"})
    await _controller(node, ReplicaSet, "alone", None)
    await _controller(node, Job, "nightly-1", {"kind": "CronJob", "apiVersion": "batch/v1", "name": "nightly"})
    owners = [
        ("ReplicaSet", "web-1", ("Deployment", f"{node.name}-web")),
        ("ReplicaSet", "web-1", ("Deployment", f"{node.name}-web")),
        ("ReplicaSet", "alone", ("ReplicaSet", f"{node.name}-alone")),
        ("ReplicaSet", "gone", ("ReplicaSet", f"{node.name}-gone")),
        ("Job", "nightly-1", ("CronJob", f"{node.name}-nightly")),
        ("DaemonSet", "log", ("DaemonSet", f"{node.name}-log")),
    ]
    for number, (kind, name, _) in enumerate(owners):
        await _controlled_pod(node, f"p{number}", kind, f"{node.name}-{name}")
    await node.start()
    begins = apiserver.plane.audit_log.stat().st_size

    for number, (_, _, expected) in enumerate(owners):
        await added(node, f"p{number}", f"c{number}")
        status = (await endpoint(node, f"p{number}")).status
        assert status is not None
        assert (status.owner_controller_type, status.owner_controller_name) == expected

    requests = audit.count(apiserver.plane.audit_log, offset=begins)
    asked = {request.code: count for request, count in requests.items() if request.resource == "replicasets"}
    assert asked == {200: 2, 404: 1}


async def test_a_pods_life_asks_little_of_the_api_server(node: NodeUnderTest, apiserver: "ApiServer") -> None:
    """Twenty pods come and go: no list, no read, and at most four writes per pod, those of pool and node included."""
    pool = await node.pool("a", ["10.9.1.1-10.9.1.60"])
    await node.wish(cooldownSeconds=1)
    names = [f"p{index}" for index in range(20)]
    await asyncio.gather(*(node.pod(name) for name in [*names, "warm"]))
    await node.start()
    await added(node, "warm", "first")
    await node.delete("warm", "first")
    await allocated(node, pool, {})
    await no_endpoint(node, "warm")
    await reported(node, lambda status: status.cooling == 0)
    begins = apiserver.plane.audit_log.stat().st_size

    given = {str(await node.add(name, f"c-{name}")): f"default/{node.name}-{name}" for name in names}
    await allocated(node, pool, given)
    for name in names:
        await endpoint(node, name)
    for name in names:
        await node.delete(name, f"c-{name}")
    for name in names:
        await no_endpoint(node, name)
    await allocated(node, pool, {})
    await reported(node, lambda status: status.cooling == 0)

    counts: Counter[str] = Counter()
    for request, count in audit.count(apiserver.plane.audit_log, offset=begins).items():
        if request.user_agent == "underlay-agent":
            counts[f"{request.verb} {request.resource}"] += count
    print("\nrequests of the agent for 20 pods:", dict(counts))
    assert {name for name in counts if name.split()[0] in {"list", "get"}} == set()
    writes = sum(count for name, count in counts.items() if name.split()[0] != "watch")
    assert writes <= 4 * 20


async def _controller(
    node: NodeUnderTest, kind: type[ReplicaSet] | type[Job], name: str, owner: dict[str, object] | None
) -> None:
    labels = {"app": f"{node.name}-{name}"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": "none"}], "restartPolicy": "Never"},
    }
    spec: dict[str, object] = {"template": template}
    if kind is ReplicaSet:
        template["spec"] = {"containers": [{"name": "main", "image": "none"}]}
        spec |= {"replicas": 0, "selector": {"matchLabels": labels}}
    owners = [owner | {"name": f"{node.name}-{owner['name']}", "uid": "u", "controller": True}] if owner else []
    await node.client.apply(
        kind,
        f"{node.name}-{name}",
        {"metadata": {"ownerReferences": owners}, "spec": spec},
        manager="test",
        namespace="default",
    )


async def _controlled_pod(node: NodeUnderTest, name: str, kind: str, owner: str) -> None:
    api_version = "batch/v1" if kind == "Job" else "apps/v1"
    reference = {"apiVersion": api_version, "kind": kind, "name": owner, "uid": "u", "controller": True}
    body = {
        "metadata": {"ownerReferences": [reference]},
        "spec": {"nodeName": node.name, "containers": [{"name": "main", "image": "none"}]},
    }
    await node.client.apply(Pod, f"{node.name}-{name}", body, manager="test", namespace="default")
