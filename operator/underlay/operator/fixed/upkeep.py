"""Fixed addresses whose owner has gone, and what pools say of who has which address.

    owner gone for good ─▶ recalled on its node ─▶ confirmed, or proof ─▶ cooling
    cooling ─▶ unassigned by its node's round ─▶ cool-down over, and some time more ─▶ forgotten

A pod that is gone does not end its owner's claim; a StatefulSet deleted or scaled below the pod's number does, and a
virtual machine deleted, and the pod itself where it owns the address. This is read live: it is not undone.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from ipaddress import ip_address

import structlog

from underlay.core.addresses import IPAddress
from underlay.core.api.conditions import parse_rfc3339, rfc3339
from underlay.core.api.ipblock import BlockEntry
from underlay.core.api.ippool import PoolAllocation, SpiderIPPool, SpiderIPPoolStatus, render_allocations
from underlay.core.api.kubernetes import Pod, StatefulSet, VirtualMachine, VirtualMachineInstance
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.errors import InvalidInput
from underlay.core.ipam.blocks import Taken, holder
from underlay.core.ipam.ownership import Owner, Proof, is_wanted, may_move
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.core.kube.events import Recorder, reference
from underlay.core.kube.reflector import Reflector
from underlay.core.kube.resources import T
from underlay.core.runtime.checkpoints import Checkpoint
from underlay.core.runtime.clock import Clock
from underlay.operator.fixed.blocks import Blocks
from underlay.operator.fixed.pools import FixedPools
from underlay.operator.fixed.reserved import ReservedPools
from underlay.operator.fixed.standing import Standings
from underlay.operator.fixed.strays import Strays
from underlay.operator.providers import Provider, Providers
from underlay.operator.reconcile.floating import FloatingPool, counting_first
from underlay.operator.steps import FixedStep

_REMEMBERED_SECONDS = 3600.0
_MOST_TOLD = 5000
_SPACING_SECONDS = 0.5
_MOST_NAMED = 10
_NO_MORE = (
    "the cloud gave to nodes by its own choice: no fixed addresses until they have gone back to it. To do: keep the"
    " range by a block of use fixed in spec.subnets.reservations of the provider, or exclude them (spec.excludeIPs)"
)
NOT_FIXED = "AddressesNotFixed"


class Upkeep:
    """One sweep every ``sweep_seconds``, sooner after ``look``. ``dirty``: a node's round has something to do."""

    def __init__(
        self,
        *,
        client: KubeClient,
        clock: Clock,
        blocks: Blocks,
        pools: FixedPools,
        pool_view: Reflector[SpiderIPPool],
        networks: Reflector[SpiderNodeNetwork],
        providers: Providers,
        standings: Standings,
        strays: Strays,
        recorder: Recorder,
        dirty: Callable[[str], None],
        sweep_seconds: float,
        checkpoint: Checkpoint,
    ) -> None:
        self._client = client
        self._clock = clock
        self._blocks = blocks
        self._pools = pools
        self._pool_view = pool_view
        self._networks = networks
        self._providers = providers
        self._standings = standings
        self._strays = strays
        self._recorder = recorder
        self._warned: dict[str, str] = {}
        self._dirty = dirty
        self._sweep_seconds = sweep_seconds
        self._step = checkpoint
        self._gone: set[str] = set()
        self._reserved = ReservedPools(client=client, view=pool_view, providers=providers, is_held=self._is_held)
        self._changed = asyncio.Event()
        self._log = structlog.get_logger()

    def gone(self) -> set[str]:
        """Owners that are gone for good and still have an address."""
        return self._gone

    def look(self) -> None:
        """Something about blocks or pools changed."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.sweep()
            except kube_errors.KubeError as error:
                self._log.warning("fixed-addresses.sweep-failed", error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._sweep_seconds):
                    await self._changed.wait()
            self._changed.clear()
            await self._clock.sleep(min(self._sweep_seconds, _SPACING_SECONDS))

    async def sweep(self) -> None:
        """Once through everything."""
        await self._reserved.settle()
        await self._find_gone()
        for address, entry in list(self._blocks.all.items()):
            try:
                if entry.cooling_since is not None:
                    await self._forget(address, entry)
                elif holder(entry) in self._gone:
                    await self._give_up(address, entry)
                elif self._is_surplus(address, entry):
                    await self._blocks.cool(address, before=entry, now=rfc3339(self._clock.now()))
            except Taken as taken:
                self._log.info("fixed-address.changed-meanwhile", reason=str(taken))
        for pool in self._pools.all():
            await self._tell(pool)

    async def _find_gone(self) -> None:
        gone: set[str] = set()
        for entry in list(self._blocks.all.values()):
            owner = holder(entry)
            if entry.cooling_since is not None or self._standings.alive(entry.uid) or owner in gone:
                continue
            if self._standings.lives_elsewhere(owner, ""):
                continue
            if owner in self._gone or not await self._exists(owner):
                gone.add(owner)
        fresh, self._gone = gone - self._gone, gone
        for owner in fresh:
            for _, entry in self._blocks.of(owner):
                self._dirty(entry.node)

    async def _exists(self, text: str) -> bool:
        try:
            owner = Owner.parse(text)
        except InvalidInput as error:
            self._log.warning("block.owner-unreadable", reason=str(error))
            return True
        match owner.kind:
            case "Pod":
                name, _, uid = owner.name.partition("/")
                pod = await self._live(Pod, name, owner.namespace)
                return pod is not None and pod.metadata.uid == uid and pod.status.phase not in ("Succeeded", "Failed")
            case "StatefulSet":
                found = await self._live(StatefulSet, owner.name.rpartition("-")[0], owner.namespace)
                if found is None or found.metadata.deletion_timestamp is not None:
                    return False
                first = found.spec.ordinals.start if found.spec.ordinals else 0
                replicas = 1 if found.spec.replicas is None else found.spec.replicas
                return is_wanted(owner.name, first=first, replicas=replicas)
            case "VirtualMachine":
                if await self._live(VirtualMachineInstance, owner.name, owner.namespace) is not None:
                    return True
                machine = await self._live(VirtualMachine, owner.name, owner.namespace)
                return machine is not None and machine.metadata.deletion_timestamp is None

    async def _live(self, kind: type[T], name: str, namespace: str) -> T | None:
        try:
            return await self._client.get(kind, name, namespace)
        except kube_errors.NotFound:
            return None

    def _is_held(self, pool: SpiderIPPool) -> bool:
        known = next((item for item in self._pools.all() if item.uid == pool.metadata.uid), None)
        held = (address for address, entry in self._blocks.all.items() if entry.cooling_since is None)
        return known is None or any(address in known.listed for address in held)

    def _is_surplus(self, address: IPAddress, entry: BlockEntry) -> bool:
        """Two leaders, for the moment of a change, may each have claimed one for the same owner: it uses the first."""
        first = counting_first(self._blocks.of(holder(entry)))[0][0]
        return address != first and not self._networks.store.by("floating", str(address))

    async def _give_up(self, address: IPAddress, entry: BlockEntry) -> None:
        provider = self._provider(address, entry)
        if provider is None:
            return
        where = await self._standings.of(address, entry, provider)
        proof = may_move(where)
        if not isinstance(proof, Proof):
            self._dirty(entry.node)
            return
        self._step(FixedStep.BLOCK_WRITING)
        await self._blocks.cool(address, before=entry, now=rfc3339(self._clock.now()))
        self._step(FixedStep.BLOCK_WRITTEN)
        self._log.info("fixed-address.given-up", address=str(address), owner=holder(entry), proof=proof)

    async def _forget(self, address: IPAddress, entry: BlockEntry) -> None:
        if self._networks.store.by("floating", str(address)):
            return
        provider = self._provider(address, entry)
        cooldown = provider.value.spec.addresses.cooldown_seconds if provider else 30
        since = parse_rfc3339(entry.cooling_since or "")
        if self._clock.now() >= since + cooldown + _REMEMBERED_SECONDS:
            await self._blocks.forget(address, before=entry)

    def _provider(self, address: IPAddress, entry: BlockEntry) -> Provider | None:
        """Of the pool, else of the node."""
        pool, network = self._pools.of(address), self._networks.store.get(None, entry.node)
        name = pool.provider if pool else network.spec.provider if network else ""
        return self._providers.get(name)

    async def _tell(self, pool: FloatingPool) -> None:
        """The pool's status, which is nothing but a view: what it has given, and this and what it can give."""
        strays = self._strays.within(pool)
        held = {
            str(address): PoolAllocation(pod=entry.pod, pod_uid=entry.uid)
            for address, entry in sorted(self._blocks.all.items())
            if entry.cooling_since is None and address in pool.listed
        }
        kept = sum(ip_address(text) not in pool.addresses for text in held)
        shown = dict(list(held.items())[:_MOST_TOLD])
        wanted = SpiderIPPoolStatus(
            allocated_ips=render_allocations(shown),
            total_ip_count=pool.addresses.count + kept - len(strays),
            allocated_ip_count=len(held),
        )
        seen = self._pool_view.store.get(None, pool.name)
        if seen is not None:
            self._warn(seen, strays)
        if seen is None or seen.metadata.uid != pool.uid or seen.status == wanted:
            return
        body = {
            "metadata": {"uid": pool.uid},
            "status": {
                "allocatedIPs": wanted.allocated_ips,
                "allocatedIPCount": wanted.allocated_ip_count,
                "totalIPCount": wanted.total_ip_count,
            },
        }
        try:
            await self._client.merge_patch(SpiderIPPool, pool.name, body, subresource="status")
        except (kube_errors.NotFound, kube_errors.Conflict):
            return  # another pool of that name by now

    def _warn(self, pool: SpiderIPPool, strays: Mapping[IPAddress, str]) -> None:
        """Once for each new text."""
        named = [f"{address} (node {node})" for address, node in sorted(strays.items())]
        more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
        text = f"{', '.join(named[:_MOST_NAMED])}{more} {_NO_MORE}" if named else ""
        uid = pool.metadata.uid or ""
        if text and self._warned.get(uid) != text:
            self._recorder.event(reference(pool), "Warning", NOT_FIXED, text)
        self._warned[uid] = text
