"""All of it for the warm pool: what a round needs, and who is told of what."""

from collections.abc import Callable, Mapping

from underlay.core.addresses import IPAddress
from underlay.core.api.ippool import NODE_LABEL, SHARED, SpiderIPPool
from underlay.core.api.kubernetes import Namespace, Pod
from underlay.core.api.nodenetwork import Intent, SpiderNodeNetwork
from underlay.core.cloud.model import Instance, Limits, Subnet
from underlay.core.cloud.planning.actions import Action
from underlay.core.cloud.planning.floating import reserved
from underlay.core.identity import InterfaceId
from underlay.core.ipam.blocks import holder
from underlay.core.ipam.ownership import may_be_fixed, owner_of
from underlay.core.kube.client import KubeClient
from underlay.core.kube.events import Recorder
from underlay.core.kube.reflector import Change, Modified
from underlay.core.runtime.checkpoints import Checkpoint
from underlay.core.runtime.clock import Clock
from underlay.operator.cloudwrites import CloudWrites
from underlay.operator.fixed.blocks import Blocks
from underlay.operator.fixed.calls import FixedCalls
from underlay.operator.fixed.pools import FixedPools, Listing
from underlay.operator.fixed.rounds import Floats
from underlay.operator.fixed.standing import Standings
from underlay.operator.fixed.steps import as_action
from underlay.operator.fixed.strays import Strays
from underlay.operator.fixed.upkeep import Upkeep
from underlay.operator.nodepools import NodePools
from underlay.operator.nodework import NodeWork
from underlay.operator.providers import Providers
from underlay.operator.records import Records
from underlay.operator.views import Views


