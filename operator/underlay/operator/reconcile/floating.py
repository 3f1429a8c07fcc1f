"""Pods of a node that want a fixed address → what each gets, waits for, or is refused. Pure.

wish      which pools of fixed addresses a pod may have one of, and why not of the others
decide    the address: kept, handed over from the owner's former pod, or newly claimed
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from underlay.core.addresses import IPAddress, IPNetwork, RangeSet, parse_network
from underlay.core.api.ipblock import BlockEntry
from underlay.core.api.ippool import NODE_LABEL, PROVIDER_ANNOTATION, SHARED, SpiderIPPool, SpiderIPPoolSpec
from underlay.core.api.kubernetes import Node, Pod
from underlay.core.api.selectors import selects
from underlay.core.cloud.planning.floating import Blocked, Way
from underlay.core.errors import InvalidInput
from underlay.core.ipam.ownership import (
    Owner,
    Proof,
    Standing,
    may_be_fixed,
    may_move,
    named_pools,
    names_pools,
    owner_of,
)
from underlay.operator.reconcile.demand import wants_address

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_NO_POOL = (
    "its provider requires fixed addresses for such pods and has no pool of them with default: true."
    " To do: make one, or set spec.fixedAddress: preferred of the provider"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatingPool:
    """A pool of fixed addresses of one provider. ``listed``: all of it; ``addresses``: what it may give."""

    name: str
    uid: str
    provider: str
    subnet: IPNetwork
    listed: RangeSet
    addresses: RangeSet
    spec: SpiderIPPoolSpec


def recognised(pool: SpiderIPPool) -> FloatingPool | None:
    """None: another kind of pool. Raises ``InvalidInput`` naming the field of one that cannot be read."""
    meta, spec = pool.metadata, pool.spec
    provider = meta.annotations.get(PROVIDER_ANNOTATION, "")
    if meta.labels.get(NODE_LABEL) != SHARED or not provider:
        return None
    where = f"SpiderIPPool {meta.name}"
    listed = RangeSet.parse(spec.ips or (), f"{where} spec.ips")
    return FloatingPool(
        name=meta.name,
        uid=meta.uid or "",
        provider=provider,
        subnet=parse_network(spec.subnet, f"{where} spec.subnet"),
        listed=listed,
        addresses=listed.difference(RangeSet.parse(spec.exclude_ips or (), f"{where} spec.excludeIPs")),
        spec=spec,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a pod wants. ``pools`` best first; ``refusals``: pool → why it is none of them. ``ordinary``: it gets an
    address of the node's own pools, for that reason.
    """

    pod: Pod
    owner: Owner
    pools: tuple[FloatingPool, ...] = ()
    refusals: Mapping[str, str] = field(default_factory=dict)
    ordinary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a pod is to have its address. ``required``: the provider has stable owners wait for a fixed one, also while
    there is no pool of such. ``labels_of`` a namespace.
    """

    node: Node
    provider: str
    required: bool
    labels_of: Callable[[str], Mapping[str, str]]


def wish(pod: Pod, pools: Iterable[FloatingPool], at: Place) -> Wish | None:
    """None: the pod's address is no matter of fixed ones. ``pools``: those of every provider, by name."""
    meta = pod.metadata
    if not wants_address(pod) or not may_be_fixed(meta):
        return None
    owner, known = owner_of(meta), tuple(pools)
    own = [pool for pool in known if pool.provider == at.provider]
    if not names_pools(meta):
        default = [pool for pool in own if pool.spec.default]
        if not default:
            return Wish(pod=pod, owner=owner, refusals={"": f"{_NO_POOL} ({at.provider})"}) if at.required else None
        refusals = {pool.name: why for pool in default if (why := unfit(pool, pod, at))}
        fitting = tuple(pool for pool in default if pool.name not in refusals)
        return Wish(
            pod=pod,
            owner=owner,
            pools=fitting,
            refusals=refusals,
            ordinary="" if fitting else f"no default pool of fixed addresses is for it: {_told(refusals)}",
        )
    try:
        names = named_pools(meta)
    except InvalidInput as error:
        return Wish(pod=pod, owner=owner, refusals={"": str(error)})
    found = [pool for name in names for pool in known if fnmatchcase(pool.name, name)]
    if not found:
        return Wish(pod=pod, owner=owner, ordinary=f"{', '.join(names) or 'nothing'} is no pool of fixed addresses")
    ordered = dict.fromkeys(pool.name for pool in found)
    by_name = {pool.name: pool for pool in found}
    refusals = {name: why for name in ordered if (why := _other(by_name[name], pod, at))}
    return Wish(
        pod=pod,
        owner=owner,
        pools=tuple(by_name[name] for name in ordered if name not in refusals),
        refusals=refusals,
    )


