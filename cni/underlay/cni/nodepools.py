"""Addresses from this node's own pools: journal first, status after.

``serving`` (pure) says which pools serve and why others do not; ``NodePools.claim`` is the shell: it decides, makes
the claim durable, and where there is no address waits for one.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

from underlay.cni import fixed
from underlay.cni.book import Book
from underlay.cni.datapath.attach import HostLink
from underlay.cni.errors import CniError, Code
from underlay.cni.metrics import Metrics
from underlay.cni.protocol import CniRequest
from underlay.cni.state import State, claimed_of
from underlay.core.addresses import IPAddress, IPNetwork, RangeSet, parse_address, parse_network
from underlay.core.api.ippool import MAC_ANNOTATION, SpiderIPPool
from underlay.core.api.meta import Family
from underlay.core.api.nodenetwork import InterfaceStatus
from underlay.core.errors import InvalidInput
from underlay.core.identity import Mac, PodRef
from underlay.core.ipam.allocate import Assigned, Grant, NodePool, Request, Shortage, allocate
from underlay.core.ipam.claims import Claim, PoolAddress

Links = Mapping[Mac, HostLink]
Routers = Mapping[Mac, IPv6Address]
"""The router that each of the host's links has, by the link's MAC."""

_FAMILIES: Mapping[Family, int] = {"ipv4": 4, "ipv6": 6}
_LARGEST_POOL = 1 << 16
"""Addresses. What a cloud lets one interface have is below a thousand of its own, or of some fifty prefixes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Pools best first: by device index of their interface, then by name. ``on_host``: addresses the host itself
    has, and where. ``families``: what a pod needs one address of each of.
    """

    pools: tuple[NodePool, ...]
    on_host: Mapping[IPAddress, str]
    families: tuple[int, ...]


def serving(state: State, node_name: str, links: Links, routers: Routers) -> Serving:
    """The node's pools as allocation sees them.

    A pool serves if the SpiderNodeNetwork names this very Node and machine, the interface's MAC is a link here that
    is up, and what pods already have is known. One of IPv6 that names no gateway has the router of its link.
    """
    general = _identity_problem(state, node_name)
    order = {item.mac.lower(): item.device_index for item in _interfaces(state)}
    pools = sorted(
        (_node_pool(pool, general, links, routers) for pool in state.pools.values()),
        key=lambda pool: (order.get(pool.mac, len(order)), pool.mac, pool.name),
    )
    given = frozenset[IPAddress]().union(*(pool.addresses for pool in pools))
    on_host = {item.ip: link.name for link in links.values() for item in link.addresses if item.ip in given}
    return Serving(pools=tuple(pools), on_host=on_host, families=_families(state))


def pool_addresses(pool: SpiderIPPool) -> frozenset[IPAddress]:
    """What a pool may give: ``ips`` without ``excludeIPs``. Raises ``InvalidInput`` naming the field.

    A pool that lists more than one interface could ever have, as a whole IPv6 prefix would be, is refused: its
    addresses are held one by one.
    """
    ranges = pool_ranges(pool)
    if ranges.count > _LARGEST_POOL:
        where = f"SpiderIPPool {pool.metadata.name} spec.ips"
        raise InvalidInput(where, found=f"{ranges.count} addresses", expected=f"at most {_LARGEST_POOL} in a node pool")
    return frozenset(ranges)


def pool_ranges(pool: SpiderIPPool) -> RangeSet:
    """``pool_addresses`` as ranges."""
    where = f"SpiderIPPool {pool.metadata.name}"
    wanted = RangeSet.parse(pool.spec.ips or (), f"{where} spec.ips")
    return wanted.difference(RangeSet.parse(pool.spec.exclude_ips or (), f"{where} spec.excludeIPs"))


class NodePools:
    """The allocator of one node; nobody else gives out its pools' addresses."""

    def __init__(self, *, node_name: str, book: Book, now: Callable[[], float], metrics: Metrics) -> None:
        self._node_name = node_name
        self._book = book
        self._now = now
        self._metrics = metrics
        self._links: Links = {}
        self._routers: Routers = {}
        self._serving = Serving(pools=(), on_host={}, families=(4,))
        self._seen: tuple[object, ...] = ()

    @property
    def links(self) -> Links:
        """Links of the host, as last set."""
        return self._links

    @links.setter
    def links(self, links: Links) -> None:
        if links != self._links:
            self._links = links
            self._book.room.notify()

    @property
    def routers(self) -> Routers:
        """IPv6 routers of the links, as last set."""
        return self._routers

    @routers.setter
    def routers(self, routers: Routers) -> None:
        if routers != self._routers:
            self._routers = routers
            self._book.changed.notify()
            self._book.room.notify()

    @property
    def cooldown_seconds(self) -> float:
        """The provider's, 30 while no SpiderNodeNetwork is known."""
        node_network = self._book.state.node_network
        return float(node_network.spec.cooldown_seconds) if node_network else 30.0

    def serving(self) -> Serving:
        """The current pools; computed anew only when what they follow from has changed."""
        state = self._book.state
        seen = (state.pools, state.node_network, state.node, state.settled, self._links, self._routers)
        if len(seen) != len(self._seen) or any(old is not new for old, new in zip(self._seen, seen, strict=True)):
            self._serving = serving(state, self._node_name, self._links, self._routers)
            self._seen = seen
        return self._serving

    async def claim(
        self, request: CniRequest, pod: PodRef, *, first: bool, wait_seconds: float, abandoned: asyncio.Event
    ) -> tuple[Claim, Assigned]:
        """Addresses for the call, on disk as claimed. Waits for one up to ``wait_seconds``, then raises code 11
        with what is missing.
        """
        until = self._now() + wait_seconds
        waited = False
        while True:
            outcome = self._decide(request, pod, first=first)
            if abandoned.is_set():
                raise CniError(Code.TRY_AGAIN, f"the runtime no longer waits for pod {pod}")
            if isinstance(outcome, Assigned):
                claim = self._claim(request, pod, outcome, first=first)
                await self._book.record(claimed_of(claim))
                return claim, outcome
            if not waited:
                self._metrics.shortages.inc()
                waited = True
            left = until - self._now()
            if left <= 0:
                raise CniError(
                    Code.TRY_AGAIN,
                    f"no address for pod {pod} on node {self._node_name}: {outcome}",
                    _after(wait_seconds),
                )
            if outcome.retry_at is not None:
                left = max(min(left, outcome.retry_at - self._now()), 0.001)
            await self._book.room.wait(left)

    def _decide(self, request: CniRequest, pod: PodRef, *, first: bool) -> Assigned | Shortage:
        current = self.serving()
        wanted = Request(attachment=request.attachment, pod=pod, families=current.families, routed=first)
        match fixed.offer(self._book.state, pod, request.attachment):
            case fixed.Awaited(pool=pool, why=why):
                return Shortage(reasons={pool: why})
            case fixed.Offer() as found:
                return self._beside(found, wanted, current)
            case fixed.Ordinary():
                return self._allocate(wanted, current.pools, current)

    def _allocate(self, wanted: Request, pools: Sequence[NodePool], current: Serving) -> Assigned | Shortage:
        return allocate(
            pools=pools,
            ledger=self._book.state.ledger,
            request=wanted,
            now=self._now(),
            cooldown_seconds=self.cooldown_seconds,
            excluded=current.on_host,
        )

    def _beside(self, found: fixed.Offer, wanted: Request, current: Serving) -> Assigned | Shortage:
        """The pod's fixed address, and of the same interface one of each other family."""
        general = _identity_problem(self._book.state, self._node_name)
        pool = replace(_node_pool(found.pool, general, self._links, self._routers), fixed=True)
        on_host = [link.name for link in self._links.values() if any(a.ip == found.address for a in link.addresses)]
        refusal = pool.refusal or (f"{found.address} is on the host's own link {on_host[0]}" if on_host else "")
        if refusal:
            return Shortage(reasons={pool.name: refusal})
        grant = Grant(pool=pool, address=found.address)
        families = tuple(family for family in wanted.families if family != pool.family)
        if not families:
            return Assigned(grants=(grant,))
        same = [other for other in current.pools if other.mac == pool.mac and other.family != pool.family]
        rest = self._allocate(replace(wanted, families=families), same, current)
        return Assigned(grants=(grant, *rest.grants)) if isinstance(rest, Assigned) else rest

    def _claim(self, request: CniRequest, pod: PodRef, assigned: Assigned, *, first: bool) -> Claim:
        return Claim(
            attachment=request.attachment,
            pod=pod,
            network=request.config.name,
            netns=request.netns,
            addresses=tuple(
                PoolAddress(
                    address=grant.address, pool=grant.pool.name, pool_uid=grant.pool.uid, fixed=grant.pool.fixed
                )
                for grant in assigned.grants
            ),
            since=self._now(),
            first=first,
        )