class FixedAddresses:
    """``dirty`` has a node's round run, ``all_dirty`` every node's; ``gone`` is told what the cloud took from another
    node's interface. ``join`` comes before anything else, once there are cloud writes and node pools.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        clock: Clock,
        cluster: str,
        views: Views,
        providers: Providers,
        recorder: Recorder,
        dirty: Callable[[str], None],
        all_dirty: Callable[[], None],
        gone: Callable[[str, InterfaceId, IPAddress], None],
        sweep_seconds: float,
        checkpoint: Checkpoint,
    ) -> None:
        pods = views.pods
        pods.store.index("uid", lambda pod: (pod.metadata.uid,))
        pods.store.index("owner", lambda pod: (str(owner_of(pod.metadata)),) if may_be_fixed(pod.metadata) else ())
        views.networks.store.index("floating", _floating)
        self._clock = clock
        self._cluster = cluster
        self._views = views
        self._recorder = recorder
        self._dirty = dirty
        self._all_dirty = all_dirty
        self._gone = gone
        self._checkpoint = checkpoint
        self._blocks = Blocks(client, views.blocks, self._claims_changed)
        self._pools = FixedPools(views.pools, views.reserved)
        self._strays = Strays(networks=views.networks, pools=self._pools, blocks=self._blocks)
        self._standings = Standings(clock=clock, nodes=views.nodes, pods=pods, networks=views.networks)
        self.listing = Listing(self._blocks, self._pools)
        self._upkeep = Upkeep(
            client=client,
            clock=clock,
            blocks=self._blocks,
            pools=self._pools,
            pool_view=views.pools,
            networks=views.networks,
            providers=providers,
            standings=self._standings,
            strays=self._strays,
            recorder=recorder,
            dirty=dirty,
            sweep_seconds=sweep_seconds,
            checkpoint=checkpoint,
        )
        pods.subscribe(self._pod_changed)
        views.networks.subscribe(self._network_changed)
        views.pools.subscribe(self._pool_changed)
        views.reserved.subscribe(lambda _: self._all_dirty())
        views.namespaces.subscribe(self._namespace_changed)

    def join(self, *, records: Records, writes: CloudWrites, node_pools: NodePools) -> None:
        """The rest of it."""
        self.calls = FixedCalls(
            clock=self._clock,
            blocks=self._blocks,
            writes=writes,
            networks=self._views.networks,
            recorder=self._recorder,
            gone=self._gone,
            checkpoint=self._checkpoint,
        )
        self._floats = Floats(
            clock=self._clock,
            cluster=self._cluster,
            blocks=self._blocks,
            pools=self._pools,
            standings=self._standings,
            records=records,
            node_pools=node_pools,
            writes=writes,
            calls=self.calls,
            recorder=self._recorder,
            strays=self._strays,
            pods_of=lambda node: list(self._views.pods.store.by("node", node)),
            labels_of=self._labels_of,
            owners_gone=self._upkeep.gone,
            checkpoint=self._checkpoint,
        )

    async def run(self) -> None:
        """Until cancelled."""
        await self._upkeep.run()

    async def look(self, work: NodeWork, limits: Limits) -> None:
        """Decides about the node's pods that want fixed addresses; the result is in the node's memory."""
        await self._floats.look(work, limits)

    async def step(self, work: NodeWork) -> None:
        """The cloud write that ``look`` found."""
        await self._floats.step(work)

    def todo(self, work: NodeWork) -> Action | None:
        """What ``step`` would do, in the words of a node's plan."""
        step = work.memory.fixed.step
        return None if step is None else as_action(step)

    def is_ours(self, intent: Intent) -> bool:
        """``recover`` knows what became of it."""
        return self.calls.is_ours(intent)

    async def recover(self, work: NodeWork, intent: Intent) -> None:
        """Finishes a write that was under way."""
        await self.calls.recover(work, intent)

    def ordinary(self, work: NodeWork) -> list[Pod]:
        """The node's pods without those that need no address of its own pools."""
        served = work.memory.fixed.served
        return [pod for pod in self._views.pods.store.by("node", work.name) if pod.metadata.uid not in served]

    def planned(self, work: NodeWork) -> tuple[Instance, frozenset[IPAddress]]:
        """The instance as its plan must see it, places of coming fixed addresses taken; and all fixed addresses."""
        instance, coming, going = work.known.instance, work.memory.fixed.coming, work.memory.fixed.going
        on_it = {address for item in instance.interfaces for address in item.addresses}
        fixed = {address for address in on_it if self._blocks.entry(address) is not None}
        return reserved(instance, coming, going), frozenset(fixed | coming.keys())

    def growable(self, subnets: tuple[Subnet, ...]) -> tuple[Subnet, ...]:
        """Without those in which nothing may be assigned by count now."""
        moving = self.calls.in_transit()
        return tuple(subnet for subnet in subnets if subnet.id not in moving)

    def _claims_changed(self, nodes: set[str]) -> None:
        for node in nodes:
            self._dirty(node)
        self._upkeep.look()

    def _pool_changed(self, change: Change[SpiderIPPool]) -> None:
        if change.object.metadata.labels.get(NODE_LABEL) != SHARED:
            return
        self._upkeep.look()
        if not isinstance(change, Modified) or change.old.spec != change.object.spec:
            # Agents must know whether stable owners have fixed addresses before such a pod is bound to their node.
            self._all_dirty()

    def _namespace_changed(self, change: Change[Namespace]) -> None:
        if isinstance(change, Modified) and change.old.metadata.labels != change.object.metadata.labels:
            self._all_dirty()

    def _labels_of(self, namespace: str) -> Mapping[str, str]:
        found = self._views.namespaces.store.get(None, namespace)
        return found.metadata.labels if found else {}

    def _pod_changed(self, change: Change[Pod]) -> None:
        if may_be_fixed(change.object.metadata):
            self._owner_dirty(str(owner_of(change.object.metadata)))
            self._upkeep.look()

    def _network_changed(self, change: Change[SpiderNodeNetwork]) -> None:
        """A node's agent may have confirmed what others wait for."""
        for address, entry in self._blocks.on(change.object.metadata.name).items():
            if any(item.address == str(address) for item in change.object.spec.recall):
                self._owner_dirty(holder(entry))
                self._upkeep.look()

    def _owner_dirty(self, owner: str) -> None:
        nodes = {entry.node for _, entry in self._blocks.of(owner)}
        for node in nodes | {pod.spec.node_name for pod in self._standings.pods_of(owner)}:
            self._dirty(node)


def _floating(network: SpiderNodeNetwork) -> tuple[str, ...]:
    interfaces = network.status.interfaces if network.status else []
    return tuple(item.address for interface in interfaces for item in interface.floating)
