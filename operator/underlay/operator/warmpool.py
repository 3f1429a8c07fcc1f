"""The shell round ``core.cloud``: keeps every node supplied with addresses.

One task per dirty node, newest state, largest lack first. A round for a node: snapshot (Node, provider, pods, pools,
SpiderNodeNetwork, instance) → finish what an earlier round or a crash left (intents, answered releases) → plan → pools
and status → at most one cloud write. No lock is held anywhere: the queue runs one round per node at a time, and every
write to the API server is made against the version it was decided on.
"""

import asyncio
import contextlib
from dataclasses import dataclass

import structlog

from underlay.core.api.conditions import rfc3339
from underlay.core.api.ippool import SpiderIPPool
from underlay.core.api.kubernetes import Node, Pod
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.cloud.errors import CloudError, Exhausted, NotFound
from underlay.core.cloud.model import InstanceState, Limits
from underlay.core.cloud.plan import Action, Assign, Create, NodeView, Release, plan
from underlay.core.errors import UnderlayError
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.core.kube.events import Recorder, reference
from underlay.core.kube.reflector import Reflector
from underlay.core.runtime.aio import KeyedQueue
from underlay.core.runtime.checkpoints import Checkpoint, passing
from underlay.core.runtime.clock import Clock
from underlay.operator.cloudwrites import CloudWrites
from underlay.operator.nodepools import NodePools
from underlay.operator.nodework import Memory, NodeWork, WarmStep
from underlay.operator.providers import Provider, Providers
from underlay.operator.reconcile import fences
from underlay.operator.reconcile import status as render
from underlay.operator.reconcile.advice import advise
from underlay.operator.reconcile.demand import Need, need
from underlay.operator.records import Records, operator_part, wanted_spec
from underlay.operator.settings import Settings

_REREAD_SECONDS = 2.0
_LONGEST_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """The operator's windows on the cluster. Pods are indexed by ``node``, pools by ``node`` (the label's value)."""

    nodes: Reflector[Node]
    pods: Reflector[Pod]
    pools: Reflector[SpiderIPPool]
    networks: Reflector[SpiderNodeNetwork]


