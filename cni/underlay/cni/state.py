"""What the agent knows, as one frozen value: a fold over the journal's records. Pure.

``apply`` is the only way it changes; ``snapshot`` is its inverse: the shortest list of records that gives the same
state again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from itertools import groupby
from typing import assert_never

from underlay.cni import records
from underlay.cni.records import BoundPod, Record
from underlay.core.api.ippool import SpiderIPPool
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.identity import PodRef
from underlay.core.ipam.claims import Claim, Fence, Ledger, PoolAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """``pools`` and ``node_network`` are the last accepted copies: only what they say is served. ``pods`` by
    namespace and name.

    ``settled`` False: this journal is new, and nobody has looked yet what pods already have.
    """

    epoch: str = ""
    settled: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    pools: Mapping[str, SpiderIPPool] = field(default_factory=dict)
    node_network: SpiderNodeNetwork | None = None
    node: records.NodeSeen | None = None
    pods: Mapping[tuple[str, str], BoundPod] = field(default_factory=dict)


def apply(state: State, record: Record) -> State:  # noqa: C901, PLR0912 - one case per kind of record
    """``state`` after ``record``."""
    ledger = state.ledger
    match record:
        case records.Header():
            return replace(state, epoch=record.epoch)
        case records.Claimed():
            return replace(state, ledger=ledger.claim(claim_of(record)))
        case records.Confirmed():
            return replace(state, ledger=ledger.confirm(record.attachment))
        case records.Released():
            return replace(state, ledger=ledger.release(record.attachment, at=record.at))
        case records.Cooled():
            for address in record.addresses:
                ledger = ledger.cool(ip_address(address), since=record.at)
            return replace(state, ledger=ledger)
        case records.Fenced():
            return replace(state, ledger=ledger.fence(_fence(record)))
        case records.FenceLifted():
            return replace(state, ledger=ledger.lift(record.id))
        case records.PoolAccepted():
            return replace(state, pools={**state.pools, record.pool.metadata.name: record.pool})
        case records.PoolForgotten():
            return replace(state, pools={name: pool for name, pool in state.pools.items() if name != record.name})
        case records.NodeNetworkAccepted():
            return replace(state, node_network=record.node_network)
        case records.NodeSeen():
            return replace(state, node=record)
        case records.PodBound():
            return replace(state, pods={**state.pods, _key(record.pod.ref): record.pod})
        case records.PodGone():
            return _without_pod(state, record.ref)
        case records.EpochSettled():
            return replace(state, settled=True)
        case _:
            assert_never(record)


def replay(everything: Iterable[Record]) -> State:
    """The state after all records, from nothing."""
    state = State()
    for record in everything:
        state = apply(state, record)
    return state


def snapshot(state: State) -> Iterator[Record]:
    """Records that make ``state`` again."""
    yield records.Header(format=records.FORMAT, epoch=state.epoch)
    if state.settled:
        yield records.EpochSettled()
    if state.node:
        yield state.node
    if state.node_network:
        yield records.NodeNetworkAccepted(node_network=state.node_network)
    for pool in state.pools.values():
        yield records.PoolAccepted(pool=pool)
    for pod in state.pods.values():
        yield records.PodBound(pod=pod)
    for claim in state.ledger.claims.values():
        yield claimed_of(claim)
    for fence in state.ledger.fences.values():
        yield _fenced(fence)
    by_time = sorted(state.ledger.freed.items(), key=lambda item: (item[1], str(item[0])))
    for at, group in groupby(by_time, key=lambda item: item[1]):
        yield records.Cooled(addresses=[str(address) for address, _ in group], at=at)


def claim_of(record: records.Claimed) -> Claim:
    """The claim a record tells of."""
    return Claim(
        attachment=record.attachment,
        pod=record.pod,
        network=record.network,
        netns=record.netns,
        addresses=tuple(
            PoolAddress(address=ip_address(item.address), pool=item.pool, pool_uid=item.pool_uid, fixed=item.fixed)
            for item in record.addresses
        ),
        since=record.since,
        confirmed=record.confirmed,
        first=record.first,
    )


def claimed_of(claim: Claim) -> records.Claimed:
    """Inverse of ``claim_of``."""
    return records.Claimed(
        attachment=claim.attachment,
        pod=claim.pod,
        network=claim.network,
        netns=claim.netns,
        addresses=[
            records.ClaimedAddress(address=str(item.address), pool=item.pool, pool_uid=item.pool_uid, fixed=item.fixed)
            for item in claim.addresses
        ],
        since=claim.since,
        confirmed=claim.confirmed,
        first=claim.first,
    )


def _fence(record: records.Fenced) -> Fence:
    return Fence(
        id=record.id,
        pool=record.pool,
        pool_uid=record.pool_uid,
        fenced=frozenset(map(ip_address, record.fenced)),
        held=frozenset(map(ip_address, record.held)),
    )


def _fenced(fence: Fence) -> records.Fenced:
    return records.Fenced(
        id=fence.id,
        pool=fence.pool,
        pool_uid=fence.pool_uid,
        fenced=sorted(map(str, fence.fenced)),
        held=sorted(map(str, fence.held)),
    )


def _key(ref: PodRef) -> tuple[str, str]:
    return ref.namespace, ref.name


def _without_pod(state: State, ref: PodRef) -> State:
    # A pod of the same name may have been bound since: only that incarnation goes.
    known = state.pods.get(_key(ref))
    if known is None or known.ref != ref:
        return state
    return replace(state, pods={key: pod for key, pod in state.pods.items() if key != _key(ref)})
