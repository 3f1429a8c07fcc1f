"""The datapath of a node: attach, detach, inspect.

Decisions are in ``attach`` and ``coordinator``, bytes in ``wire`` and ``nft``, what is carried out in ``attaching``,
``detaching``, ``forgetting`` and ``hosting``, reading back in ``netlink``. Here they meet asyncio: every call is one
piece of blocking work in a thread of ``namespaces``.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import structlog

from underlay.cni.datapath import hosting, netlink, routers
from underlay.cni.datapath.attach import HostLink, Want
from underlay.cni.datapath.attaching import attach_one
from underlay.cni.datapath.calls import Attached, Detach, NodeFacts, PodLink
from underlay.cni.datapath.channel import Channel
from underlay.cni.datapath.detaching import detach_one
from underlay.cni.datapath.errors import AddressBusy, DatapathError, InterfaceExists
from underlay.cni.datapath.forgetting import forget
from underlay.cni.datapath.model import IPAddress
from underlay.cni.datapath.namespaces import Namespaces
from underlay.cni.datapath.numbers import Numbering
from underlay.cni.datapath.reaper import Leftover, Leftovers, reap
from underlay.cni.datapath.solicitation import Router6
from underlay.cni.datapath.tables import HostTables
from underlay.core.identity import Mac

_FIRST_RETRY_SECONDS = 0.02
_ROUTER_SECONDS = 1.0
"""How long a router may think: RFC 4861 §6.2.6 lets it wait half a second."""

T = TypeVar("T")


class Datapath:
    """One node's datapath. ``host_netns``: a path to the host's namespace; None is that of this process.

    Calls for different interfaces may run at once; calls for one interface must not.
    """

    def __init__(
        self,
        host_netns: Path | None = None,
        *,
        node: NodeFacts | None = None,
        address_wait_seconds: float = 2.0,
        reap_after_seconds: float = 2.0,
    ) -> None:
        self._node = node or NodeFacts()
        self._address_wait_seconds = address_wait_seconds
        self._reap_after_seconds = reap_after_seconds
        self._namespaces = Namespaces(host_netns)
        self._numbering = Numbering()
        self._spare: list[Channel] = []
        self._forwards_ipv6 = False
        self._leftovers = Leftovers()
        self._left = asyncio.Event()
        self._reaping: asyncio.Task[None] | None = None
        self._tables = HostTables(self._with_host)

    async def start(self) -> None:
        """Make what the host needs once: nft table, policy rules, forwarding; begin to reap."""
        await self._with_host(hosting.prepare_host)
        await self._tables.start()
        self._reaping = asyncio.create_task(self._reap_when_due(), name="datapath.reaper")

    async def close(self) -> None:
        """Stop; pods and what the host has for them stay as they are."""
        if self._reaping is not None:
            self._reaping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reaping
        await self._tables.close()
        self._namespaces.close()
        while self._spare:
            self._spare.pop().close()

    def learn(self, node: NodeFacts) -> None:
        """Attach with these facts from now on."""
        self._node = node

    async def links(self) -> Mapping[Mac, HostLink]:
        """The host's links by MAC, without loopback and ours. Of several with one MAC (VLANs on a link) the first made.

        A pool address among a link's ``addresses`` must not be given to a pod.
        """
        found = await self._namespaces.run(netlink.host_links)
        return {link.mac: link for link in sorted(found, key=lambda link: link.index, reverse=True)}

    async def prepare_master(self, name: str) -> None:
        """Make the link ready to carry pods: up, and unless it is the node's own, silent for itself; and, being new,
        filtered.

        Its addresses are not touched. Raises ``MasterMissing``.
        """
        addresses = self._node.addresses
        await self._with_host(lambda host: hosting.prepare_master(host, name, addresses))
        await self._tables.filter_also(name, anew=True)

    async def withhold(self, services: Collection[IPAddress], masters: Collection[str]) -> Mapping[str, str]:
        """Keep pods from ``services``, and from nothing else, from now on: what they send on any of ``masters``, and
        on those that come to carry pods later, and what they send through the host.

        Nothing is done when it is so already, and what somebody else undoes is put back. Returns the masters on which
        the kernel cannot filter, and why.
        """
        return await self._tables.withhold(services, masters)

    async def router(self, name: str) -> Router6 | None:
        """The IPv6 router of a link: the kernel's own, or one that answers now. Raises ``MasterMissing``."""
        found = await self._namespaces.run(lambda: routers.known(name))
        if found is not None:
            return found
        try:
            question = await self._namespaces.run(lambda: routers.question(name))
            with contextlib.closing(question):
                return await question.ask(_ROUTER_SECONDS)
        except OSError:
            return None  # it went down or away meanwhile, which ``links`` will tell

    async def attach(self, want: Want) -> Attached:
        """Make the interface, or raise and leave the namespaces as they were.

        An address that another slave of the master still has is waited for. What an earlier DEL left of the same
        interface is removed at once. Raises the classes of ``errors``, and ``InvalidInput`` for a wish that no kernel
        can fulfil.
        """
        await self._tables.filter_also(want.master)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._address_wait_seconds
        pause = _FIRST_RETRY_SECONDS
        while True:
            try:
                return await self._with_host(lambda host: self._attach(want, host))
            except InterfaceExists:
                leftovers = self._leftovers.take(want)
                if not leftovers:
                    raise
                await self._reap(*leftovers)
                continue
            except AddressBusy as busy:
                if loop.time() + pause > deadline:
                    raise AddressBusy(busy.address, self._address_wait_seconds) from busy
            await asyncio.sleep(pause)
            pause *= 2

    async def detach(self, detach: Detach) -> None:
        """Take addresses, host routes and neighbours away; succeeds when all is gone already, also with the namespace.

        The links are left to the namespace's end, which the runtime brings about next.
        """
        due = asyncio.get_running_loop().time() + self._reap_after_seconds
        leftover = await self._with_host(
            lambda host: detach_one(detach, namespaces=self._namespaces, host=host, due=due)
        )
        if leftover is not None:
            self._leftovers.add(leftover)
            self._left.set()

    async def forget(self, addresses: Collection[IPAddress], links: Mapping[str, Collection[str]]) -> None:
        """Remove the neighbour entries for ``addresses`` on ``links``: names by the namespace's path, empty for the
        host's. Succeeds where entry, link or namespace is gone.
        """
        await self._with_host(lambda host: forget(tuple(addresses), links, namespaces=self._namespaces, host=host))

    async def inspect(self, netns: str) -> tuple[PodLink, ...]:
        """The links of a pod, without loopback. Raises ``NamespaceGone``."""
        return await self._namespaces.run(lambda: self._inspect(netns))

    def _attach(self, want: Want, host: Channel) -> Attached:
        if want.host_path and not self._forwards_ipv6 and any(address.version == 6 for address in want.addresses):
            hosting.forward_ipv6()  # not at start: a cluster without IPv6 keeps the settings it has
            self._forwards_ipv6 = True
        return attach_one(want, self._node, namespaces=self._namespaces, host=host, numbering=self._numbering)

    def _inspect(self, netns: str) -> tuple[PodLink, ...]:
        with self._namespaces.opened(netns) as descriptor:
            there = self._namespaces.inside(descriptor, netlink.observe, path=netns)
        return tuple(
            PodLink(
                name=link.name,
                mac=link.mac or Mac(""),
                kind=link.kind,
                addresses=tuple(addr.address for addr in there.addrs if addr.link == link.name),
            )
            for link in there.links
            if link.name != "lo"
        )

    async def _with_host(self, work: Callable[[Channel], T]) -> T:
        """Run ``work`` in a thread, with a channel in the host's namespace for it alone."""

        def run() -> T:
            with self._channel() as host:
                return work(host)

        return await self._namespaces.run(run)

    @contextlib.contextmanager
    def _channel(self) -> Iterator[Channel]:
        """A channel that may have served before; one that broke is not used again."""
        try:
            channel = self._spare.pop()
        except IndexError:
            channel = Channel()
        try:
            yield channel
        except OSError:
            channel.close()
            raise
        except BaseException:
            self._spare.append(channel)
            raise
        self._spare.append(channel)

    async def _reap(self, *leftovers: Leftover) -> None:
        await self._with_host(lambda host: reap(leftovers, namespaces=self._namespaces, host=host))

    async def _reap_when_due(self) -> None:
        loop = asyncio.get_running_loop()
        log = structlog.get_logger()
        while True:
            due = self._leftovers.next_due()
            if due is None:
                self._left.clear()
                await self._left.wait()
                continue
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            leftovers = self._leftovers.take_due(loop.time())
            try:
                await self._reap(*leftovers)
            except (DatapathError, OSError) as error:
                log.warning("leftover.stayed", interfaces=len(leftovers), reason=str(error))
            else:
                log.info("leftover.removed", interfaces=len(leftovers))
