"""What the agent tells the cluster, off the path of any call: the status of its pools and its part of the
SpiderNodeNetwork's.

Both are functions of the state; a report is written when it differs from the last one written, at most once per
second and object, and only after what it says is on disk.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

import structlog

from underlay.cni.book import Book
from underlay.cni.fences import FenceStep
from underlay.cni.metrics import Metrics
from underlay.cni.nodepools import NodePools, pool_ranges
from underlay.cni.state import State
from underlay.core.api.ippool import (
    MAC_ANNOTATION,
    PoolAllocation,
    SpiderIPPool,
    SpiderIPPoolStatus,
    render_allocations,
)
from underlay.core.api.meta import Condition
from underlay.core.api.nodenetwork import AGENT_MANAGER, AgentStatus, Link, Released, SpiderNodeNetwork
from underlay.core.errors import InvalidInput
from underlay.core.kube.client import KubeClient
from underlay.core.kube.errors import KubeError, NotFound
from underlay.core.kube.reflector import Reflector
from underlay.core.runtime.checkpoints import Checkpoint, passing

_SPACING_SECONDS = 1.0
_RETRY_SECONDS = 2.0


def pool_statuses(state: State) -> dict[str, SpiderIPPoolStatus]:
    """The status of each pool: who holds which of its addresses, in Spiderpool's encoding."""
    held: dict[str, dict[str, PoolAllocation]] = {pool.metadata.uid or "": {} for pool in state.pools.values()}
    for claim in state.ledger.claims.values():
        for item in claim.addresses:
            if item.pool_uid in held:
                held[item.pool_uid][str(item.address)] = PoolAllocation(pod=str(claim.pod), pod_uid=claim.pod.uid)
    return {name: _pool_status(pool, held[pool.metadata.uid or ""]) for name, pool in state.pools.items()}


def agent_status(
    state: State,
    pools: NodePools,
    now: float,
    since: Callable[[str, bool], str],
    unfiltered: Mapping[str, str] | None = None,
) -> AgentStatus:
    """The agent's part of the SpiderNodeNetwork's status.

    ``since`` gives a condition's transition time. ``unfiltered`` as in ``Withholding``.
    """
    wanted = {pool.metadata.annotations.get(MAC_ANNOTATION, "").lower() for pool in state.pools.values()}
    if state.node_network and state.node_network.status:
        wanted |= {item.mac.lower() for item in state.node_network.status.interfaces}
    links = [
        Link(
            mac=mac,
            name=link.name,
            mtu=link.mtu,
            state="up" if link.up else "down",
            driver=link.driver,
            router6=str(pools.routers.get(mac, "")),
        )
        for mac, link in sorted(pools.links.items())
        if mac in wanted
    ]
    released = [
        Released(id=fence.id, fenced=sorted(map(str, fence.fenced)), held=sorted(map(str, fence.held)))
        for _, fence in sorted(state.ledger.fences.items())
    ]
    on_host = pools.serving().on_host
    clean = Condition(
        type="HostClean",
        status="False" if on_host else "True",
        reason="PoolAddressOnHost" if on_host else "NoPoolAddressOnHost",
        message="pods cannot get "
        + ", ".join(f"{address} (on {name})" for address, name in on_host.items())
        + ": remove it from the host; NetworkManager, cloud-init or ec2-net-utils may have put it there"
        if on_host
        else "no link of the node has an address of a pool",
        last_transition_time=since("HostClean", not on_host),
    )
    return AgentStatus(
        journal_epoch=state.epoch if state.settled else "",
        cooling=len(state.ledger.cooling(now, pools.cooldown_seconds)),
        links=links,
        released=released,
        conditions=[clean, *_metadata(state, since, unfiltered)],
    )


