"""Which pool a pod may have a fixed address of, and what it gets: by tables, without a cluster."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal

import pytest
from msgspec import structs

from support.cloud_values import subnet
from underlay.core.addresses import IPAddress, RangeSet
from underlay.core.api.ipblock import BlockEntry
from underlay.core.api.ippool import NODE_LABEL, PROVIDER_ANNOTATION, SHARED, SpiderIPPool, SpiderIPPoolSpec
from underlay.core.api.kubernetes import Node, Pod, PodSpec
from underlay.core.api.meta import LabelSelector, ObjectMeta, OwnerReference
from underlay.core.api.networkprovider import (
    SpiderNetworkProvider,
    SpiderNetworkProviderSpec,
    SubnetReservation,
    SubnetSelector,
)
from underlay.core.cloud.planning.floating import Blocked, Bring, Way
from underlay.core.errors import InvalidInput
from underlay.core.identity import InterfaceId, SubnetId
from underlay.core.ipam.ownership import Proof, Standing
from underlay.operator.reconcile import reservedpools
from underlay.operator.reconcile.floating import (
    Arrive,
    Claim,
    FloatingPool,
    HandOver,
    Keep,
    Outcome,
    Place,
    Refuse,
    Situation,
    Wait,
    Wish,
    counting_first,
    decide,
    recognised,
    wish,
)

A, B = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
NODE = Node(metadata=ObjectMeta(name="n1", labels={"rack": "1"}))
AT = Place(node=NODE, provider="aws", required=False, labels_of={"ns": {"team": "data"}}.__getitem__)


def pool(name: str = "p", provider: str = "aws", **spec: Any) -> FloatingPool:  # noqa: ANN401 - a pool's fields
    return FloatingPool(
        name=name,
        uid="u",
        provider=provider,
        subnet=IPv4Network("10.0.0.0/24"),
        listed=RangeSet.of([A, B]),
        addresses=RangeSet.of([A, B]),
        spec=SpiderIPPoolSpec(subnet="10.0.0.0/24", **{"default": True, **spec}),
    )


def pod(kind: str = "StatefulSet", *, pools: str = "", uid: str = "new", deleted: bool = False) -> Pod:
    api = {"StatefulSet": "apps/v1", "ReplicaSet": "apps/v1"}.get(kind, "kubevirt.io/v1")
    return Pod(
        metadata=ObjectMeta(
            name="db-0",
            namespace="ns",
            uid=uid,
            labels={"app": "db"},
            annotations={"ipam.spidernet.io/ippool": pools} if pools else {},
            owner_references=[OwnerReference(api_version=api, kind=kind, name="vm", uid="1", controller=True)],
            deletion_timestamp="2026-01-02T03:04:05Z" if deleted else None,
        ),
        spec=PodSpec(node_name="n1"),
    )


def wanted(**about: Any) -> Wish:  # noqa: ANN401 - a pod's fields
    found = wish(pod(**about), [pool()], AT)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("asks", "pools", "names", "says"),
    [
        pytest.param(pod(), [pool("b"), pool("a")], ("b", "a"), "", id="a stable owner: default pools"),
        pytest.param(
            pod(), [pool("a", namespace_name=["other"]), pool("b")], ("b",), "is for namespaces other", id="namespace"
        ),
        pytest.param(
            pod(),
            [pool("a", pod_affinity=LabelSelector(match_labels={"app": "web"})), pool("b")],
            ("b",),
            "podAffinity",
            id="pod affinity",
        ),
        pytest.param(
            pod(),
            [pool("a", node_affinity=LabelSelector(match_labels={"rack": "2"})), pool("b", node_name=["n1"])],
            ("b",),
            "nodeAffinity",
            id="node",
        ),
        pytest.param(
            pod(),
            [
                pool("a", namespace_affinity=LabelSelector(match_labels={"team": "web"})),
                pool("b", namespace_affinity=LabelSelector(match_labels={"team": "data"})),
            ],
            ("b",),
            "namespaceAffinity",
            id="namespace's labels",
        ),
        pytest.param(
            pod("ReplicaSet", pools='{"ipv4":["b","a"]}'),
            [pool("a", default=False), pool("b", default=False)],
            ("b", "a"),
            "",
            id="a pod's own order",
        ),
        pytest.param(pod(pools='{"ipv4":["p-*"]}'), [pool("p-2"), pool("q")], ("p-2",), "", id="a wildcard"),
        pytest.param(
            pod(pools='{"ipv4":["far","p"]}'), [pool("far", "other"), pool()], ("p",), "provider other", id="provider"
        ),
        pytest.param(pod(pools="{"), [pool()], (), "annotation ipam.spidernet.io/ippool", id="unreadable"),
    ],
)
def test_which_pools_a_pod_may_have(asks: Pod, pools: list[FloatingPool], names: tuple[str, ...], says: str) -> None:
    """In order, and why not of the others."""
    found = wish(asks, pools, AT)

    assert found is not None
    assert tuple(item.name for item in found.pools) == names
    assert says in "; ".join(found.refusals.values())
    assert not found.ordinary


@pytest.mark.parametrize(
    ("asks", "pools", "ordinary"),
    [
        (pod("ReplicaSet"), [pool()], None),
        (pod(), [pool(default=False)], None),
        (pod(), [pool(provider="other")], None),
        (pod(), [pool(namespace_name=["other"])], "is for namespaces other"),
        (pod(pools='{"ipv4":["node-pool"]}'), [pool()], "node-pool is no pool of fixed addresses"),
    ],
)
def test_who_gets_an_ordinary_address(asks: Pod, pools: list[FloatingPool], ordinary: str | None) -> None:
    """A stable owner that no default pool admits, and who names pools of another kind; None: not a matter of these."""
    found = wish(asks, pools, AT)

    assert (found and found.ordinary) is None if ordinary is None else ordinary in str(found and found.ordinary)


def test_a_stable_owner_waits_for_a_pool_where_a_fixed_address_is_required() -> None:
    """It is refused, not sent to an ordinary address; other pods are not concerned."""
    required = replace(AT, required=True)
    found = wish(pod(), [pool(default=False), pool(provider="other")], required)

    assert found is not None
    assert not found.ordinary
    assert "has no pool of them" in found.refusals[""]
    assert wish(pod("ReplicaSet"), [], required) is None


def test_a_pool_of_fixed_addresses_is_recognised_by_label_and_annotation() -> None:
    """Spiderpool's other shared pools and node pools are left alone; one that cannot be read names its field."""
    meta = ObjectMeta(name="p", labels={NODE_LABEL: SHARED}, annotations={PROVIDER_ANNOTATION: "aws"})
    spec = SpiderIPPoolSpec(subnet="10.0.0.0/24", ips=["10.0.0.5-10.0.0.7"], exclude_ips=["10.0.0.6"])

    found = recognised(SpiderIPPool(metadata=meta, spec=spec))
    assert found is not None
    assert found.addresses.render() == ["10.0.0.5", "10.0.0.7"]
    assert recognised(SpiderIPPool(metadata=ObjectMeta(name="p", labels={NODE_LABEL: SHARED}), spec=spec)) is None
    assert recognised(SpiderIPPool(metadata=ObjectMeta(name="p", annotations=meta.annotations), spec=spec)) is None
    with pytest.raises(InvalidInput, match=r"spec.ips\[0\]"):
        recognised(SpiderIPPool(metadata=meta, spec=SpiderIPPoolSpec(subnet="10.0.0.0/24", ips=["10.0.0.0/28"])))


