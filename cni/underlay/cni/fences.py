"""Fence before release: the agent's part of the protocol that ``core.api.nodenetwork`` describes.

``fences_wanted`` and ``liftable`` are pure; ``Fences`` writes what they say and reads live where they ask for it.

    wish seen → neighbours forgotten → fence on disk → answered (``reports``) → lifted

The address may be on another node once the answer has left, so this is when the node's pods must have forgotten where
it was (``datapath.forgetting``): an agent killed before the fence is on disk does it again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

import structlog

from underlay.cni.book import Book
from underlay.cni.datapath.errors import DatapathError
from underlay.cni.kernel import Kernel
from underlay.cni.nodepools import NodePools, pool_addresses
from underlay.cni.records import Fenced, FenceLifted
from underlay.cni.state import State
from underlay.cni.withholding import masters
from underlay.core.addresses import IPAddress, parse_address
from underlay.core.api.ippool import SpiderIPPool
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.errors import InvalidInput
from underlay.core.ipam.claims import Fence
from underlay.core.kube.client import KubeClient
from underlay.core.kube.errors import KubeError, NotFound
from underlay.core.runtime.checkpoints import Checkpoint, passing


class FenceStep(StrEnum):
    """Crash points."""

    SEEN = "fence.seen"
    FORGOTTEN = "fence.forgotten"
    JOURNALED = "fence.journaled"
    ANSWERED = "fence.answered"
    LIFTED = "fence.lifted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A fence that only a live read can decide on. ``cancelled``: no wish and no completion names it any more."""

    fence: Fence
    cancelled: bool


def fences_wanted(state: State) -> Iterator[Fenced]:
    """A fence for each release that has none yet (addresses in use are ``held`` and stay), and for each recall of a
    fixed address that no sandbox has.
    """
    node_network, node = state.node_network, state.node
    if node_network is None or node is None or node_network.spec.node_uid != node.uid or not state.settled:
        return
    for index, release in enumerate(node_network.spec.release):
        if release.id in state.ledger.fences:
            continue
        try:
            where = f"spec.release[{index}].addresses"
            addresses = {text: parse_address(text, where) for text in release.addresses}
        except InvalidInput:
            continue  # never answered, hence never carried out
        held = [text for text, address in addresses.items() if address in state.ledger.held]
        yield Fenced(
            id=release.id,
            pool=release.pool,
            pool_uid=release.pool_uid,
            fenced=[text for text in release.addresses if text not in held],
            held=held,
        )
    for recall in node_network.spec.recall:
        if recall.id in state.ledger.fences:
            continue
        try:
            address = parse_address(recall.address, "spec.recall.address")
        except InvalidInput:
            continue
        if address not in state.ledger.held:  # while a sandbox has it there is nothing to confirm
            yield Fenced(id=recall.id, pool="", pool_uid="", fenced=[recall.address], held=[])


def leaving(state: State, fences: Iterable[Fenced]) -> frozenset[IPAddress]:
    """Of the addresses that ``fences`` take, those that the node's pods may know as a neighbour's: fixed ones, and
    what some pod here has had.
    """
    return frozenset(
        address
        for fence in fences
        for address in map(ip_address, fence.fenced)
        if not fence.pool or address in state.ledger.freed
    )


def neighbourhood(state: State, pools: NodePools) -> Mapping[str, frozenset[str]]:
    """The links behind which neighbours are found: of each pod by its namespace, of the host by ""."""
    found = {"": masters(state, pools)}
    for claim in state.ledger.claims.values():
        if claim.netns:
            found[claim.netns] = found.get(claim.netns, frozenset()) | {claim.attachment.ifname}
    return found


