"""The shell round ``core.cloud``: keeps every node supplied with addresses.

One task per dirty node, newest state, largest lack first. A round for a node: snapshot (Node, provider, pods, pools,
SpiderNodeNetwork, instance) → finish what an earlier round or a crash left (intents, answered releases) → plan → pools
and status → at most one cloud write. No lock is held anywhere: the queue runs one round per node at a time, and every
write to the API server is made against the version it was decided on. Rounds that wait for the cloud hold up no other:
see ``lanes``.
"""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from underlay.core.api.ippool import SpiderIPPool
from underlay.core.api.kubernetes import Node
from underlay.core.api.nodenetwork import Intent, SpiderNodeNetwork
from underlay.core.cloud.errors import CloudError, Exhausted, NoPrefix
from underlay.core.cloud.limits import LeaseNotHeld
from underlay.core.cloud.model import IPAddress, Kind, Limits
from underlay.core.cloud.planning.actions import Action, Assign, Create, Release
from underlay.core.cloud.planning.plan import Plan, plan
from underlay.core.cloud.planning.pressure import Pressure
from underlay.core.cloud.planning.view import NodeView
from underlay.core.cloud.settle import OwnWrite, wrote
from underlay.core.errors import InvalidInput, UnderlayError
from underlay.core.identity import InterfaceId, SubnetId
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.core.kube.events import Recorder
from underlay.core.runtime.aio import KeyedQueue
from underlay.core.runtime.checkpoints import Checkpoint, passing
from underlay.core.runtime.clock import Clock
from underlay.operator.adoption import Adoption
from underlay.operator.cloudwrites import CloudWrites
from underlay.operator.endings import Endings
from underlay.operator.farewell import Farewells
from underlay.operator.fixed.wiring import FixedAddresses
from underlay.operator.groups import SecurityGroups
from underlay.operator.lanes import Lanes
from underlay.operator.memories import Memories
from underlay.operator.nodepools import NodePools
from underlay.operator.nodework import Memory, NodeWork, makes_interface
from underlay.operator.providers import Provider, Providers
from underlay.operator.reconcile import fences, retiring
from underlay.operator.reconcile.demand import Need, need
from underlay.operator.reconcile.subnets import fitting
from underlay.operator.records import LostRecord, Records
from underlay.operator.scarcity import Scarcity
from underlay.operator.settings import Settings
from underlay.operator.troubles import Troubles
from underlay.operator.views import Views

_REREAD_SECONDS = 2.0
_SWEEP_SECONDS = 5.0


