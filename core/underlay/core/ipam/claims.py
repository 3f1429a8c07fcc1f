"""A node's ledger: which address is claimed by which attachment, freed when, fenced by which release. Pure.

The agent's journal is a list of changes to this value; whoever replays it gets the same ledger. Each operation
returns a new one and refuses (``DoubleOwner``) what would give an address to two attachments, so a bug or a bad
journal is found here and not on the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from underlay.core.addresses import IPAddress
from underlay.core.errors import UnderlayError
from underlay.core.identity import Attachment, PodRef


class DoubleOwner(UnderlayError):
    """``address`` was to be claimed for ``wanted`` while ``owner`` holds it."""

    def __init__(self, address: IPAddress, *, owner: Attachment, wanted: Attachment) -> None:
        self.address = address
        self.owner = owner
        self.wanted = wanted
        super().__init__(f"address {address} is held by {owner}, cannot be claimed for {wanted}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAddress:
    """An address and the incarnation of the pool it was taken from.

    ``fixed``: it is its owner's and no node pool's, so that given back it does not cool here.
    """

    address: IPAddress
    pool: str
    pool_uid: str
    fixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Addresses given to one interface of one sandbox. ``confirmed``: the runtime was told; a repeated ADD is then
    its mistake.

    ``pod`` with an empty uid: found in a pod namespace by an agent that has lost its journal, nobody knows whose.
    ``first``: the interface that has the sandbox's default route and came with its way to the node; one per sandbox.
    """

    attachment: Attachment
    pod: PodRef
    network: str
    netns: str
    addresses: tuple[PoolAddress, ...]
    since: float
    confirmed: bool = False
    first: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """``fenced`` addresses are given to nobody; ``held`` were in use when the release came, and stay."""

    id: str
    pool: str
    pool_uid: str
    fenced: frozenset[IPAddress]
    held: frozenset[IPAddress] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """``freed`` is when an address was last let go (seconds since the epoch); ``held`` and ``fenced`` follow from
    claims and fences.
    """

    claims: Mapping[Attachment, Claim] = field(default_factory=dict)
    freed: Mapping[IPAddress, float] = field(default_factory=dict)
    fences: Mapping[str, Fence] = field(default_factory=dict)
    held: Mapping[IPAddress, Attachment] = field(default_factory=dict)
    fenced: frozenset[IPAddress] = frozenset()

    def claim(self, claim: Claim) -> Self:
        """The ledger with ``claim`` in it, instead of an earlier one of the same attachment."""
        held = dict(self.held)
        freed = dict(self.freed)
        if earlier := self.claims.get(claim.attachment):
            for item in earlier.addresses:
                del held[item.address]
                if not item.fixed:
                    freed[item.address] = claim.since
        for item in claim.addresses:
            if owner := held.get(item.address):
                raise DoubleOwner(item.address, owner=owner, wanted=claim.attachment)
            held[item.address] = claim.attachment
            freed.pop(item.address, None)
        return replace(self, claims={**self.claims, claim.attachment: claim}, held=held, freed=freed)

    def confirm(self, attachment: Attachment) -> Self:
        """Unchanged when there is no such claim: its DEL was quicker."""
        claim = self.claims.get(attachment)
        if claim is None or claim.confirmed:
            return self
        return replace(self, claims={**self.claims, attachment: replace(claim, confirmed=True)})

    def release(self, attachment: Attachment, *, at: float) -> Self:
        """The attachment's addresses start to cool. Unchanged when it holds none."""
        claim = self.claims.get(attachment)
        if claim is None:
            return self
        claims = dict(self.claims)
        del claims[attachment]
        held = dict(self.held)
        freed = dict(self.freed)
        for item in claim.addresses:
            del held[item.address]
            if not item.fixed:
                freed[item.address] = at
        return replace(self, claims=claims, held=held, freed=freed)

    def cool(self, address: IPAddress, *, since: float) -> Self:
        """``address`` counts as freed at ``since``; a later known time stays, a held address is not touched."""
        if address in self.held or self.freed.get(address, since - 1) >= since:
            return self
        return replace(self, freed={**self.freed, address: since})

    def forget(self, addresses: frozenset[IPAddress]) -> Self:
        """Without the memory of when ``addresses`` were freed."""
        return replace(self, freed={address: at for address, at in self.freed.items() if address not in addresses})

    def fence(self, fence: Fence) -> Self:
        """The ledger with ``fence``. A repeated id replaces the former."""
        return self._with_fences({**self.fences, fence.id: fence})

    def lift(self, fence_id: str) -> Self:
        """Without that fence; unchanged when there is none."""
        return self._with_fences({key: fence for key, fence in self.fences.items() if key != fence_id})

    def cooling(self, now: float, cooldown_seconds: float) -> frozenset[IPAddress]:
        """Addresses freed less than ``cooldown_seconds`` ago."""
        return frozenset(address for address, at in self.freed.items() if now < at + cooldown_seconds)

    def _with_fences(self, fences: Mapping[str, Fence]) -> Self:
        fenced = frozenset[IPAddress]().union(*(fence.fenced for fence in fences.values()))
        return replace(self, fences=fences, fenced=fenced)
