"""What the journal says, compared with the kernel and the API server.

``Repair.settle``: a journal that is new (or is not the one the cluster recorded) may have lost claims, so before
any pool serves, every pod namespace is read and what is found there is counted as held. ``Repair.run``: a claim
whose pod is gone from a complete list and whose namespace is gone too has lost its DEL, and is freed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import structlog

from underlay.cni import fixed
from underlay.cni.book import Book
from underlay.cni.datapath.errors import DatapathError, NamespaceGone
from underlay.cni.errors import CniError
from underlay.cni.kernel import Kernel
from underlay.cni.nodepools import pool_addresses
from underlay.cni.records import Claimed, ClaimedAddress, Cooled, EpochSettled, Record
from underlay.cni.state import State
from underlay.cni.verbs import FOUND, Verbs
from underlay.cni.watch import Watch
from underlay.core.addresses import IPAddress
from underlay.core.errors import InvalidInput
from underlay.core.identity import Attachment, PodRef
from underlay.core.ipam.claims import Claim

_ROUND_SECONDS = 30.0


def orphans(state: State, namespace_exists: Callable[[str], bool]) -> Iterator[Claim]:
    """Claims that nobody will give back: no such pod, no such namespace. ``state.pods`` must follow a complete list."""
    alive = {pod.ref for pod in state.pods.values()}
    for claim in state.ledger.claims.values():
        if claim.pod not in alive and not (claim.netns and namespace_exists(claim.netns)):
            yield claim


class Repair:
    """One per agent."""

    def __init__(
        self, *, book: Book, watch: Watch, kernel: Kernel, verbs: Verbs, netns_folder: Path, now: Callable[[], float]
    ) -> None:
        self._book = book
        self._watch = watch
        self._kernel = kernel
        self._verbs = verbs
        self._netns_folder = netns_folder
        self._now = now
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Until cancelled."""
        await self.settle()
        while True:
            known = self._book.state.pods
            await self.free_orphans()
            try:
                async with asyncio.timeout(_ROUND_SECONDS):
                    while self._book.state.pods is known:
                        await self._book.changed.wait()
            except TimeoutError:
                continue

    async def settle(self) -> None:
        """Count what pods have, if this journal may not know it. Needs the pools, hence the API server."""
        await self._watch.synced()
        while (node_network := self._book.state.node_network) is None:
            await self._book.changed.wait()
        recorded = node_network.status.journal_epoch if node_network.status else ""
        state = self._book.state
        if state.settled and recorded in {"", state.epoch}:
            return
        found = [record async for record in self._found()]
        lost = bool(recorded) and recorded != state.epoch
        now = self._now()
        # Nobody knows any more what was freed just now: all else cools once.
        rest = [str(address) for address in self._pool_addresses()] if lost else []
        await self._book.record(*found, Cooled(addresses=rest, at=now), EpochSettled())
        self._log.info("epoch.settled", epoch=state.epoch, recorded=recorded, found=len(found))

    async def free_orphans(self) -> None:
        """One round."""
        for claim in list(orphans(self._book.state, lambda path: Path(path).exists())):
            self._log.warning("claim.orphaned", pod=str(claim.pod), attachment=str(claim.attachment))
            try:
                await self._verbs.delete(claim.attachment, claim.netns)
            except CniError as refused:
                self._log.error("claim.not_freed", attachment=str(claim.attachment), reason=str(refused))

    async def _found(self) -> AsyncIterator[Record]:
        pools: dict[IPAddress, tuple[str, str]] = {}
        for pool in self._book.state.pools.values():
            try:
                pools |= dict.fromkeys(pool_addresses(pool), (pool.metadata.name, pool.metadata.uid or ""))
            except InvalidInput:
                continue
        own = {item.address: (item.pool, item.pool_uid) for item, _ in fixed.listings(self._book.state)}
        pools |= {ip_address(text): where for text, where in own.items()}
        known = {claim.netns for claim in self._book.state.ledger.claims.values()}
        seen: set[IPAddress] = set(self._book.state.ledger.held)
        for path in sorted({str(item) for item in self._netns_folder.glob("*")} | known - {""}):
            try:
                links = await self._kernel.inspect(path)
            except NamespaceGone:
                continue
            except DatapathError as refused:
                self._log.warning("namespace.not_read", netns=path, reason=str(refused))
                continue
            first = True
            for link in links:
                here = [item.ip for item in link.addresses if item.ip in pools and item.ip not in seen]
                seen.update(here)
                if here:
                    yield Claimed(
                        attachment=Attachment(container_id=f"{FOUND}{Path(path).name}", ifname=link.name),
                        pod=PodRef(namespace="", name="", uid=""),
                        network="",
                        netns=path,
                        addresses=[
                            ClaimedAddress(
                                address=str(ip), pool=pools[ip][0], pool_uid=pools[ip][1], fixed=str(ip) in own
                            )
                            for ip in here
                        ],
                        since=self._now(),
                        confirmed=True,
                        first=first,
                    )
                    first = False

    def _pool_addresses(self) -> Iterator[IPAddress]:
        for pool in self._book.state.pools.values():
            try:
                yield from pool_addresses(pool)
            except InvalidInput:
                continue