def _after(wait_seconds: float) -> str:
    return f"waited {wait_seconds:g} s; see `kubectl get sp,snn` and the conditions of this node's SpiderNodeNetwork"


def _interfaces(state: State) -> Iterator[InterfaceStatus]:
    if state.node_network and state.node_network.status:
        yield from state.node_network.status.interfaces


def _families(state: State) -> tuple[int, ...]:
    wanted = state.node_network.spec.families if state.node_network else ()
    return tuple(sorted({_FAMILIES[family] for family in wanted})) or (4,)


def _identity_problem(state: State, node_name: str) -> str:
    node_network, node = state.node_network, state.node
    if node_network is None:
        return f"no SpiderNodeNetwork {node_name}: no provider selects this node, or the operator has not answered yet"
    if node is None:
        return f"Node {node_name} has not been read yet"
    spec = node_network.spec
    if spec.node_uid != node.uid:
        return f"SpiderNodeNetwork {node_name} belongs to Node uid {spec.node_uid}, this Node's is {node.uid}"
    if spec.provider_id != node.provider_id:
        return (
            f"SpiderNodeNetwork {node_name} belongs to {spec.provider_id}, this Node's providerID is {node.provider_id}"
        )
    if not state.settled:
        return "the agent's journal is new, and it is still reading what pods already have"
    return ""