def entry(*, uid: str = "old", node: str = "n1", cooling: bool = False) -> BlockEntry:
    return BlockEntry(
        pod="ns/db-0",
        uid=uid,
        container="",
        interface="eth0",
        node=node,
        owner="StatefulSet/ns/db-0",
        since="2026-01-02T03:04:05Z",
        cooling_since="2026-01-02T03:04:05Z" if cooling else None,
    )


def situation(
    *, alive: bool = False, way: Way | None = None, away: str = "", full: str = "", **place: bool
) -> Situation:
    """Everything is possible unless said otherwise; another node than n1 answers and has confirmed."""
    facts = {"answers": True, "confirmed": not alive, "machine_off": False, "out_of_service": False, "atomic": True}
    return Situation(
        node="n1",
        away=away,
        way=lambda _: way or Bring(interface=InterfaceId("eni-1")),
        standing=lambda held: Standing(node=held.node, pod=held.pod, pod_alive=alive, **(facts | place)),
        alive=lambda _: alive,
        choose=lambda _: full or A,
    )


FAR = Blocked(why="zone: far")


@pytest.mark.parametrize(
    ("asked", "recorded", "on", "expected"),
    [
        pytest.param(wanted(), [], situation(), Claim(address=A), id="a new one"),
        pytest.param(wanted(), [(A, entry(uid="new"))], situation(), Keep(address=A), id="its own"),
        pytest.param(
            wanted(), [(A, entry())], situation(), HandOver(address=A, before=entry(), proof=None), id="same node"
        ),
        pytest.param(wanted(), [(A, entry())], situation(alive=True), Wait(address=A, why=""), id="still in use here"),
        pytest.param(
            wanted(),
            [(A, entry(node="n2"))],
            situation(),
            HandOver(address=A, before=entry(node="n2"), proof=Proof.CONFIRMED),
            id="another node, confirmed",
        ),
        pytest.param(
            wanted(), [(A, entry(node="n2"))], situation(confirmed=False), Wait(address=A, why=""), id="not confirmed"
        ),
        pytest.param(
            wanted(kind="VirtualMachineInstance"),
            [(A, entry(node="n2"))],
            situation(alive=True),
            Arrive(address=A),
            id="a machine migrates",
        ),
        pytest.param(
            wanted(kind="VirtualMachineInstance"),
            [(A, entry(node="n2"))],
            situation(alive=True, answers=False),
            Wait(address=A, why=""),
            id="a machine's node is silent",
        ),
        pytest.param(wanted(), [(A, entry(node="n2"))], situation(way=FAR), Refuse(why=""), id="cannot come here"),
        pytest.param(wanted(), [(B, entry(cooling=True))], situation(), Claim(address=B), id="the same again"),
        pytest.param(wanted(), [], situation(full="none of its 2 addresses is free"), Refuse(why=""), id="full"),
        pytest.param(wanted(), [], situation(away="node n1 is not Ready"), Refuse(why=""), id="a node that is away"),
        pytest.param(
            wanted(),
            [(A, entry(node="n2"))],
            situation(away="node n1 is not Ready"),
            Wait(address=A, why=""),
            id="away",
        ),
        pytest.param(wanted(deleted=True), [], situation(), Refuse(why=""), id="a pod on its way out"),
    ],
)
def test_what_a_pod_gets(
    asked: Wish, recorded: list[tuple[IPAddress, BlockEntry]], on: Situation, expected: Outcome
) -> None:
    """The same address again wherever that may be; nothing that another may still use; why, where it is refused."""
    found = decide(asked, recorded, on)

    if isinstance(expected, Wait | Refuse):
        assert type(found) is type(expected)
        assert found.why
    else:
        assert found == expected