class WarmPool:
    """Serves all nodes of all providers. ``planned`` is told of each plan how many seconds it took and its actions."""

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
        planned: Callable[[float, int], None] = lambda _seconds, _actions: None,
    ) -> None:
        self._client = client
        self._records = Records(client)
        self._clock = clock
        self._settings = settings
        self._cluster = cluster
        self._providers = providers
        self._views = views
        self._step = checkpoint
        self._planned = planned
        known_within = settings.settle_seconds + settings.resync_seconds
        self._groups = SecurityGroups(
            clock=clock,
            cluster=cluster,
            settle_seconds=known_within,
            fresh_seconds=settings.subnet_seconds,
        )
        self._endings = Endings(clock=clock, cluster=cluster, settle_seconds=known_within)
        self._fixed = FixedAddresses(
            client=client,
            clock=clock,
            cluster=cluster,
            views=views,
            providers=providers,
            recorder=recorder,
            dirty=self.dirty,
            all_dirty=self.all_dirty,
            gone=self._lost_address,
            sweep_seconds=min(settings.settle_seconds, _SWEEP_SECONDS),
            checkpoint=checkpoint,
        )
        self._adoption = Adoption(client=client, cluster=cluster, pools_of=self._pools_of)
        self._writes = CloudWrites(
            records=self._records,
            providers=providers,
            groups=self._groups,
            clock=clock,
            cluster=cluster,
            settle_seconds=settings.settle_seconds,
            listing=self._fixed.listing,
            adoption=self._adoption,
            checkpoint=checkpoint,
        )
        self._queue: KeyedQueue[str] = KeyedQueue(clock=clock, priority=self._lack)
        # Rounds that do not wait for the cloud: were there more, all would come to their first write late.
        self._turns = asyncio.Semaphore(settings.workers)
        self._having_turns: set[str] = set()
        self._lanes = Lanes(lack=self._lack, call=self._queue.add, placed=self._give_back_turn)
        self._pools = NodePools(
            client=client,
            records=self._records,
            writes=self._writes,
            view=views.pools,
            lane=self._lanes.releasing,
            checkpoint=checkpoint,
        )
        self._fixed.join(records=self._records, writes=self._writes, node_pools=self._pools)
        self._farewells = Farewells(
            client=client,
            providers=providers,
            pools=self._pools,
            settle_seconds=settings.settle_seconds,
            checkpoint=checkpoint,
        )
        self._reread = min(_REREAD_SECONDS, settings.settle_seconds / 2)
        self._scarcity = Scarcity(clock=clock, dirty=self.dirty, changed=providers.report)
        self._memories = Memories(records=self._records, networks=views.networks, checkpoint=checkpoint)
        self._trouble = Troubles(
            clock=clock, records=self._records, providers=providers, writes=self._writes, recorder=recorder
        )
        self._log = structlog.get_logger()

    def dirty(self, node: str) -> None:
        """Something about the node changed."""
        self._queue.add(node)

    def all_dirty(self) -> None:
        """A provider changed."""
        for node in self._views.nodes.store.items():
            self._queue.add(node.metadata.name)

    def _pools_of(self, node: str) -> Iterable[SpiderIPPool]:
        return self._pools.of(node)

    def lost(self, node: str) -> None:
        """Its SpiderNodeNetwork vanished: it is made again, of what is known of the machine."""
        self._memories.lost(node)

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._fixed.run())
                for _ in range(self._settings.workers + self._lanes.places):
                    group.create_task(self._work())
        finally:
            await self._queue.close()

    def _lost_address(self, node: str, interface: InterfaceId, address: IPAddress) -> None:
        memory = self._memories.get(node)
        if memory is not None and memory.known is not None:
            write = OwnWrite(at=self._clock.monotonic(), interface=interface, removed=frozenset({address}))
            memory.known = wrote(memory.known, write)
        self.dirty(node)

    def _lack(self, node: str) -> int:
        memory = self._memories.get(node)
        return memory.plan.usable - memory.plan.target if memory and memory.plan else -1

    async def _work(self) -> None:
        while True:
            await self._turns.acquire()
            name = await self._queue.get()
            self._having_turns.add(name)
            try:
                await self.round(name)
            except (kube_errors.KubeError, LeaseNotHeld) as error:
                if isinstance(error, LostRecord):
                    self._memories.lost(name)
                else:
                    self._memories.forget(name)
                self._log.warning("node.round-abandoned", node=name, error=str(error))
                self._queue.add_after(name, _REREAD_SECONDS)
            finally:
                self._queue.done(name)
                self._lanes.settle(name)
                self._give_back_turn(name)

    def _give_back_turn(self, name: str) -> None:
        if name in self._having_turns:
            self._having_turns.remove(name)
            self._turns.release()

    async def round(self, name: str) -> None:
        """Brings one node one step nearer to what it should have."""
        node = self._views.nodes.store.get(None, name)
        if node is None or node.metadata.deletion_timestamp is not None:
            await self._farewell(name)
            return
        recorded = self._views.networks.store.get(None, name)
        provider, leaving = self._providers.serving(node, recorded.spec.provider if recorded else "")
        if provider is None or not node.spec.provider_id:
            return
        memory = await self._remember(node, provider, leaving=leaving)
        if memory is None:
            return
        if memory.served_by is not provider:
            memory.served_by, memory.round_at = provider, float("-inf")
            memory.act_at = memory.make_at = float("-inf")
        # Of several delays of a key the earliest counts, so whatever is waited for is said again in each round.
        self._queue.add_after(name, self._settings.resync_seconds)
        if (wait := memory.round_at - self._clock.monotonic()) > 0:
            self._queue.add_after(name, wait)
            return
        if provider.driver is None:
            return
        work = NodeWork(node=node, provider=provider, driver=provider.driver, memory=memory, retiring=leaving)
        try:
            busy = await self._serve(work)
        except (kube_errors.KubeError, LeaseNotHeld):
            raise
        except UnderlayError as error:
            memory.round_at = self._clock.monotonic() + await self._trouble.tell(work, error)
            busy = True
        if busy:
            self._queue.add(name)

    async def _remember(self, node: Node, provider: Provider, *, leaving: bool) -> Memory | None:
        """None: an earlier machine has to be gone first, or there is nothing to do."""
        memory = await self._memories.of(node, provider, leaving=leaving)
        if isinstance(memory, SpiderNodeNetwork):
            await self._bury(memory)
            return None
        if memory is None:
            self._queue.add_after(node.metadata.name, self._reread)
        return memory

    async def _serve(self, work: NodeWork) -> bool:
        """One round; True when another should follow at once."""
        memory = work.memory
        if (again := await self._writes.read(work, resync_seconds=self._settings.resync_seconds)) is not None:
            self._queue.add_after(work.name, max(again, self._reread))
        if memory.known is None:
            return False
        await work.provider.subnets.of(work.driver, work.known.instance)
        if (pending := work.doubtful(self._clock.monotonic())) is not None:
            return await self._recover(work, pending)
        if await self._supply(work):
            return True
        if not work.retiring:
            await self._mend(work)
        return False

    async def _mend(self, work: NodeWork) -> None:
        """What interfaces are like beside their addresses."""
        changes, due = await self._groups.due(work), self._endings.due(work)
        if changes or due:
            # The cloud counts these with the calls that create.
            with self._lanes.creating.place(work.name) as placed:
                if placed:
                    await self._groups.apply(work, changes)
                    await self._endings.apply(work, due)

    async def _recover(self, work: NodeWork, intent: Intent) -> bool:
        """False: the cloud does not show yet what became of it."""
        memory = work.memory
        try:
            if self._fixed.is_ours(intent):
                await self._fixed.recover(work, intent)
            elif not await self._writes.recover(work, intent):
                self._queue.add_after(work.name, self._reread)
                return False
        except (CloudError, InvalidInput) as error:
            stands = any(other.id == intent.id for other in work.intents)
            if stands and not makes_interface(intent):
                raise
            again = self._clock.monotonic() + await self._trouble.tell(work, error)
            if stands:
                # What cannot be finished, for want of a permission perhaps, holds up no more than further interfaces.
                memory.make_at = again
            else:
                # Refused for good, as in ``_act``; an earlier attempt may all the same have left something there.
                memory.act_at, memory.read_at = again, float("-inf")
        else:
            memory.failures, memory.act_at = 0, float("-inf")
        return True

    async def _supply(self, work: NodeWork) -> bool:
        """The round of a node of which all is known."""
        memory, name = work.memory, work.name
        if await self._adoption.take(work):
            self._queue.add_after(name, self._reread)
        limits = work.capped(await work.driver.limits(work.known.instance.type))
        await self._fixed.look(work, limits)
        memory.need = need([] if work.retiring else self._fixed.ordinary(work), self._pools.of(name))
        # Asked before the view is made: what ends meanwhile is either in the view or waked for.
        held_back = work.provider.subnets.blocks_expire(), self._providers.account_full_seconds(work.provider)
        view = await self._view(work, limits, memory.need)
        memory.plan = decided = plan(view)
        now = self._clock.monotonic()
        self._planned(now - view.now, len(decided.actions))
        memory.surplus_since = (memory.surplus_since or view.now) if decided.surplus else None
        self._judge(work, decided)
        if await self._pools.finish_releases(work, growing=decided.lack > 0):
            return True
        await self._pools.write(work)
        if decided.usable >= decided.target:
            memory.trouble = None
        self._trouble.tell_shortage(work, decided)
        step = self._fixed.todo(work)
        todo = next(filter(work.open_to, decided.actions if step is None else (step,)), None)
        acting = todo is not None and now >= memory.act_at
        if not acting:  # else the write's own record tells it
            await self._writes.report(work, work.intents, limits)
        unmade = max(memory.make_at - now, 0) if work.intents else None
        self._remind(work, *held_back, memory.fixed.look_again, decided.ripe_seconds, unmade)
        if todo is None:
            if decided.usable < decided.target:
                # Nobody tells when others give addresses back to a subnet.
                self._queue.add_after(name, self._settings.subnet_seconds)
            return work.retiring and await self._retire(work)
        if not acting:
            self._queue.add_after(name, memory.act_at - now)
            return False
        if await self._act(work, todo):
            return True
        await self._writes.report(work, work.intents, limits)
        return False

    def _remind(self, work: NodeWork, *waits: float | None) -> None:
        """Of what no event will tell."""
        for wait in waits:
            if wait is not None:
                self._queue.add_after(work.name, wait)

    async def _view(self, work: NodeWork, limits: Limits, needed: Need) -> NodeView:
        memory, spec = work.memory, work.provider.value.spec
        known, interfaces, addresses = work.provider.subnets, spec.interfaces, spec.addresses
        pressures, offered = known.pressures, await known.candidates(work.driver, spec.subnets, work.known.instance)
        if work.retiring:
            interfaces, addresses = retiring.interfaces(interfaces), retiring.addresses(addresses)
            # Nothing idle is kept for anybody.
            pressures = dict.fromkeys((item.subnet for item in work.known.instance.interfaces), Pressure.EMPTY)
        instance, fixed = self._fixed.planned(work)
        return NodeView(
            instance=instance,
            limits=limits,
            cluster=self._cluster,
            interface_policy=interfaces,
            addresses=addresses,
            subnets=self._fixed.growable(offered),
            pods=needed.pods,
            cooling=work.cooling,
            held=needed.held,
            homes=known.by_id,
            pressures=pressures,
            whole_blocks=known.whole_blocks(),
            leaving=fences.leaving(memory.network.spec, work.answered),
            asking=any(release.id not in work.answered for release in memory.network.spec.release),
            appeared=frozenset(work.known.appeared),
            taken=work.taken,
            floating=fixed,
            account_full=self._providers.account_full_seconds(work.provider) is not None,
            max_pods=work.max_pods,
            cordoned=bool(work.node.spec.unschedulable) and not work.retiring,
            now=self._clock.monotonic(),
            surplus_since=memory.surplus_since,
        )

    async def _act(self, work: NodeWork, action: Action) -> bool:
        """What the cloud refuses holds up further writes, not what is done with what is there. False: it is parked."""
        with self._lanes.of(action).place(work.name) as placed:
            if not placed:
                return False
            planned = work.memory.fixed.step is None
            try:
                if not planned:
                    await self._fixed.step(work)
                elif isinstance(action, Release):
                    await self._pools.ask_release(work, action)
                else:
                    await self._writes.carry_out(work, action)
            except (CloudError, InvalidInput) as error:
                if not self._learn_blocks(work, action, error):
                    wait = await self._trouble.tell(work, error)
                    elsewhere = planned and isinstance(error, Exhausted) and _left_alone(action)
                    work.memory.act_at = self._clock.monotonic() + (0 if elsewhere else wait)
            else:
                work.memory.failures = 0
        return True

    def _learn_blocks(self, work: NodeWork, action: Action, error: UnderlayError) -> bool:
        """A subnet without whole blocks is no trouble: fewer are asked for, then the plan knows another way or tells
        that there is none. A cloud may call it exhausted, when it has not as many addresses as the prefixes would take.
        """
        wanted = action.wanted if isinstance(action, Create) else {}
        wanted = {action.kind: action.count} if isinstance(action, Assign) else wanted
        if not isinstance(error, NoPrefix | Exhausted) or not (asked := wanted.get(Kind.IPV4_PREFIX, 0)):
            return False
        work.provider.subnets.few_blocks(SubnetId(error.subnet), asked)
        self._log.info("subnet.few-blocks", node=work.name, subnet=error.subnet, asked=asked)
        return True

    def _judge(self, work: NodeWork, decided: Plan) -> None:
        """What the node's state means for the subnets it draws from, and so for other nodes."""
        instance, provider, need = work.known.instance, work.provider, work.memory.need
        homes = {interface.subnet for interface in instance.interfaces}
        lacking: set[SubnetId] = set()
        if need and decided.usable < need.pods and decided.lack and decided.shortage.startswith("subnet:"):
            offered = fitting(provider.subnets.by_id.values(), provider.value.spec.subnets, instance)
            lacking = homes | {subnet.id for subnet in offered if subnet.zone == instance.zone}
        self._scarcity.tell(work.name, homes, lacking)
        self._scarcity.judge(provider)

    async def _retire(self, work: NodeWork) -> bool:
        """Its last trace goes once nothing is left; True: it has gone, another provider may come."""
        memory, name = work.memory, work.name
        if not retiring.is_returned(memory.network, work.known.instance, self._cluster):
            return False
        await self._farewells.erase(memory.network)
        self._memories.forget(name)
        self._log.info("node.retired", node=name, provider=work.provider.name)
        return True

    async def _farewell(self, name: str) -> None:
        """The Node is gone."""
        self._memories.forget(name)
        self._scarcity.forget(name)
        network = self._views.networks.store.get(None, name)
        if network is not None:
            await self._bury(network)

    async def _bury(self, network: SpiderNodeNetwork) -> None:
        name = network.metadata.name
        if (wait := await self._farewells.bury(network)) is None:
            self._queue.add(name)
        else:
            self._queue.add_after(name, wait)


def _left_alone(action: Action) -> bool:
    """Whether plans do without this as long as its subnet is exhausted, so that the next one tells where else to ask.
    They know what IPv4 addresses an interface may get, of IPv6 there are always enough.
    """
    return isinstance(action, Create) or (isinstance(action, Assign) and action.kind.family == 4)
