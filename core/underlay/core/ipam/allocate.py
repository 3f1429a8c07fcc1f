"""Which addresses an attachment gets from its node's own pools. Pure.

One interface serves all families of an attachment, since the pod's link sits on one master: pools are tried
interface by interface, in the order given, and dual stack is all or nothing. Within a pool: never used before
unused longest, lowest address first; an address that is held, fenced, excluded or cooling is never given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from underlay.core.addresses import IPAddress, IPNetwork
from underlay.core.identity import Attachment, Mac, PodRef
from underlay.core.ipam.claims import Claim, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePool:
    """One family of one interface of this node. ``refusal`` says why it serves nobody now; empty when it serves.

    ``unrouted`` says why there is no ``gateway`` although there must be one: the pool serves only what needs none.
    ``fixed``: its one address is the pod's own, of a pool that is no node's.
    """

    name: str
    uid: str
    family: int
    subnet: IPNetwork
    gateway: IPAddress | None
    addresses: frozenset[IPAddress]
    mac: Mac
    refusal: str = ""
    unrouted: str = ""
    fixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for: one address of each of ``families`` (4, 6).

    ``routed``: the default route will lead through this attachment, so each pool must know its gateway.
    """

    attachment: Attachment
    pod: PodRef
    families: tuple[int, ...]
    routed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """An address and the pool that gives it."""

    pool: NodePool
    address: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """One grant per family, all of one interface, in the order of ``Request.families``."""

    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """No address now. ``reasons`` pool → why not; ``retry_at``: when the next cooling address may be given, None if
    none cools.
    """

    reasons: Mapping[str, str]
    retry_at: float | None = None

    def __str__(self) -> str:
        if not self.reasons:
            return "this node has no pool"
        return "; ".join(f"pool {pool}: {reason}" for pool, reason in self.reasons.items())


def allocate(
    *,
    pools: Sequence[NodePool],
    ledger: Ledger,
    request: Request,
    now: float,
    cooldown_seconds: float,
    excluded: Mapping[IPAddress, str] | None = None,
) -> Assigned | Shortage:
    """Addresses for ``request`` out of ``pools`` (best first; pools of one interface side by side).

    A claim that the attachment already has for the same pod is given again while its pools serve and it has all the
    families. ``excluded``: address → why it must not be given (found on the host).
    """
    banned = excluded or {}
    existing = ledger.claims.get(request.attachment)
    if existing and existing.pod == request.pod and (again := _again(existing, pools, request, banned)):
        return again
    reasons: dict[str, str] = {}
    retry_at: float | None = None
    for mac, group in groupby(pools, key=lambda pool: pool.mac):
        members = tuple(group)
        grants: list[Grant] = []
        for family in request.families:
            offers = [pool for pool in members if pool.family == family]
            for pool in offers:
                found = _refusal(pool, request) or _pick(pool, ledger, now, cooldown_seconds, banned)
                if not isinstance(found, str):
                    if isinstance(found, float):
                        retry_at = found if retry_at is None else min(retry_at, found)
                        found = _exhausted(pool, ledger, now, cooldown_seconds, banned)
                    else:
                        grants.append(Grant(pool=pool, address=found))
                        break
                reasons[pool.name] = found
            if not offers:
                reasons[members[0].name] = f"interface {mac} has no IPv{family} pool"
        if len(grants) == len(request.families):
            return Assigned(grants=tuple(grants))
        for grant in grants:
            reasons.setdefault(grant.pool.name, "has room, but another family of this interface has none")
    return Shortage(reasons=reasons, retry_at=retry_at)


def _refusal(pool: NodePool, request: Request) -> str:
    return pool.refusal or (pool.unrouted if request.routed else "")


def _again(
    claim: Claim, pools: Sequence[NodePool], request: Request, banned: Mapping[IPAddress, str]
) -> Assigned | None:
    by_uid = {pool.uid: pool for pool in pools if not _refusal(pool, request)}
    grants = tuple(
        Grant(pool=by_uid[item.pool_uid], address=item.address)
        for item in claim.addresses
        if item.pool_uid in by_uid and item.address in by_uid[item.pool_uid].addresses and item.address not in banned
    )
    # Fewer than it had: an address has left its pool. Other families than asked for: the node's have changed.
    whole = len(grants) == len(claim.addresses) and tuple(grant.pool.family for grant in grants) == request.families
    return Assigned(grants=grants) if whole else None


def _pick(
    pool: NodePool, ledger: Ledger, now: float, cooldown_seconds: float, banned: Mapping[IPAddress, str]
) -> IPAddress | float | str:
    """An address; or when the first cooling one may be given; or why there is none."""
    # Set operations reuse stored hashes: an address object computes its own anew each time, which for a large node is
    # the ADD's cost.
    free = pool.addresses.difference(ledger.held).difference(ledger.fenced)
    if banned:
        free = free.difference(banned)
    if fresh := free.difference(ledger.freed):
        return min(fresh, key=int)
    if not free:
        return _exhausted(pool, ledger, now, cooldown_seconds, banned)
    freed = ledger.freed
    oldest = min(free, key=lambda address: (freed[address], int(address)))
    ready_at = freed[oldest] + cooldown_seconds
    return oldest if ready_at <= now else ready_at


def _exhausted(
    pool: NodePool, ledger: Ledger, now: float, cooldown_seconds: float, banned: Mapping[IPAddress, str]
) -> str:
    if not pool.addresses:
        return "has no address yet"
    cooling = ledger.cooling(now, cooldown_seconds)
    counts = {
        "held": sum(address in ledger.held for address in pool.addresses),
        "cooling down": sum(address in cooling for address in pool.addresses),
        "being released": sum(address in ledger.fenced for address in pool.addresses),
        "found on the host": sum(address in banned for address in pool.addresses),
    }
    taken = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"none of its {len(pool.addresses)} addresses is free ({taken})"
