"""What every kind shares: metadata, conditions, and how attribute names become JSON names. Pure."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

import msgspec

E = TypeVar("E", bound=msgspec.Struct)

GROUP = "spiderpool.spidernet.io"
VERSION = "v2beta1"
API_VERSION = f"{GROUP}/{VERSION}"

_UPPER = {"ip": "IP", "ips": "IPs", "cidr": "CIDR", "mac": "MAC", "nic": "NIC", "mtu": "MTU", "rp": "RP", "id": "ID"}
_UPPER |= {"uid": "UID", "cni": "CNI", "ipam": "IPAM", "cidrs": "CIDRs", "ippool": "IPPool", "ippools": "IPPools"}


def wire_name(attribute: str) -> str:
    """``allocated_ip_count`` → ``allocatedIPCount``: Kubernetes' camel case with Spiderpool's acronyms."""
    first, *rest = attribute.rstrip("_").split("_")
    return first + "".join(_UPPER.get(word, word.capitalize()) for word in rest)


def keyed_by(key: str) -> msgspec.Meta:
    """Marks a list as a map keyed by one field of its items, so that each field manager applies its own items."""
    return msgspec.Meta(extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]})


Family = Literal["ipv4", "ipv6"]

Natural = Annotated[int, msgspec.Meta(ge=0)]
"""Zero or more."""


class OwnerReference(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """metav1.OwnerReference."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """The fields of metav1.ObjectMeta that Underlay reads or writes.

    ``omit_defaults`` is right here and wrong in specs and statuses: an absent metadata field means "leave it".
    """

    name: str = ""
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: list[str] = []
    owner_references: list[OwnerReference] = []


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """metav1.Condition. ``reason`` is CamelCase; ``message`` tells a person what to do next."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: str
    observed_generation: int | None = None


Conditions = Annotated[list[Condition], keyed_by("type")]


class LabelSelectorRequirement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """metav1.LabelSelectorRequirement. ``operator``: In, NotIn, Exists, DoesNotExist."""

    key: str
    operator: str  # any text, as Spiderpool stores it: one odd pool must not make a whole list unreadable
    values: list[str] | None = None


class LabelSelector(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """metav1.LabelSelector; the empty selector selects everything."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[LabelSelectorRequirement] | None = None


Selector = Annotated[LabelSelector, msgspec.Meta(extra_json_schema={"x-kubernetes-map-type": "atomic"})]
"""A ``LabelSelector`` as a field: written as a whole, never merged."""


def render_map(entries: Mapping[str, msgspec.Struct]) -> str | None:
    """Spiderpool's encoding of a map in a text field, byte-stable: keys sorted as text, no spaces; None for the empty
    map, never ``{}``.
    """
    return msgspec.json.encode(dict(sorted(entries.items()))).decode() if entries else None


def parse_map(text: str | None, entry: type[E]) -> dict[str, E]:
    """Inverse of ``render_map``."""
    return msgspec.json.decode(text, type=dict[str, entry]) if text else {}  # type: ignore[valid-type]