def _node_pool(pool: SpiderIPPool, general: str, links: Links, routers: Routers) -> NodePool:
    mac = Mac(pool.metadata.annotations.get(MAC_ANNOTATION, "").lower())
    refusal = general or _pool_problem(pool, mac, links)
    subnet = parse_network("0.0.0.0/0", "subnet")
    gateway: IPAddress | None = None
    addresses: frozenset[IPAddress] = frozenset()
    try:
        subnet = parse_network(pool.spec.subnet, "spec.subnet")
        gateway = _gateway(pool, subnet) or (routers.get(mac) if subnet.version == 6 else None)
        addresses = pool_addresses(pool)
    except InvalidInput as wrong:
        refusal = refusal or str(wrong)
    return NodePool(
        name=pool.metadata.name,
        uid=pool.metadata.uid or "",
        family=subnet.version,
        subnet=subnet,
        gateway=gateway,
        addresses=addresses,
        mac=mac,
        refusal=refusal,
        unrouted=_NO_ROUTER.format(mac=mac) if gateway is None and subnet.version == 6 else "",
    )


def _gateway(pool: SpiderIPPool, subnet: IPNetwork) -> IPAddress | None:
    if not pool.spec.gateway:
        return None
    gateway = parse_address(pool.spec.gateway, "spec.gateway")
    if gateway.version != subnet.version:
        raise InvalidInput("spec.gateway", found=gateway, expected=f"an IPv{subnet.version} address, as spec.subnet is")
    return gateway


_NO_ROUTER = (
    "no IPv6 router is known on its interface (MAC {mac}): none has answered a router solicitation there yet, "
    "and the pool names no gateway"
)


def _pool_problem(pool: SpiderIPPool, mac: Mac, links: Links) -> str:
    if pool.metadata.deletion_timestamp:
        return "is being deleted"
    if pool.spec.disable:
        return "is disabled"
    if not mac:
        return f"has no annotation {MAC_ANNOTATION}"
    link = links.get(mac)
    if link is None:
        return f"its interface (MAC {mac}) is not on this node yet"
    if not link.up:
        return f"its interface {link.name} (MAC {mac}) is down"
    return ""
