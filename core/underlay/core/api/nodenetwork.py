"""SpiderNodeNetwork: what one node has at its cloud, and the hand-over between operator and agent. Pure.

Named as its Node. Operator and agent write disjoint fields by server-side apply under their own field managers, so
lists are keyed maps.

Fence before release (the only way an address leaves a node):
    operator  spec.release += {id, pool, poolUID, addresses}
    agent     fences the addresses in its journal, then status.released += {id, fenced, held}
    operator  removes the fenced ones from the pool (that write made ``generation``), unassigns them at the cloud, and
              moves the entry to spec.releaseDone {id, poolUID, generation}
    agent     lifts the fence once its own cached pool has that uid and generation or later, or a live read shows no
              pool of that uid; then drops the id from status.released; the operator then drops the releaseDone entry
An address still held is listed under ``held`` and stays in the pool.

A prefix goes as a whole: its release stays in spec.release, fenced, until all its addresses are fenced, by as many
releases as that takes; then all of them are carried out together. Until then it can be cancelled.

A fixed address is on no node pool. It leaves a node alike, with an order that needs no generation, since all of it is
in this one object:
    operator  spec.recall += {id, address}, once the pod it is listed for is gone
    agent     as soon as no sandbox has it: fences it in its journal, then status.released += {id, fenced}
    operator  records another pod, or nobody, in the SpiderIPBlock; lists the address for nobody here; then drops the
              recall
    agent     lifts the fence once its copy of this object has no such recall

Before it answers either, the agent has the node's pods forget the addresses as neighbours: from then on they may be
found elsewhere.
"""

from typing import Annotated, Literal

import msgspec

from underlay.core.api.meta import API_VERSION, Conditions, Family, ObjectMeta, keyed_by, wire_name

OPERATOR_MANAGER = "underlay-operator"
AGENT_MANAGER = "underlay-agent"


