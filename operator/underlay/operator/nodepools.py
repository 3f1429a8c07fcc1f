"""The shell round ``reconcile.pools`` and ``fences``: a node's SpiderIPPools and what is on its way out of them."""

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from secrets import token_hex

from msgspec import structs

from underlay.core.addresses import RangeSet
from underlay.core.api.ippool import SpiderIPPool
from underlay.core.api.nodenetwork import Release
from underlay.core.cloud import items
from underlay.core.cloud.model import IPAddress
from underlay.core.cloud.planning.actions import Release as ReleaseAction
from underlay.core.identity import node_label_value
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.core.kube.optimistic import update
from underlay.core.kube.reflector import Reflector
from underlay.core.runtime.checkpoints import Checkpoint
from underlay.operator.cloudwrites import CloudWrites
from underlay.operator.lanes import Lane
from underlay.operator.nodework import NodeWork
from underlay.operator.reconcile import fences
from underlay.operator.reconcile import pools as shapes
from underlay.operator.records import Records, StolenRecord
from underlay.operator.steps import WarmStep


class NodePools:
    """``view`` is indexed by ``node`` (the value of the pools' node label); ``lane`` is that of releases."""

    def __init__(
        self,
        *,
        client: KubeClient,
        records: Records,
        writes: CloudWrites,
        view: Reflector[SpiderIPPool],
        lane: Lane,
        checkpoint: Checkpoint,
    ) -> None:
        self._client = client
        self._records = records
        self._writes = writes
        self._view = view
        self._lane = lane
        self._step = checkpoint

    def of(self, node: str) -> tuple[SpiderIPPool, ...]:
        """The node's pools as last seen."""
        return tuple(self._view.store.by("node", node_label_value(node)))

    async def delete(self, pool: SpiderIPPool) -> None:
        """That very pool; success when it is gone already."""
        with contextlib.suppress(kube_errors.NotFound, kube_errors.Conflict):
            await self._client.delete(SpiderIPPool, pool.metadata.name, uid=pool.metadata.uid)

    async def write(self, work: NodeWork) -> None:
        """Makes the node's pools list exactly the addresses its interfaces have for pods."""
        network = work.memory.network
        interfaces = network.status.interfaces if network.status else []
        use_primary = work.provider.value.spec.interfaces.use_primary
        wanted = shapes.desired(network, interfaces, use_primary=use_primary)
        todo = shapes.writes(wanted, self.of(work.name))
        if todo.create or todo.reshape or todo.delete:
            self._step(WarmStep.POOL_WRITING)
        if todo.create or todo.delete:
            await self._records.confirm(network)
        for pool in todo.create:
            with contextlib.suppress(kube_errors.AlreadyExists):
                await self._client.create(pool)
            self._step(WarmStep.POOL_CREATED)
        for pool in todo.reshape:
            if (seen := await self._live(pool.metadata.name)) is not None:
                await self._reshape(work, seen, partial(shapes.reshaped, ips=pool.spec.ips))
            self._step(WarmStep.POOL_RESHAPED)
        for pool in todo.delete:
            await self.delete(pool)
            self._step(WarmStep.POOL_DELETED)

    async def ask_release(self, work: NodeWork, action: ReleaseAction) -> None:
        """Asks the agent to fence addresses; those no pool lists go back to the cloud at once."""
        family = next(item.version for item in action.items)
        name = shapes.pool_name(work.name, action.interface, family)
        pool = await self._live(name)
        if pool is None or not any(address in shapes.addresses(pool) for address in items.addresses(action.items)):
            await self._writes.carry_out(work, action)
            return
        if not action.fence:
            return  # the pool is about to go
        # Each prefix for itself: one that drains holds up nothing else.
        singles, prefixes = items.parted(action.items)
        parts = [singles & action.fence, *(items.within(prefix, action.fence) for prefix in prefixes)]
        releases = [
            Release(id=token_hex(8), pool=name, pool_uid=pool.metadata.uid or "", addresses=items.texts(part))
            for part in parts
            if part
        ]
        network = work.memory.network
        spec = structs.replace(network.spec, release=[*network.spec.release, *releases])
        self._step(WarmStep.RELEASE_ASKING)
        work.memory.network = await self._records.write_spec(network, spec)
        self._step(WarmStep.RELEASE_ASKED)

    async def finish_releases(self, work: NodeWork, *, growing: bool) -> bool:
        """Carries on with releases the agent has answered, or cancels them when the node must grow.

        True when something was done; False also where it has to wait for a place in the lane. What drains stays as it
        is.
        """
        network = work.memory.network
        reported = work.answered
        answers = fences.answered(network.spec, reported)
        ripe = fences.ripe(answers, [item for each in work.known.instance.interfaces for item in each.prefixes])
        if not (answers if growing else ripe):
            if any(entry.id not in reported for entry in network.spec.release_done):
                work.memory.network = await self._records.write_spec(network, fences.close(network.spec, {}, reported))
                self._step(WarmStep.RELEASE_FORGOTTEN)
            return False
        # A node that must grow gets back what it can at once; that is no cloud write.
        with contextlib.nullcontext(True) if growing else self._lane.place(work.name) as placed:
            closed = await self._carry_on(work, answers if growing else ripe, ripe, growing=growing) if placed else {}
            if closed:
                spec = fences.close(work.memory.network.spec, closed, reported)
                work.memory.network = await self._records.write_spec(work.memory.network, spec)
                self._step(WarmStep.RELEASE_CLOSED)
        return bool(closed)

    async def _carry_on(
        self, work: NodeWork, answers: Sequence[fences.Answered], ripe: Sequence[fences.Answered], *, growing: bool
    ) -> dict[str, int]:
        """Release → generation of its pool once that is without the addresses, or is to keep them.

        All pools shrink before anything is unassigned: several releases may make up one prefix.
        """
        closed: dict[str, int] = {}
        carried: list[fences.Answered] = []
        for answer in answers:
            pool = await self._live(answer.release.pool)
            intact = pool is not None and RangeSet.of(answer.fenced).difference(shapes.addresses(pool)).count == 0
            if growing and intact:
                closed[answer.release.id] = (pool.metadata.generation or 0) if pool else 0
            elif answer in ripe:
                self._step(WarmStep.RELEASE_SHRINKING)
                pool = await self._shrink(work, pool, answer.fenced)
                self._step(WarmStep.RELEASE_SHRUNK)
                closed[answer.release.id] = (pool.metadata.generation or 0) if pool else 0
                carried.append(answer)
        if carried:
            await self._unassign(work, frozenset(address for answer in carried for address in answer.fenced))
            self._step(WarmStep.RELEASE_UNASSIGNED)
        return closed

    async def _live(self, name: str) -> SpiderIPPool | None:
        try:
            return await self._client.get(SpiderIPPool, name)
        except kube_errors.NotFound:
            return None

    async def _shrink(
        self, work: NodeWork, pool: SpiderIPPool | None, fenced: frozenset[IPAddress]
    ) -> SpiderIPPool | None:
        if pool is None or not any(address in shapes.addresses(pool) for address in fenced):
            return pool
        return await self._reshape(work, pool, lambda live: shapes.without(live, fenced))

    async def _reshape(
        self, work: NodeWork, seen: SpiderIPPool, change: Callable[[SpiderIPPool], SpiderIPPool | None]
    ) -> SpiderIPPool:
        """``change`` of a pool, only while its spec is as ``seen`` and, read after that, the node's record as we know
        it: a leader that was stalled must not take addresses from pods that a later one has served. When the agent
        wrote meanwhile, both are looked at again: the later leader may have kept what was to go, and pods got it.
        """

        async def sure() -> None:
            await self._records.confirm(work.memory.network)
            self._step(WarmStep.POOL_CONFIRMED)

        def decided(live: SpiderIPPool) -> SpiderIPPool | None:
            if live.metadata.generation != seen.metadata.generation:
                raise StolenRecord(
                    409, "Conflict", f"SpiderIPPool {seen.metadata.name} was written by another operator"
                )
            return change(live)

        return await update(self._client, SpiderIPPool, seen.metadata.name, decided, start=seen, sure=sure)

    async def _unassign(self, work: NodeWork, fenced: frozenset[IPAddress]) -> None:
        """Addresses, and prefixes all of whose addresses are fenced; one call for each interface."""
        for interface in work.known.instance.interfaces:
            whole = {item for item in interface.prefixes if items.within(item, fenced) == items.addresses({item})}
            if going := (interface.addresses & fenced) | whole:
                await self._writes.carry_out(work, ReleaseAction(interface=interface.id, items=frozenset(going)))