class WarmPool:
    """Serves all nodes of all providers."""

    def __init__(
        self,
        *,
        client: KubeClient,
        clock: Clock,
        settings: Settings,
        cluster: str,
        providers: Providers,
        views: Views,
        recorder: Recorder,
        checkpoint: Checkpoint = passing,
    ) -> None:
        self._client = client
        self._records = Records(client)
        self._clock = clock
        self._settings = settings
        self._cluster = cluster
        self._providers = providers
        self._views = views
        self._recorder = recorder
        self._step = checkpoint
        self._writes = CloudWrites(
            records=self._records,
            providers=providers,
            clock=clock,
            cluster=cluster,
            settle_seconds=settings.settle_seconds,
            checkpoint=checkpoint,
        )
        self._pools = NodePools(
            client=client, records=self._records, writes=self._writes, view=views.pools, checkpoint=checkpoint
        )
        self._queue: KeyedQueue[str] = KeyedQueue(clock=clock, priority=self._lack)
        self._memories: dict[str, Memory] = {}
        self._log = structlog.get_logger()

    def dirty(self, node: str) -> None:
        """Something about the node changed."""
        self._queue.add(node)

    def all_dirty(self) -> None:
        """A provider changed."""
        for node in self._views.nodes.store.items():
            self._queue.add(node.metadata.name)

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.workers):
                group.create_task(self._work())

    def _lack(self, node: str) -> int:
        memory = self._memories.get(node)
        return memory.plan.usable - memory.plan.target if memory and memory.plan else -1

    async def _work(self) -> None:
        while True:
            name = await self._queue.get()
            try:
                await self.round(name)
            except kube_errors.KubeError as error:
                self._memories.pop(name, None)
                self._log.warning("node.round-abandoned", node=name, error=str(error))
                self._queue.add_after(name, _REREAD_SECONDS)
            finally:
                self._queue.done(name)

    async def round(self, name: str) -> None:
        """Brings one node one step nearer to what it should have."""
        node = self._views.nodes.store.get(None, name)
        if node is None or node.metadata.deletion_timestamp is not None:
            await self._farewell(name)
            return
        provider = self._providers.of_node(node)
        if provider is None or not node.spec.provider_id:
            return
        memory = await self._remember(node, provider)
        if memory.served_by is not provider:
            memory.served_by, memory.retry_at = provider, float("-inf")
        if provider.driver is None or (memory.known is None and self._clock.monotonic() < memory.retry_at):
            return
        work = NodeWork(node=node, provider=provider, driver=provider.driver, memory=memory)
        try:
            busy = await self._serve(work)
        except kube_errors.KubeError:
            raise
        except UnderlayError as error:
            await self._in_trouble(work, error)
            return
        if busy:
            memory.failures = 0
            self._queue.add(name)

    async def _serve(self, work: NodeWork) -> bool:
        """One round; True when another should follow at once."""
        memory, name = work.memory, work.name
        if (again := await self._writes.read(work, resync_seconds=self._settings.resync_seconds)) is not None:
            self._queue.add_after(name, max(again, _REREAD_SECONDS))
        await self._providers.subnets_of(work.provider, work.known.instance)
        if pending := work.intents:
            settled = await self._writes.recover(work, pending[0])
            if not settled:
                self._queue.add_after(name, _REREAD_SECONDS)
            return settled
        limits = await work.driver.limits(work.known.instance.type)
        memory.need = need(self._views.pods.store.by("node", name), self._pools.of(name))
        memory.plan = decided = plan(await self._view(work, limits, memory.need))
        now = self._clock.monotonic()
        memory.surplus_since = (memory.surplus_since or now) if decided.surplus else None
        growing = any(isinstance(action, Assign | Create) for action in decided.actions)
        if await self._pools.finish_releases(work, growing=growing):
            return True
        await self._pools.write(work)
        if decided.usable >= decided.target:
            memory.trouble = None
        await self._writes.report(work, [], limits)
        if memory.surplus_since is not None:
            delay = work.provider.value.spec.addresses.release_delay_seconds
            self._queue.add_after(name, max(memory.surplus_since + delay - now, 1.0))
        if not decided.actions or now < memory.retry_at:
            return False
        await self._act(work, decided.actions[0])
        return True

    async def _view(self, work: NodeWork, limits: Limits, needed: Need) -> NodeView:
        memory, spec = work.memory, work.provider.value.spec
        return NodeView(
            instance=work.known.instance,
            limits=work.capped(limits),
            cluster=self._cluster,
            interface_policy=spec.interfaces,
            addresses=spec.addresses,
            subnets=await self._providers.candidates(work.provider, work.known.instance),
            pods=needed.pods,
            cooling=memory.network.status.cooling if memory.network.status else 0,
            held=needed.held,
            leaving=fences.leaving(memory.network.spec),
            appeared=frozenset(work.known.appeared),
            now=self._clock.monotonic(),
            surplus_since=memory.surplus_since,
        )

    async def _act(self, work: NodeWork, action: Action) -> None:
        if isinstance(action, Release):
            await self._pools.ask_release(work, action)
        else:
            await self._writes.carry_out(work, action)

    async def _remember(self, node: Node, provider: Provider) -> Memory:
        """The node's memory; its SpiderNodeNetwork is as new as our own last write and the reflector's copy."""
        name = node.metadata.name
        memory = self._memories.get(name)
        if memory is None:
            memory = Memory(network=await self._records.open(node, provider))
            self._memories[name] = memory
            self._step(WarmStep.NETWORK_OPENED)
            return memory
        seen = self._views.networks.store.get(None, name)
        if (
            seen is not None
            and seen.spec == memory.network.spec
            and operator_part(seen) == operator_part(memory.network)
        ):
            memory.network = seen
        wanted = wanted_spec(node, provider, memory.network.spec)
        if wanted != memory.network.spec:
            if wanted.provider_id != memory.network.spec.provider_id:
                memory.known = None
            memory.network = await self._records.write_spec(memory.network, wanted)
        return memory

    async def _in_trouble(self, work: NodeWork, error: UnderlayError) -> None:
        """Says what is wrong where a person looks, and comes back later."""
        memory, name = work.memory, work.name
        before, memory.trouble = memory.trouble, advise(error)
        memory.failures += 1
        if isinstance(error, Exhausted):
            self._providers.block(work.provider, error)
        if before is None or before.reason != memory.trouble.reason:
            self._log.warning("node.in-trouble", node=name, reason=memory.trouble.reason, error=str(error))
            self._recorder.event(reference(work.node), "Warning", memory.trouble.reason, memory.trouble.message)
        if memory.known is None:
            memory.network = await self._records.write_status(
                memory.network,
                render.unreadable(operator_part(memory.network), memory.trouble, rfc3339(self._clock.now())),
            )
        else:
            await self._writes.report(work, work.intents)
        wait = min(memory.trouble.retry_seconds * 2 ** min(memory.failures - 1, 5), _LONGEST_RETRY_SECONDS)
        memory.retry_at = self._clock.monotonic() + wait
        self._queue.add_after(name, wait)

    async def _farewell(self, name: str) -> None:
        """The Node is gone: once its instance is gone too, so are its pools and its SpiderNodeNetwork."""
        self._memories.pop(name, None)
        network = self._views.networks.store.get(None, name)
        if network is None:
            return
        provider = self._providers.get(network.spec.provider)
        if provider is not None and provider.driver is not None:
            try:
                instance = await provider.driver.instance(provider.driver.instance_id(network.spec.provider_id))
            except NotFound:
                instance = None
            except CloudError as error:
                self._log.warning("node.farewell-delayed", node=name, error=str(error))
                self._queue.add_after(name, advise(error).retry_seconds)
                return
            if instance is not None and instance.state != InstanceState.GONE:
                self._queue.add_after(name, self._settings.settle_seconds)
                return
        for pool in self._pools.of(name):
            await self._pools.delete(pool)
        with contextlib.suppress(kube_errors.NotFound):
            await self._client.delete(SpiderNodeNetwork, name, uid=network.metadata.uid)