class Release(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """The operator's wish to take addresses out of a pool."""

    id: str
    pool: str
    pool_uid: str
    addresses: list[str]


class ReleaseDone(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """A release that has been carried out: the pool of ``pool_uid`` lacks its addresses since ``generation``."""

    id: str
    pool: str
    pool_uid: str
    generation: int


class Service(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """A service of the cloud's own at a fixed address: as ``core.cloud.model.CloudService``."""

    address: str
    purpose: Literal["metadata", "dns", "time", "pod-identity"]


class Recall(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """The operator's wish that a fixed address be given to nobody here any more."""

    id: str
    address: str


class FixedVerdict(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Why a pod that may have a fixed address has none: ``ordinary``, it gets one of the node's pools instead, and
    that stays so for this incarnation; else its ADD waits.
    """

    pod_uid: str
    pod: str
    ordinary: bool
    reason: str


class SpiderNodeNetworkSpec(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Written by the operator alone.

    ``network_type``, ``families``, ``cooldown_seconds`` and ``pod_metadata_access`` are the provider's and ``services``
    its driver's, so that the agent needs one object. ``families``: of each a pod gets one address or none at all,
    whatever pools there are by now. ``fixed_address``: pods of stable owners wait for one that is fixed, or
    (``preferred``) for the word that it cannot be; empty: the provider has none for them, they get ordinary ones.
    """

    provider: str
    node_uid: str
    provider_id: str
    network_type: Literal["ipvlan", "macvlan"] = "ipvlan"
    families: Annotated[list[Family], msgspec.Meta(min_length=1, max_length=2)] = msgspec.field(
        default_factory=lambda: ["ipv4"]
    )
    cooldown_seconds: int = 30
    services: Annotated[list[Service], keyed_by("address")] = []
    pod_metadata_access: bool = False
    release: Annotated[list[Release], keyed_by("id")] = []
    release_done: Annotated[list[ReleaseDone], keyed_by("id")] = []
    fixed_address: Literal["", "preferred", "required"] = ""
    fixed: Annotated[list[FixedVerdict], keyed_by("podUID")] = []
    recall: Annotated[list[Recall], keyed_by("id")] = []


class InstanceStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """The machine as the cloud knows it."""

    id: str
    type: str
    zone: str
    state: str


class LimitsStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """What the instance type allows, primary addresses included."""

    interfaces: int
    ipv4_per_interface: int
    ipv6_per_interface: int


class Floating(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """A fixed address that is on this interface for ``owner`` (``StatefulSet/namespace/name-0``, or a pod's name).

    ``pod_uid``: the one pod that gets it here now; empty: nobody does. ``pool`` and ``pool_uid``: where it is from.
    ``arriving``: the owner's former pod, on another node, still has it (a virtual machine migrates); at the cloud it
    follows when that pod has ended.
    """

    address: str
    owner: str
    pod_uid: str = ""
    pool: str = ""
    pool_uid: str = ""
    arriving: bool = False


class InterfaceStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """One interface at the cloud.

    ``addresses`` are the secondary ones for any pod, without mask; ``floating`` those that belong to someone, which no
    node pool lists; ``foreign`` what was there before Underlay or belongs to another network plugin's pod;
    ``primary_address`` is never a pod's. ``managed``: ours, or the machine's first; others are left alone.
    ``device_index`` counts per ``network_card``.
    """

    id: str
    mac: str
    device_index: int
    network_card: int = 0
    primary: bool
    state: str
    subnet: str
    ipv4_cidr: str = ""
    ipv4_gateway: str = ""
    ipv6_cidr: str = ""
    ipv6_gateway: str = ""
    managed: bool = True
    primary_address: str = ""
    addresses: list[str] = []
    prefixes: list[str] = []
    foreign: list[str] = []
    floating: Annotated[list[Floating], keyed_by("address")] = []


class Intent(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """A cloud write that may be under way. Written before the call, removed when its outcome is in ``interfaces``.

    ``token``: the client token of a create; it is made on ``network_card`` with ``wanted`` (kind → how many). ``kind``
    and ``count``: what is assigned by number; ``addresses``: what is named (prefixes too), with ``reassign`` from
    whichever interface has it. ``before``: what the interface had, for calls whose outcome is found by comparing.
    """

    id: str
    operation: Literal["createInterface", "assign", "unassign", "deleteInterface"]
    started_at: str
    token: str = ""
    interface: str = ""
    subnet: str = ""
    network_card: int = 0
    wanted: dict[str, int] = {}
    kind: Literal["ipv4", "ipv6", "ipv4Prefix", "ipv6Prefix"] = "ipv4"
    count: int = 0
    addresses: list[str] = []
    before: list[str] = []
    reassign: bool = False


class Demand(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Why the node has as many addresses as it has.

    ``pods`` bound or holding, ``cooling`` freed lately, ``target`` wanted, ``usable``: pods that the addresses in pools
    serve, ``room``: pods more than those bound that can get addresses at all.
    """

    pods: int
    cooling: int
    target: int
    usable: int
    room: int = 0


class Link(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """A link of the node whose MAC is one of the interfaces'. Written by the agent.

    ``router6``: the link-local address of the IPv6 router heard there; empty: none, or no IPv6 pool needs one.
    """

    mac: str
    name: str
    mtu: int
    state: Literal["up", "down"]
    driver: str = ""
    router6: str = ""


class Released(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """The agent's answer to a ``Release``: ``fenced`` are given to nobody any more, ``held`` are in use and stay."""

    id: str
    fenced: list[str]
    held: list[str] = []


class OperatorStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """The operator's part of the status: the body of its server-side apply. ``conditions`` holds its own types only."""

    instance: InstanceStatus | None = None
    limits: LimitsStatus | None = None
    interfaces: Annotated[list[InterfaceStatus], keyed_by("id")] = []
    intents: Annotated[list[Intent], keyed_by("id")] = []
    demand: Demand | None = None
    conditions: Conditions = []


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """The agent's part of the status: the body of its server-side apply. ``conditions`` holds its own types only."""

    journal_epoch: str = ""
    cooling: int = 0
    links: Annotated[list[Link], keyed_by("mac")] = []
    released: Annotated[list[Released], keyed_by("id")] = []
    conditions: Conditions = []


class SpiderNodeNetworkStatus(OperatorStatus, frozen=True, kw_only=True, rename=wire_name):
    """Both parts, as the API server merges them (Structs cannot inherit twice, hence the agent's fields once more)."""

    journal_epoch: str = ""
    cooling: int = 0
    links: Annotated[list[Link], keyed_by("mac")] = []
    released: Annotated[list[Released], keyed_by("id")] = []


class SpiderNodeNetwork(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """What one node has at its cloud. Named as its Node."""

    metadata: ObjectMeta
    spec: SpiderNodeNetworkSpec
    status: SpiderNodeNetworkStatus | None = None
    api_version: str = API_VERSION
    kind: str = "SpiderNodeNetwork"
