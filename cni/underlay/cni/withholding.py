"""Pods are kept from the services of the cloud that hand out the node's own credentials.

Which ones follows from the SpiderNodeNetwork (``wanted``, pure); the shell carries it to the kernel whenever that or
the node's interfaces change, and now and then looks whether it still holds.
"""

import asyncio
from collections.abc import Iterator, Mapping

import structlog

from underlay.cni.book import Book
from underlay.cni.datapath.errors import DatapathError
from underlay.cni.kernel import Kernel
from underlay.cni.nodepools import NodePools
from underlay.cni.state import State
from underlay.core.addresses import IPAddress, parse_address
from underlay.core.api.ippool import MAC_ANNOTATION
from underlay.core.api.nodenetwork import Service, SpiderNodeNetworkSpec
from underlay.core.errors import InvalidInput

Wish = tuple[frozenset[IPAddress] | None, frozenset[str]]

_LOOK_SECONDS = 30.0
_RETRY_SECONDS = 2.0


def wanted(state: State) -> frozenset[IPAddress] | None:
    """The services that pods may not reach. None: leave it as it is, since pods live whose provider is not known now.

    Credentials of the node are withheld; resolver, time and a pod's own credentials never are.
    """
    if state.node_network is None:
        return None if state.ledger.claims else frozenset()
    spec = state.node_network.spec
    if spec.pod_metadata_access:
        return frozenset()
    return frozenset(address for service, address in parsed(spec) if service.purpose == "metadata")


def parsed(spec: SpiderNodeNetworkSpec) -> Iterator[tuple[Service, IPAddress]]:
    """The services with their addresses; what is none is told and left out."""
    for service in spec.services:
        try:
            yield service, parse_address(service.address, "SpiderNodeNetwork spec.services.address")
        except InvalidInput as wrong:
            structlog.get_logger().warning("service.ignored", reason=str(wrong))


def masters(state: State, pools: NodePools) -> frozenset[str]:
    """The names of the links that pods rest on or may come to: those of the node's interfaces at the cloud."""
    macs = {pool.metadata.annotations.get(MAC_ANNOTATION, "").lower() for pool in state.pools.values()}
    if state.node_network and state.node_network.status:
        macs |= {item.mac.lower() for item in state.node_network.status.interfaces}
    return frozenset(link.name for mac, link in pools.links.items() if mac in macs)


class Withholding:
    """``unfiltered``: masters past which pods may send, and why; None while nothing has been carried out."""

    def __init__(self, *, book: Book, pools: NodePools, kernel: Kernel) -> None:
        self._book = book
        self._pools = pools
        self._kernel = kernel
        self.unfiltered: Mapping[str, str] | None = None
        self._seen: tuple[object, ...] = ()
        self._wanted: Wish = (None, frozenset())
        self._done: Wish = (None, frozenset())
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            before = self._wish()
            good = await self.refresh()
            # Nothing awaited between the wish and the wait, so that no change is missed.
            waiting = asyncio.timeout(_LOOK_SECONDS if good else _RETRY_SECONDS)
            try:
                async with waiting:
                    while self._wish() == before:
                        await self._book.room.wait()
            except TimeoutError:
                continue

    async def refresh(self) -> bool:
        """Carry out once what is wanted now; whether the kernel could be asked."""
        wish = services, links = self._wish()
        if services is None:
            return True
        try:
            unfiltered = await self._kernel.withhold(services, links)
        except DatapathError as refused:
            self._log.error("services.not_withheld", reason=str(refused))
            unfiltered = dict.fromkeys(links or {"every link"}, str(refused))
            self._say(unfiltered)
            return False
        if (wish, unfiltered) != (self._done, self.unfiltered):
            self._log.info("services.withheld", services=sorted(map(str, services)), links=sorted(links))
            for name, reason in unfiltered.items():
                self._log.error("services.not_withheld", link=name, reason=reason)
        self._done = wish
        self._say(unfiltered)
        return True

    def _wish(self) -> Wish:
        """Computed anew only when what it follows from has changed: this is asked whenever an address gets free."""
        state = self._book.state
        seen = (state.node_network, state.pools, self._pools.links, bool(state.ledger.claims))
        if len(seen) != len(self._seen) or any(old is not new for old, new in zip(self._seen, seen, strict=True)):
            self._seen = seen
            self._wanted = wanted(state), masters(state, self._pools)
        return self._wanted

    def _say(self, unfiltered: Mapping[str, str]) -> None:
        if unfiltered != self.unfiltered:
            self.unfiltered = unfiltered
            self._book.changed.notify()
