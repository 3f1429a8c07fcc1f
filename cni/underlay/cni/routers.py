"""Which IPv6 router each link has that carries a pool of IPv6: pods on it get it as their gateway.

Asked for as soon as such a pool is there and its link is up; again and again with growing pauses while none answers
(RFC 7559), and before the lifetime that it announced is half over. A router that is silent until then is forgotten;
pods that have it keep it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from underlay.cni.book import Book
from underlay.cni.datapath.attach import HostLink
from underlay.cni.datapath.errors import DatapathError
from underlay.cni.datapath.solicitation import Router6
from underlay.cni.kernel import Kernel
from underlay.cni.nodepools import NodePools
from underlay.core.identity import Mac

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
LONGEST_TRUST_SECONDS = 600.0
"""A kernel's static route says no lifetime, and may be changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeking:
    """What is known of one link: ``router`` until ``until``; to be asked for at ``due``, then after ``pause``."""

    router: Router6 | None = None
    until: float = 0.0
    due: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS


def heard(before: Seeking, router: Router6 | None, now: float) -> Seeking:
    """After an answer, or (None) its absence. Pure."""
    if router is not None:
        trust = min(router.lifetime_seconds / 2, LONGEST_TRUST_SECONDS)
        return Seeking(router=router, until=now + router.lifetime_seconds, due=now + trust)
    pause = min(before.pause * 2, LONGEST_PAUSE_SECONDS)
    if before.router is None or now >= before.until:
        return replace(before, router=None, due=now + before.pause, pause=pause)
    return replace(before, due=min(now + before.pause, before.until), pause=pause)


class RouterWatch:
    """Keeps ``NodePools.routers`` what the links have."""

    def __init__(self, *, book: Book, pools: NodePools, kernel: Kernel, now: Callable[[], float]) -> None:
        self._book = book
        self._pools = pools
        self._kernel = kernel
        self._now = now
        self._seeking: dict[tuple[Mac, int], Seeking] = {}
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.refresh()
            known = self._links()
            due = min((seeking.due for seeking in self._seeking.values()), default=None)
            waiting = asyncio.timeout(None if due is None else max(due - self._now(), 0.01))
            try:
                async with waiting:
                    while self._links() == known:
                        await self._book.room.wait()
            except TimeoutError:
                continue

    async def refresh(self) -> None:
        """Ask once on every link where it is time to."""
        links = self._links()
        self._seeking = {key: self._seeking.get(key, Seeking()) for key in links}
        due = [key for key, seeking in self._seeking.items() if seeking.due <= self._now()]
        found = await asyncio.gather(*(self._ask(links[key].name) for key in due))
        for key, router in zip(due, found, strict=True):
            before = self._seeking[key]
            after = self._seeking[key] = heard(before, router, self._now())
            self._tell(links[key], before, after)
        self._pools.routers = {mac: item.router.address for (mac, _), item in self._seeking.items() if item.router}

    async def _ask(self, name: str) -> Router6 | None:
        try:
            return await self._kernel.router(name)
        except DatapathError as refused:
            self._log.warning("router.not_asked", link=name, reason=str(refused))
            return None

    def _links(self) -> Mapping[tuple[Mac, int], HostLink]:
        """Links that are up and have a pool of IPv6. Another link with the same MAC is another one to be asked."""
        macs = {pool.mac for pool in self._pools.serving().pools if pool.family == 6}
        return {(mac, link.index): link for mac, link in self._pools.links.items() if mac in macs and link.up}

    def _tell(self, link: HostLink, before: Seeking, after: Seeking) -> None:
        if after.router is None and (before.router is not None or before == Seeking()):
            self._log.warning("router.missing", link=link.name, last=before.router and str(before.router.address))
        elif after.router is not None and (before.router is None or before.router.address != after.router.address):
            self._log.info("router.found", link=link.name, router=str(after.router.address))