def liftable(state: State) -> Iterator[str | Doubt]:
    """Ids of fences that the agent's own copy of the pool lets it lift, and those that need a live read."""
    node_network = state.node_network
    if node_network is None:
        return
    wishes = {release.id for release in node_network.spec.release}
    done = {entry.id: entry for entry in node_network.spec.release_done}
    recalls = {recall.id for recall in node_network.spec.recall}
    for fence in state.ledger.fences.values():
        if not fence.pool:
            if fence.id not in recalls:
                yield fence.id
        elif entry := done.get(fence.id):
            pool = state.pools.get(fence.pool)
            if pool is None or pool.metadata.uid != entry.pool_uid:
                yield Doubt(fence=fence, cancelled=False)
            elif (pool.metadata.generation or 0) >= entry.generation:
                yield fence.id
        elif fence.id not in wishes:
            yield Doubt(fence=fence, cancelled=True)


def settles(doubt: Doubt, pool: SpiderIPPool | None, node_network: SpiderNodeNetwork | None) -> bool:
    """Whether live reads (None: not there) let the fence go.

    A release that was carried out: there is no pool of that uid any more. One that was cancelled, which the
    operator may do only before the pool shrinks: nothing names it, and the pool still has all its addresses.
    """
    gone = pool is None or pool.metadata.uid != doubt.fence.pool_uid
    if not doubt.cancelled:
        return gone
    if node_network is None:
        return gone
    spec = node_network.spec
    if doubt.fence.id in {item.id for item in spec.release} | {item.id for item in spec.release_done}:
        return False
    if pool is None or gone:
        return True
    try:
        return doubt.fence.fenced <= pool_addresses(pool)
    except InvalidInput:
        return False


class Fences:
    """Keeps the journal's fences in step with the SpiderNodeNetwork."""

    def __init__(
        self, *, book: Book, pools: NodePools, kernel: Kernel, client: KubeClient, checkpoint: Checkpoint = passing
    ) -> None:
        self._book = book
        self._pools = pools
        self._kernel = kernel
        self._client = client
        self._checkpoint = checkpoint
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Until cancelled. Doubts that cannot be decided now are looked at again a second later."""
        while True:
            seen = self._book.state
            undecided = await self.step()
            if self._book.state is seen:  # otherwise there may be more to do already
                await self._book.changed.wait(1.0 if undecided else None)

    async def step(self) -> bool:
        """One round; whether doubts are left."""
        if wanted := list(fences_wanted(self._book.state)):
            self._checkpoint(FenceStep.SEEN)
            await self._forget(wanted)
            self._checkpoint(FenceStep.FORGOTTEN)
            # What has been given or taken back meanwhile changes a fence: that one waits for the next round.
            wanted = [fence for fence in fences_wanted(self._book.state) if fence in wanted]
            await self._book.record(*wanted)
            self._checkpoint(FenceStep.JOURNALED)
            for fence in wanted:
                self._log.info(
                    "release.fenced", release=fence.id, pool=fence.pool, fenced=fence.fenced, held=fence.held
                )
        undecided = False
        for item in list(liftable(self._book.state)):
            if isinstance(item, str):
                await self._lift(item)
            elif await self._decide(item):
                await self._lift(item.fence.id)
            else:
                undecided = True
        return undecided

    async def _forget(self, wanted: Iterable[Fenced]) -> None:
        state = self._book.state
        if addresses := leaving(state, wanted):
            try:
                await self._kernel.forget(addresses, neighbourhood(state, self._pools))
            except (DatapathError, OSError) as refused:
                # Pods find the address at its new place later, which is no reason to keep it here.
                self._log.warning(
                    "neighbours.not_forgotten", addresses=sorted(map(str, addresses)), reason=str(refused)
                )

    async def _lift(self, fence_id: str) -> None:
        await self._book.record(FenceLifted(id=fence_id))
        self._checkpoint(FenceStep.LIFTED)
        self._log.info("release.finished", release=fence_id)

    async def _decide(self, doubt: Doubt) -> bool:
        node_network = self._book.state.node_network
        if node_network is None:
            return False
        try:
            live = await self._client.get(SpiderNodeNetwork, node_network.metadata.name)
        except NotFound:
            live = None
        except KubeError:
            return False
        try:
            return settles(doubt, await self._client.get(SpiderIPPool, doubt.fence.pool), live)
        except NotFound:
            return settles(doubt, None, live)
        except KubeError:
            return False