class Reports:
    """Writes both; one task each."""

    def __init__(
        self,
        *,
        book: Book,
        pools: NodePools,
        unfiltered: Callable[[], Mapping[str, str] | None],
        client: KubeClient,
        seen_pools: Reflector[SpiderIPPool],
        now: Callable[[], float],
        metrics: Metrics,
        checkpoint: Checkpoint = passing,
    ) -> None:
        self._book = book
        self._pools = pools
        self._unfiltered = unfiltered
        self._client = client
        self._seen_pools = seen_pools
        self._now = now
        self._metrics = metrics
        self._checkpoint = checkpoint
        self._written: dict[str, tuple[str, SpiderIPPoolStatus]] = {}
        self._last: tuple[str, AgentStatus] | None = None
        self._transitions: dict[str, tuple[bool, str]] = {}
        self._log = structlog.get_logger()

    async def run_pools(self) -> None:
        """Until cancelled."""
        await self._seen_pools.synced.wait()
        while True:
            failed = await self.write_pools()
            await asyncio.sleep(_RETRY_SECONDS if failed else _SPACING_SECONDS)
            if not failed and not self._outdated():
                await self._book.changed.wait()

    async def write_pools(self) -> bool:
        """One round; whether a write failed."""
        await self._book.record()
        failed = False
        for name, uid, status in self._outdated():
            text = status.allocated_ips
            body = {
                "metadata": {"uid": uid},
                "status": {
                    "allocatedIPs": text,
                    "allocatedIPCount": status.allocated_ip_count,
                    "totalIPCount": status.total_ip_count,
                },
            }
            try:
                await self._client.merge_patch(SpiderIPPool, name, body, subresource="status")
            except NotFound:
                pass  # its removal is on the way to us
            except KubeError as refused:
                self._failed("pool status", refused)
                failed = True
                continue
            self._written[name] = (uid, status)
        return failed

    def _outdated(self) -> list[tuple[str, str, SpiderIPPoolStatus]]:
        found = []
        for name, status in pool_statuses(self._book.state).items():
            uid = self._book.state.pools[name].metadata.uid or ""
            shown = self._seen_pools.store.get(None, name)
            known = self._written.get(name) or (shown and (shown.metadata.uid, shown.status))
            if known != (uid, status):
                found.append((name, uid, status))
        return found

    async def run_node(self) -> None:
        """Until cancelled."""
        while True:
            failed = await self.write_node()
            await asyncio.sleep(_RETRY_SECONDS if failed else _SPACING_SECONDS)
            if not failed and not self._node_outdated():
                await self._book.changed.wait(self._next_change())

    async def write_node(self) -> bool:
        """One round; whether the write failed."""
        node_network = self._book.state.node_network
        wanted = self._node_outdated()
        self._count()
        if node_network is None or wanted is None:
            return False
        await self._book.record()
        name = node_network.metadata.name
        try:
            await self._client.apply(
                SpiderNodeNetwork, name, {"status": wanted[1]}, manager=AGENT_MANAGER, subresource="status"
            )
        except NotFound:
            return False
        except KubeError as refused:
            self._failed("node network status", refused)
            return True
        self._last = wanted
        if wanted[1].released:
            self._checkpoint(FenceStep.ANSWERED)
        return False

    def _node_outdated(self) -> tuple[str, AgentStatus] | None:
        state = self._book.state
        if state.node_network is None:
            return None
        status = agent_status(state, self._pools, self._now(), self._since, self._unfiltered())
        wanted = (state.node_network.metadata.uid or "", status)
        return None if wanted == self._last else wanted

    def _next_change(self) -> float | None:
        """Seconds until an address has cooled, which no record tells; None: none cools. Links are looked at now and
        then.
        """
        now, cooldown = self._now(), self._pools.cooldown_seconds
        ends = [at + cooldown - now for at in self._book.state.ledger.freed.values() if now < at + cooldown]
        return max(min([*ends, 5.0]), 0.01)

    def _count(self) -> None:
        ledger = self._book.state.ledger
        self._metrics.claims.set(len(ledger.claims))
        self._metrics.fences.set(len(ledger.fences))
        self._metrics.cooling.set(len(ledger.cooling(self._now(), self._pools.cooldown_seconds)))

    def _since(self, condition: str, good: bool) -> str:  # noqa: FBT001 - a condition's own value
        known = self._transitions.get(condition)
        if known is None or known[0] is not good:
            known = self._transitions[condition] = (good, rfc3339(self._now()))
        return known[1]

    def _failed(self, what: str, refused: KubeError) -> None:
        self._metrics.api_failures.labels(what).inc()
        self._log.warning("report.failed", what=what, reason=str(refused))


def rfc3339(seconds: float) -> str:
    """metav1.Time: whole seconds, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _metadata(
    state: State, since: Callable[[str, bool], str], unfiltered: Mapping[str, str] | None
) -> Iterator[Condition]:
    """Whether pods are kept from the node's own credentials, once that is known; nothing where no cloud has any."""
    spec = state.node_network.spec if state.node_network else None
    services = [item.address for item in spec.services if item.purpose == "metadata"] if spec else []
    if spec is None or not services or unfiltered is None:
        return
    named = ", ".join(services)
    if spec.pod_metadata_access:
        reason, message = "PodMetadataAccess", f"pods may reach {named}: provider {spec.provider} allows it"
    elif unfiltered:
        reason = "NoEgressFilter"
        message = f"a pod that sends past its routes may reach {named}: " + "; ".join(
            f"on {name} the kernel has no filter ({why})" for name, why in sorted(unfiltered.items())
        )
    else:
        reason, message = "Withheld", f"no pod reaches {named}"
    good = reason == "Withheld"
    yield Condition(
        type="MetadataWithheld",
        status="True" if good else "False",
        reason=reason,
        message=message,
        last_transition_time=since("MetadataWithheld", good),
    )


def _pool_status(pool: SpiderIPPool, held: dict[str, PoolAllocation]) -> SpiderIPPoolStatus:
    try:
        total = pool_ranges(pool).count
    except InvalidInput:
        total = 0
    return SpiderIPPoolStatus(
        allocated_ips=render_allocations(held), total_ip_count=total, allocated_ip_count=len(held)
    )
