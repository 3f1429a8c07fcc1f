"""What is kept of pods, and that what they have in common is kept once."""

import msgspec

from underlay.core.api.kubernetes import Pod, PodIP, PodSpec, PodStatus
from underlay.core.api.meta import ObjectMeta, OwnerReference
from underlay.operator.podkeeper import PodKeeper
from underlay.operator.reconcile.demand import need


def pod(number: int, *, node: str = "a") -> Pod:
    """One of a workload's, decoded, so that it shares nothing with another."""
    made = Pod(
        metadata=ObjectMeta(
            name=f"web-{number}",
            namespace="team",
            uid=f"uid-{number}",
            resource_version=f"{number}",
            labels={"app": "web"},
            annotations={"ipam.spidernet.io/ippool": '{"ipv4":["p"]}', "checksum/config": "x" * 64},
            owner_references=[OwnerReference(api_version="apps/v1", kind="ReplicaSet", name="web", uid="owner")],
        ),
        spec=PodSpec(node_name=f"node-{node}"),
        status=PodStatus(phase="Running", pod_ips=[PodIP(ip=f"10.0.0.{number}")]),
    )
    return msgspec.json.decode(msgspec.json.encode(made), type=Pod)


def test_all_but_foreign_annotations_and_addresses_is_kept() -> None:
    """Identity, labels, owner, node, phase and the annotations about networks are as they were."""
    whole, kept = pod(7), PodKeeper().keep(pod(7))

    assert kept.metadata.annotations == {"ipam.spidernet.io/ippool": '{"ipv4":["p"]}'}
    for field in ("name", "namespace", "uid", "resource_version", "labels", "owner_references", "deletion_timestamp"):
        assert getattr(kept.metadata, field) == getattr(whole.metadata, field)
    assert kept.spec == whole.spec
    assert (kept.status.phase, kept.status.reason) == ("Running", "")


def test_demand_is_the_same_of_what_is_kept() -> None:
    """Ended pods and pods on the host's network count as little as before."""
    pods = [
        pod(1),
        Pod(metadata=ObjectMeta(uid="2"), spec=PodSpec(node_name="node-a", host_network=True)),
        Pod(metadata=ObjectMeta(uid="3"), spec=PodSpec(node_name="node-a"), status=PodStatus(phase="Succeeded")),
        Pod(metadata=ObjectMeta(uid="4"), spec=PodSpec(node_name="node-a"), status=PodStatus(phase="Pending")),
    ]
    keeper = PodKeeper()

    assert need(map(keeper.keep, pods), []) == need(pods, [])
    assert need(pods, []).pods == 2


def test_what_pods_have_in_common_is_kept_once() -> None:
    """Two pods of a workload on one node differ in nothing but their own names, UIDs and versions."""
    keeper = PodKeeper()
    one, other, elsewhere = keeper.keep(pod(1)), keeper.keep(pod(2)), keeper.keep(pod(3, node="b"))

    assert one.metadata.labels is other.metadata.labels is elsewhere.metadata.labels
    assert one.metadata.annotations is other.metadata.annotations
    assert one.metadata.owner_references is other.metadata.owner_references
    assert one.metadata.namespace is other.metadata.namespace
    assert one.spec is other.spec
    assert one.status is other.status
    assert (one.spec.node_name, elsewhere.spec.node_name) == ("node-a", "node-b")


def test_what_is_remembered_is_bounded() -> None:
    """A cluster in which workloads come and go for ever fills no memory; what was forgotten is kept twice."""
    keeper = PodKeeper(remembered=2)
    first = keeper.keep(pod(1, node="a"))
    for node in "bcd":
        keeper.keep(pod(2, node=node))
    again = keeper.keep(pod(3, node="a"))

    assert first.spec == again.spec
    assert first.spec is not again.spec