def unfit(pool: FloatingPool, pod: Pod, at: Place) -> str:
    """Why the pool is not for that pod there; empty when it is."""
    spec, meta, node = pool.spec, pod.metadata, at.node
    if spec.disable:
        return "is disabled"
    if pool.subnet.version != 4:
        return "is of IPv6; fixed addresses are IPv4"
    if spec.node_name and node.metadata.name not in spec.node_name:
        return f"is for nodes {', '.join(spec.node_name)}"
    if not spec.node_name and spec.node_affinity and not selects(spec.node_affinity, node.metadata.labels):
        return "its nodeAffinity does not match"
    if spec.namespace_name and meta.namespace not in spec.namespace_name:
        return f"is for namespaces {', '.join(spec.namespace_name)}"
    affinity = None if spec.namespace_name else spec.namespace_affinity
    if affinity and not selects(affinity, at.labels_of(meta.namespace or "")):
        return "its namespaceAffinity does not match"
    if spec.pod_affinity and not selects(spec.pod_affinity, meta.labels):
        return "its podAffinity does not match"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """It has it."""

    address: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """From the owner's former pod; ``proof`` None: on this very node, whose agent sees to the order."""

    address: IPAddress
    before: BlockEntry
    proof: Proof | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrive:
    """The owner is a machine that migrates here: its new pod is given the address before the cloud moves it."""

    address: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One that nobody has, or the owner's own that cools."""

    address: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Not yet, for ``why``; ``address``: the one it is about."""

    address: IPAddress
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """It cannot have one here, for ``why``."""

    why: str


Outcome = Keep | HandOver | Arrive | Claim | Wait | Refuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a decision depends on.

    ``away``: why nothing is brought to the node now; empty when it may. ``way`` of an address to the node; ``standing``
    of an address on another one; ``alive``: the pod of that uid exists and has not ended; ``choose`` an address of a
    pool, or why it has none.
    """

    node: str
    away: str
    way: Callable[[IPAddress], Way]
    standing: Callable[[BlockEntry], Standing]
    alive: Callable[[str], bool]
    choose: Callable[[FloatingPool], IPAddress | str]


def decide(wanted: Wish, recorded: Sequence[tuple[IPAddress, BlockEntry]], on: Situation) -> Outcome:
    """``recorded``: the owner's entries, the one that counts first."""
    for address, entry in recorded:
        if entry.cooling_since is None:
            return _again(wanted, address, entry, on)
    if on.away:
        return Refuse(why=on.away)
    for address, _ in recorded:
        if any(address in pool.addresses for pool in wanted.pools) and not isinstance(on.way(address), Blocked):
            return Claim(address=address)
    if wanted.pod.metadata.deletion_timestamp is not None:
        return Refuse(why="the pod is being deleted")
    reasons = dict(wanted.refusals)
    for pool in wanted.pools:
        found = on.choose(pool)
        if isinstance(found, str):
            reasons[pool.name] = found
            continue
        step = on.way(found)
        if not isinstance(step, Blocked):
            return Claim(address=found)
        reasons[pool.name] = step.why
    return Refuse(why=_told(reasons) or "no pool of fixed addresses is for it")


def counting_first(recorded: Iterable[tuple[IPAddress, BlockEntry]]) -> list[tuple[IPAddress, BlockEntry]]:
    """Held before cooling, then the oldest, then the lowest."""
    return sorted(recorded, key=lambda item: (item[1].cooling_since is not None, item[1].since, int(item[0])))


def _again(wanted: Wish, address: IPAddress, entry: BlockEntry, on: Situation) -> Outcome:
    uid = wanted.pod.metadata.uid
    if entry.uid == uid and entry.node == on.node:
        return Keep(address=address)
    if on.away:
        return Wait(address=address, why=on.away)
    step = on.way(address)
    if isinstance(step, Blocked):
        return Refuse(why=f"{wanted.owner} has {address}, which cannot come to this node: {step.why}")
    if entry.node == on.node:
        if on.alive(entry.uid):
            return Wait(address=address, why=f"{address}: pod {entry.pod} on this node still has it")
        return HandOver(address=address, before=entry, proof=None)
    where = on.standing(entry)
    proof = may_move(where)
    if isinstance(proof, Proof):
        return HandOver(address=address, before=entry, proof=proof)
    if wanted.owner.kind == "VirtualMachine" and where.pod_alive and where.answers:
        return Arrive(address=address)
    return Wait(address=address, why=f"{address}: {proof}")


def _other(pool: FloatingPool, pod: Pod, at: Place) -> str:
    if pool.provider != at.provider:
        return f"is of provider {pool.provider}, this node's is {at.provider}"
    return unfit(pool, pod, at)


def _told(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"pool {name}: {why}" if name else why for name, why in reasons.items())
