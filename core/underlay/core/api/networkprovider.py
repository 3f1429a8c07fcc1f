"""SpiderNetworkProvider: one cloud account and network whose addresses pods get. Written by the administrator. Pure."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from underlay.core.api.meta import (
    API_VERSION,
    Conditions,
    Family,
    LabelSelector,
    Natural,
    ObjectMeta,
    Selector,
    keyed_by,
    wire_name,
)

Ids = Annotated[list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(max_length=64)]
Tags = Annotated[dict[str, Annotated[str, Meta(max_length=256)]], Meta(max_length=50)]
"""A cloud's tags; 50 is the least that any cloud allows on one resource."""


class SecretReference(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """A Secret in the operator's reach."""

    name: Annotated[str, Meta(min_length=1, max_length=253)]
    namespace: Annotated[str, Meta(min_length=1, max_length=63)]


class AssumeRole(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """A role that the credentials take on for every call, often one of another account.

    ``role`` is what the cloud calls it (AWS: its ARN); ``external_id`` what its owner asks for besides, no secret;
    ``endpoint`` overrides the address of the service that gives out the role's credentials (AWS: STS).
    """

    role: Annotated[str, Meta(min_length=1, max_length=2048)]
    external_id: Annotated[str, Meta(max_length=1224)] = ""
    endpoint: Annotated[str, Meta(max_length=2048)] = ""


class SubnetReservation(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """A block of a subnet out of which the cloud shall give nothing else: whole prefixes, or fixed addresses only."""

    cidr: Annotated[str, Meta(min_length=1, max_length=64)]
    use: Literal["prefix", "fixed"]


class SubnetSelector(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Which subnets new interfaces are made in; neither ids nor tags: the subnet of the node's primary interface unless
    it is tagged ``kubernetes.io/role/cni: 0``, and those of the node's zone and network that are tagged with 1.

    ``ordered`` follows ``ids``. ``reservations`` are made in whichever of the subnets each lies in.
    """

    ids: Ids = []
    tags: Tags = {}
    policy: Literal["mostFree", "ordered", "spread"] = "mostFree"
    reservations: Annotated[list[SubnetReservation], keyed_by("cidr"), Meta(max_length=64)] = []


class SecurityGroupSelector(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Security groups of new interfaces; neither ids nor tags: those of the node's primary interface."""

    ids: Ids = []
    tags: Tags = {}


class InterfacePolicy(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """How many interfaces a node may have and how they are marked.

    ``max`` 0: the instance type's limit. ``reserved`` are left free for others. ``use_primary``: pods may get secondary
    addresses of the node's first interface too. ``tags`` are added to what is created. ``existing``: what a node had
    before, interfaces attached by hand or by another network plugin and addresses of its first interface, is left alone
    or taken over.
    """

    max: Natural = 0
    reserved: Natural = 0
    use_primary: bool = False
    existing: Literal["leave", "adopt"] = "leave"
    tags: Tags = {}


class AddressPolicy(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """How many addresses a node keeps.

    ``batch`` addresses are asked for at a time, ``buffer`` is the spare share of a batch (1.0: one batch free),
    ``minimum`` is held from the start, ``max_idle`` (0: batch + buffer decide) is what may stay unused. A freed address
    is not given again for ``cooldown_seconds``, and goes back to the cloud after being surplus for
    ``release_delay_seconds``.
    """

    families: Annotated[list[Family], Meta(min_length=1, max_length=2)] = msgspec.field(
        default_factory=lambda: ["ipv4"]
    )
    mode: Literal["secondaryIP", "prefix", "auto"] = "secondaryIP"
    batch: Annotated[int, Meta(ge=1, le=256)] = 4
    buffer: Annotated[float, Meta(ge=0, le=10)] = 0.5
    minimum: Natural = 0
    max_idle: Natural = 0
    cooldown_seconds: Natural = 30
    release_delay_seconds: Natural = 180


class NetworkPolicy(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """How pods are attached to the provider's interfaces."""

    attachment: Annotated[str, Meta(max_length=253)] = ""
    type: Literal["ipvlan", "macvlan"] = "ipvlan"


class SchedulingPolicy(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """How the scheduler learns that a node has no address left."""

    mode: Literal["taint", "resource"] = "taint"
    resource: Annotated[str, Meta(max_length=317)] = ""


class GarbageCollection(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """When an interface that nobody claims is deleted."""

    min_age_seconds: Natural = 600
    dry_run: bool = False


class SpiderNetworkProviderSpec(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """See docs/providers.md. ``endpoint`` overrides the cloud's own API address (private endpoints, tests)."""

    driver: Annotated[str, Meta(min_length=1, max_length=63)]
    region: Annotated[str, Meta(max_length=128)] = ""
    endpoint: Annotated[str, Meta(max_length=2048)] = ""
    node_selector: Selector = LabelSelector()
    credentials_secret_ref: SecretReference | None = None
    assume_role: AssumeRole | None = None
    subnets: SubnetSelector = SubnetSelector()
    security_groups: SecurityGroupSelector = SecurityGroupSelector()
    interfaces: InterfacePolicy = InterfacePolicy()
    addresses: AddressPolicy = AddressPolicy()
    fixed_address: Literal["required", "preferred"] = "preferred"
    network: NetworkPolicy = NetworkPolicy()
    scheduling: SchedulingPolicy = SchedulingPolicy()
    pod_metadata_access: bool = False
    garbage_collection: GarbageCollection = GarbageCollection()


class SubnetStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``free`` is what the cloud last said; nothing is asked of a subnet before ``blocked_until`` (RFC 3339), and no
    prefix before ``no_prefix_until``. ``pressure``: how scarce its addresses are (docs/sizing.md).
    """

    id: str
    cidr: str
    zone: str = ""
    free: int | None = None
    blocked_until: str | None = None
    no_prefix_until: str | None = None
    pressure: Literal["normal", "low", "empty"] = "normal"


class OperationStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Calls made to one API operation since the operator started."""

    operation: str
    calls: int
    throttled: int
    failed: int


class SpiderNetworkProviderStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Written by the operator.

    ``pods`` of its ``nodes`` have or need an address; so many more can start at once (``idle``) and at all (``room``).
    ``supply``: the subnets in a line.
    """

    nodes: int = 0
    pods: int = 0
    idle: int = 0
    room: int = 0
    supply: str = ""
    observed_generation: int = 0
    subnets: Annotated[list[SubnetStatus], keyed_by("id")] = []
    operations: Annotated[list[OperationStatus], keyed_by("operation")] = []
    conditions: Conditions = []


class SpiderNetworkProvider(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """One cloud account and network whose addresses pods get."""

    metadata: ObjectMeta
    spec: SpiderNetworkProviderSpec
    status: SpiderNetworkProviderStatus | None = None
    api_version: str = API_VERSION
    kind: str = "SpiderNetworkProvider"