def test_a_refusal_names_every_pool() -> None:
    """Pool by pool, as the Event shows it."""
    asked = wish(pod(), [pool("a"), pool("b", disable=True)], AT)
    assert asked is not None

    found = decide(asked, [], situation(full="none of its 2 addresses is free (2 held)"))

    assert found == Refuse(why="pool b: is disabled; pool a: none of its 2 addresses is free (2 held)")


def test_of_several_entries_the_held_and_oldest_counts() -> None:
    """Two leaders may have claimed two addresses for one owner: it has the first of them."""
    late = (A, BlockEntry(pod="p", uid="u", container="", interface="", node="n", since="2026-01-02T03:05:00Z"))
    early = (B, BlockEntry(pod="p", uid="u", container="", interface="", node="n", since="2026-01-02T03:04:00Z"))

    assert counting_first([(A, entry(cooling=True)), late, early])[0] == early


def _provider(*blocks: str, use: Literal["fixed", "prefix"] = "fixed") -> SpiderNetworkProvider:
    kept = [SubnetReservation(cidr=block, use=use) for block in blocks]
    spec = SpiderNetworkProviderSpec(driver="aws", region="r", subnets=SubnetSelector(reservations=kept))
    return SpiderNetworkProvider(metadata=ObjectMeta(name="aws", uid="u"), spec=spec)


SUBNETS = {SubnetId("subnet-a"): replace(subnet(), cidrs=(IPv4Network("10.0.0.0/24"),))}


def test_a_reserved_block_has_a_pool() -> None:
    """Of the block's addresses, in the subnet it lies in, recognised as the provider's. Blocks for prefixes have none,
    nor have those in a subnet not known.
    """
    [made] = reservedpools.wanted(_provider("10.0.0.64/28", "10.9.0.0/28"), SUBNETS)

    assert made.metadata.name == "aws-fixed-10-0-0-64-28"
    assert (made.spec.subnet, made.spec.ips, made.spec.default) == ("10.0.0.0/24", ["10.0.0.64-10.0.0.79"], True)
    found = recognised(made)
    assert found is not None
    assert (found.provider, found.addresses.count) == ("aws", 16)
    assert reservedpools.wanted(_provider("10.0.0.64/28", use="prefix"), SUBNETS) == ()


def test_pools_of_reserved_blocks_follow_the_provider() -> None:
    """Made when lacking, retired when their block is asked for no more, not for want of a subnet; people's are left."""
    provider = _provider("10.0.0.64/28")
    [made] = reservedpools.wanted(provider, SUBNETS)
    people = structs.replace(made, metadata=ObjectMeta(name="mine", labels={NODE_LABEL: SHARED}))

    assert reservedpools.changes(provider, [made], [people]).apply == (made,)
    assert reservedpools.changes(provider, [made], [made]) == reservedpools.PoolChanges(apply=(), retire=())
    assert reservedpools.changes(provider, [], [made]).retire == ()
    assert reservedpools.changes(_provider(), [], [made, people]).retire == (made,)
    marked = {**made.metadata.annotations, reservedpools.RETIRING: "true"}
    retiring = structs.replace(made, metadata=structs.replace(made.metadata, annotations=marked))
    assert reservedpools.changes(provider, [made], [retiring]).apply == (made,)
