"""Whose an address is when pods come and go, and when it may be taken from where it was. Pure.

A pod of a StatefulSet and a KubeVirt virtual machine are owners that outlive their pods: the next pod of the same owner
has the same address, on whichever node. Any other pod that names a pool owns its address itself, for its own life.

Operator and agent ask the same functions, so that an agent knows of a pod that has just been bound whether it must wait
for the operator's word.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import msgspec

from underlay.core.api.meta import ObjectMeta
from underlay.core.errors import InvalidInput

IPPOOL = "ipam.spidernet.io/ippool"
IPPOOLS = "ipam.spidernet.io/ippools"

_STABLE = {
    ("apps/v1", "StatefulSet"): "StatefulSet",
    ("kubevirt.io/v1", "VirtualMachineInstance"): "VirtualMachine",
}
_FORMS = '{"ipv4": ["pool"]} or, for annotation ippools, [{"interface": "eth0", "ipv4": ["pool"]}]'


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who keeps an address. ``kind``: StatefulSet (``name`` is the pod's, with its number), VirtualMachine, or Pod
    (``name/uid``).
    """

    kind: Literal["StatefulSet", "VirtualMachine", "Pod"]
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "Owner":
        """Inverse of ``str``. Raises ``InvalidInput``."""
        kind, _, rest = text.partition("/")
        namespace, _, name = rest.partition("/")
        if kind not in ("StatefulSet", "VirtualMachine", "Pod") or not namespace or not name:
            raise InvalidInput("owner", found=text, expected="StatefulSet, VirtualMachine or Pod, /namespace/name")
        return cls(kind=kind, namespace=namespace, name=name)  # type: ignore[arg-type]


def owner_of(pod: ObjectMeta) -> Owner:
    """The pod's stable owner if its controller is one, else the pod itself."""
    namespace = pod.namespace or ""
    for reference in pod.owner_references:
        kind = _STABLE.get((reference.api_version, reference.kind)) if reference.controller else None
        if kind == "StatefulSet":
            return Owner(kind="StatefulSet", namespace=namespace, name=pod.name)
        if kind == "VirtualMachine":
            return Owner(kind="VirtualMachine", namespace=namespace, name=reference.name)
    return Owner(kind="Pod", namespace=namespace, name=f"{pod.name}/{pod.uid}")


def names_pools(pod: ObjectMeta) -> bool:
    """The pod says which pools it wants."""
    return IPPOOL in pod.annotations or IPPOOLS in pod.annotations


def may_be_fixed(pod: ObjectMeta) -> bool:
    """The pod may have a fixed address: the agent waits for the operator's word before it gives it another one."""
    return names_pools(pod) or owner_of(pod).kind != "Pod"


class _Names(msgspec.Struct, frozen=True):
    interface: str = ""
    ipv4: list[str] = []
    ipv6: list[str] = []


def named_pools(pod: ObjectMeta, interface: str = "eth0") -> tuple[str, ...]:
    """IPv4 pools that the pod names for ``interface``, in its order; wildcards as they are. ``ippools`` outranks
    ``ippool``. Raises ``InvalidInput`` naming the annotation.
    """
    several, one = pod.annotations.get(IPPOOLS), pod.annotations.get(IPPOOL)
    try:
        if several is not None:
            wanted = msgspec.json.decode(several, type=list[_Names])
            fitting = [item for item in wanted if item.interface in ("", interface)]
            return tuple(fitting[0].ipv4) if fitting else ()
        return tuple(msgspec.json.decode(one, type=_Names).ipv4) if one is not None else ()
    except msgspec.DecodeError as error:
        field, found = (IPPOOLS, several) if several is not None else (IPPOOL, one)
        raise InvalidInput(f"annotation {field}", found=found, expected=f"{_FORMS} ({error})") from None


def is_wanted(pod: str, *, first: int, replicas: int) -> bool:
    """Whether a StatefulSet of ``replicas`` from number ``first`` has that pod."""
    number = pod.rpartition("-")[2]
    return number.isdecimal() and first <= int(number) < first + replicas


class Proof(StrEnum):
    """Why nobody can use an address any more where it was."""

    CONFIRMED = "the node has confirmed that no sandbox has it"
    MACHINE_OFF = "its machine is stopped or gone at the cloud"
    OUT_OF_SERVICE = "its node has the taint node.kubernetes.io/out-of-service"
    REASSIGNED = "its pod is gone, and the cloud moves it in one step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where an address is now, of another node than it is wanted on.

    ``pod_alive``: the object of the pod it was given to exists and has not ended. ``confirmed``: the node's agent has
    fenced it. ``answers``: node and agent are there to confirm, so that nothing else counts. ``atomic``: the cloud
    takes an address from one interface and gives it to another in one step.
    """

    node: str
    pod: str
    pod_alive: bool
    confirmed: bool
    answers: bool
    machine_off: bool
    out_of_service: bool
    atomic: bool


_TO_DO = "To do: stop the machine, or set the taint node.kubernetes.io/out-of-service on the node"


def may_move(where: Standing) -> Proof | str:
    """The proof that lets an address leave; else what it waits for."""
    if where.machine_off:
        return Proof.MACHINE_OFF
    if where.out_of_service:
        return Proof.OUT_OF_SERVICE
    if where.pod_alive and where.answers:
        return f"pod {where.pod} on node {where.node} still has it"
    if where.pod_alive:
        return (
            f"pod {where.pod} may still have it on node {where.node}, which does not answer, and nothing proves that "
            f"it has not. {_TO_DO}"
        )
    if where.confirmed:
        return Proof.CONFIRMED
    if where.answers:
        return f"node {where.node} has not confirmed yet that no sandbox has it"
    if where.atomic:
        return Proof.REASSIGNED
    return f"node {where.node} does not answer, and the cloud cannot move an address in one step. {_TO_DO}"


def oldest_first(pods: Iterable[ObjectMeta]) -> list[ObjectMeta]:
    """By creation: of a migrating machine's pods the first is the one it runs in."""
    return sorted(pods, key=lambda meta: (meta.creation_timestamp or "", meta.uid or ""))
