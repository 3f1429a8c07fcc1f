"""Which links this node has now, and that those of the pools are up.

The kernel is asked again when pools change, often while an interface that a pool names is missing or down (the
operator has just attached it), and otherwise now and then: an administrator may have set one down.
"""

import asyncio

import structlog

from underlay.cni import fixed
from underlay.cni.book import Book
from underlay.cni.datapath.errors import DatapathError
from underlay.cni.kernel import Kernel
from underlay.cni.nodepools import NodePools
from underlay.core.api.ippool import MAC_ANNOTATION

_EXPECTING_SECONDS = 0.2
_QUIET_SECONDS = 5.0


class LinkWatch:
    """Keeps ``NodePools.links`` what the kernel has."""

    def __init__(self, *, book: Book, pools: NodePools, kernel: Kernel) -> None:
        self._book = book
        self._pools = pools
        self._kernel = kernel
        self._prepared: set[tuple[str, int]] = set()
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            complete = await self.refresh()
            known, listed = self._book.state.pools, fixed.macs(self._book.state)
            # New pools end the wait; whatever else may have made room does not need another look at the links.
            waiting = asyncio.timeout(_QUIET_SECONDS if complete else _EXPECTING_SECONDS)
            try:
                async with waiting:
                    while self._book.state.pools is known and fixed.macs(self._book.state) == listed:
                        await self._book.room.wait()
            except TimeoutError:
                continue

    async def refresh(self) -> bool:
        """Look once; whether every pool's interface is here and up."""
        links = await self._kernel.links()
        complete = True
        prepared = False
        of_pools = {
            pool.metadata.annotations.get(MAC_ANNOTATION, "").lower() for pool in self._book.state.pools.values()
        }
        for mac in of_pools | fixed.macs(self._book.state):
            link = next((link for key, link in links.items() if key == mac), None)
            if link is None:
                complete = False
            elif not link.up or (link.name, link.index) not in self._prepared:
                prepared = await self._prepare(link.name, link.index) or prepared
                complete = complete and link.up
        self._pools.links = await self._kernel.links() if prepared else links
        return complete

    async def _prepare(self, name: str, index: int) -> bool:
        try:
            await self._kernel.prepare_master(name)
        except DatapathError as refused:
            self._log.warning("master.not_prepared", link=name, reason=str(refused))
            return False
        self._prepared.add((name, index))
        self._log.info("master.prepared", link=name)
        return True
