"""Who owns an address, which pools a pod names, and when an address may leave the node it was on."""

import pytest

from underlay.core.api.meta import ObjectMeta, OwnerReference
from underlay.core.errors import InvalidInput
from underlay.core.ipam.ownership import (
    Owner,
    Proof,
    Standing,
    is_wanted,
    may_be_fixed,
    may_move,
    named_pools,
    owner_of,
)


def pod(
    kind: str = "", api: str = "apps/v1", *, name: str = "db-0", owner: str = "db", **annotations: str
) -> ObjectMeta:
    """A pod, of that controller if any."""
    references = [OwnerReference(api_version=api, kind=kind, name=owner, uid="1", controller=True)] if kind else []
    named = {f"ipam.spidernet.io/{key}": value for key, value in annotations.items()}
    return ObjectMeta(name=name, namespace="ns", uid="u1", owner_references=references, annotations=named)


@pytest.mark.parametrize(
    ("meta", "text", "fixed"),
    [
        pytest.param(pod("StatefulSet"), "StatefulSet/ns/db-0", True, id="a pod of a StatefulSet"),
        pytest.param(
            pod("VirtualMachineInstance", "kubevirt.io/v1", name="virt-launcher-vm-x7", owner="vm"),
            "VirtualMachine/ns/vm",
            True,
            id="a virtual machine's launcher",
        ),
        pytest.param(pod("ReplicaSet"), "Pod/ns/db-0/u1", False, id="a Deployment's pod"),
        pytest.param(pod("StatefulSet", "apps.kruise.io/v1"), "Pod/ns/db-0/u1", False, id="another API's StatefulSet"),
        pytest.param(pod(ippool='{"ipv4":["a"]}'), "Pod/ns/db-0/u1", True, id="a pod that names a pool"),
    ],
)
def test_who_owns_a_pods_address(meta: ObjectMeta, text: str, fixed: bool) -> None:  # noqa: FBT001
    """The stable owner, of which a migrating machine's two launchers have one; else the pod's own incarnation."""
    owner = owner_of(meta)

    assert str(owner) == text
    assert Owner.parse(text) == owner
    assert may_be_fixed(meta) is fixed


@pytest.mark.parametrize(
    ("meta", "names"),
    [
        (pod(ippool='{"ipv4":["b","a"],"ipv6":["c"]}'), ("b", "a")),
        (pod(ippools='[{"interface":"eth1","ipv4":["x"]},{"interface":"eth0","ipv4":["y"]}]'), ("y",)),
        (pod(ippools='[{"ipv4":["x"],"cleangateway":true}]', ippool='{"ipv4":["z"]}'), ("x",)),
        (pod(ippool='{"ipv6":["c"]}'), ()),
        (pod(), ()),
    ],
)
def test_which_pools_a_pod_names(meta: ObjectMeta, names: tuple[str, ...]) -> None:
    """Spiderpool's two annotations: ``ippools`` outranks ``ippool``; the pod's order stays."""
    assert named_pools(meta) == names


@pytest.mark.parametrize("text", ["a", '["a"]', '{"ipv4":"a"}'])
def test_a_wrong_annotation_names_itself(text: str) -> None:
    """What a person wrote, and how it should look."""
    with pytest.raises(InvalidInput, match="annotation ipam"):
        named_pools(pod(ippool=text))


@pytest.mark.parametrize(
    ("name", "first", "replicas", "wanted"),
    [
        ("db-0", 0, 1, True),
        ("db-1", 0, 1, False),
        ("db-0", 1, 1, False),
        ("db-3", 2, 2, True),
        ("db-x", 0, 9, False),
        ("my-db-10", 0, 11, True),
        ("db-0", 0, 0, False),
    ],
)
def test_which_pods_a_stateful_set_wants(name: str, first: int, replicas: int, wanted: bool) -> None:  # noqa: FBT001
    """StatefulSet: ordinals ``spec.ordinals.start`` … below start + replicas."""
    assert is_wanted(name, first=first, replicas=replicas) is wanted


def standing(**facts: bool) -> Standing:
    """A place of which nothing else is known."""
    unknown = dict.fromkeys(("pod_alive", "confirmed", "answers", "machine_off", "out_of_service", "atomic"), False)
    return Standing(node="a", pod="ns/db-0", **(unknown | facts))


@pytest.mark.parametrize(
    ("where", "result"),
    [
        (standing(confirmed=True, answers=True), Proof.CONFIRMED),
        (standing(answers=True, atomic=True), "has not confirmed"),
        (standing(pod_alive=True, answers=True, atomic=True), "still has it"),
        (standing(pod_alive=True, confirmed=True, answers=True, atomic=True), "still has it"),
        (standing(atomic=True), Proof.REASSIGNED),
        (standing(), "cannot move an address in one step"),
        (standing(pod_alive=True, atomic=True), "nothing proves"),
        (standing(pod_alive=True, machine_off=True), Proof.MACHINE_OFF),
        (standing(pod_alive=True, out_of_service=True), Proof.OUT_OF_SERVICE),
    ],
)
def test_an_address_leaves_only_with_proof(where: Standing, result: Proof | str) -> None:
    """Confirmed by a node that answers; from one that does not, the machine off, the out-of-service taint, or the pod's
    object gone and the cloud's own step. Whatever is missing is said.
    """
    found = may_move(where)

    assert (found is result) if isinstance(result, Proof) else (result in str(found) and not isinstance(found, Proof))
