"""The keys everything is indexed by. Pure."""

from hashlib import sha256
from typing import NewType

import msgspec

NodeName = NewType("NodeName", str)
InterfaceId = NewType("InterfaceId", str)
"""The cloud's own id of a network interface (``eni-0123…``)."""
SubnetId = NewType("SubnetId", str)
InstanceId = NewType("InstanceId", str)
ReservationId = NewType("ReservationId", str)
"""Of a block of a subnet that is kept for one use."""
Mac = NewType("Mac", str)
"""Lower case, colon separated: ``02:00:0a:00:00:01``."""


class PodRef(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One incarnation of a pod: a re-created pod of the same name has another ``uid``."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Attachment(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One interface of one sandbox, as CNI keys it (CNI 1.1 §2)."""

    container_id: str
    ifname: str

    def __str__(self) -> str:
        return f"{self.container_id[:13]}/{self.ifname}"


def node_label_value(node: str) -> str:
    """The value that selects a node's own pools: 16 hex digits, since a node's name may exceed a label's 63 letters."""
    return sha256(node.encode()).hexdigest()[:16]
