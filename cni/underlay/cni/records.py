"""What the journal holds: one Struct per fact, tagged by its first letters in JSON. Pure.

A record says what has been decided, never how to decide it: replaying is applying them in order to an empty ``State``.
A field may be added with a default; a changed meaning takes a new tag and a higher ``FORMAT``.
"""

from typing import Literal

import msgspec

from underlay.core.api.ippool import SpiderIPPool
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.identity import Attachment, PodRef

FORMAT = 1


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header"):
    """The first record. ``epoch`` names this journal: another one on the same node is a journal that was lost."""

    format: int
    epoch: str


class ClaimedAddress(msgspec.Struct, frozen=True, kw_only=True):
    """See ``core.ipam.claims.PoolAddress``."""

    address: str
    pool: str
    pool_uid: str
    fixed: bool = False


class Claimed(msgspec.Struct, frozen=True, kw_only=True, tag="claimed"):
    """See ``core.ipam.claims.Claim``."""

    attachment: Attachment
    pod: PodRef
    network: str
    netns: str
    addresses: list[ClaimedAddress]
    since: float
    confirmed: bool = False
    first: bool = True


class Confirmed(msgspec.Struct, frozen=True, kw_only=True, tag="confirmed"):
    """The runtime has its answer."""

    attachment: Attachment


class Released(msgspec.Struct, frozen=True, kw_only=True, tag="released"):
    """The attachment's addresses cool since ``at``."""

    attachment: Attachment
    at: float


class Cooled(msgspec.Struct, frozen=True, kw_only=True, tag="cooled"):
    """``addresses`` count as freed at ``at``: what a compacted journal keeps of old releases."""

    addresses: list[str]
    at: float


class Fenced(msgspec.Struct, frozen=True, kw_only=True, tag="fenced"):
    """See ``core.ipam.claims.Fence``."""

    id: str
    pool: str
    pool_uid: str
    fenced: list[str]
    held: list[str]


class FenceLifted(msgspec.Struct, frozen=True, kw_only=True, tag="lifted"):
    """That release is over."""

    id: str


class PoolAccepted(msgspec.Struct, frozen=True, kw_only=True, tag="pool"):
    """The copy of a pool that is served from now on; its status is left out."""

    pool: SpiderIPPool


class PoolForgotten(msgspec.Struct, frozen=True, kw_only=True, tag="nopool"):
    """The pool is gone."""

    name: str


class NodeNetworkAccepted(msgspec.Struct, frozen=True, kw_only=True, tag="nodenetwork"):
    """The copy of this node's SpiderNodeNetwork; None: it is gone."""

    node_network: SpiderNodeNetwork | None


class NodeSeen(msgspec.Struct, frozen=True, kw_only=True, tag="node"):
    """The Node's identity and addresses (InternalIP)."""

    uid: str
    provider_id: str
    addresses: list[str]


class BoundPod(msgspec.Struct, frozen=True, kw_only=True):
    """A living pod of this node, and what controls it (``Pod`` and its own name when nothing does).

    ``static_uid``: how kubelet calls a static pod, whose object in the API server has another uid. ``fixed``: it may
    have a fixed address, since its ``owner`` is one that lasts, or since it names pools (``named``).
    """

    ref: PodRef
    owner_kind: str = "Pod"
    owner_name: str = ""
    static_uid: str = ""
    fixed: Literal["", "owner", "named"] = ""


class PodBound(msgspec.Struct, frozen=True, kw_only=True, tag="pod"):
    """The pod may have addresses here."""

    pod: BoundPod


class PodGone(msgspec.Struct, frozen=True, kw_only=True, tag="nopod"):
    """The API server no longer has the pod, or it has ended."""

    ref: PodRef


class EpochSettled(msgspec.Struct, frozen=True, kw_only=True, tag="settled"):
    """What pods had when this journal began is counted as held: pools may be served."""


Record = (
    Header
    | Claimed
    | Confirmed
    | Released
    | Cooled
    | Fenced
    | FenceLifted
    | PoolAccepted
    | PoolForgotten
    | NodeNetworkAccepted
    | NodeSeen
    | PodBound
    | PodGone
    | EpochSettled
)
