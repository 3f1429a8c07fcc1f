"""What is remembered of each node between rounds, and its SpiderNodeNetwork as it is now."""

from underlay.core.api.kubernetes import Node
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.kube.reflector import Reflector
from underlay.core.runtime.checkpoints import Checkpoint
from underlay.operator.nodework import Memory
from underlay.operator.providers import Provider
from underlay.operator.records import Records, operator_part, wanted_spec
from underlay.operator.steps import WarmStep


class Memories:
    """By node's name."""

    def __init__(self, *, records: Records, networks: Reflector[SpiderNodeNetwork], checkpoint: Checkpoint) -> None:
        self._records = records
        self._networks = networks
        self._step = checkpoint
        self._of: dict[str, Memory] = {}

    def get(self, name: str) -> Memory | None:
        """What is remembered, None: nothing."""
        return self._of.get(name)

    def forget(self, name: str) -> None:
        """All of it; the next round begins with what API server and cloud say."""
        self._of.pop(name, None)

    def lost(self, name: str) -> None:
        """The SpiderNodeNetwork vanished."""
        if memory := self._of.get(name):
            memory.lost = True

    async def of(self, node: Node, provider: Provider, *, leaving: bool) -> Memory | SpiderNodeNetwork | None:
        """The node's memory; its SpiderNodeNetwork is as new as our own last write and the reflector's copy.

        A SpiderNodeNetwork: that of an earlier machine, which has to be gone first. None: there is nothing to take back
        from a node that is left (``leaving``), or the machine has just become another one.
        """
        name = node.metadata.name
        memory = self._of.get(name)
        if leaving and (memory is None or memory.lost) and not await self._records.exists(name):
            self._of.pop(name, None)
            return None
        if memory is None:
            self._step(WarmStep.NETWORK_OPENING)
            network = await self._records.open(node, provider)
            if network.spec.provider_id != node.spec.provider_id:
                return network
            memory = Memory(network=network)
            self._of[name] = memory
            self._step(WarmStep.NETWORK_OPENED)
            return memory
        if memory.lost:
            memory.lost, memory.network = False, await self._records.open(node, provider)
        seen = self._networks.store.get(None, name)
        if (
            seen is not None
            and seen.spec == memory.network.spec
            and operator_part(seen) == operator_part(memory.network)
        ):
            memory.network = seen
        wanted = wanted_spec(node, provider, memory.network.spec)
        if wanted.provider_id != memory.network.spec.provider_id:
            self._of.pop(name, None)
            return None
        if wanted != memory.network.spec:
            memory.network = await self._records.write_spec(memory.network, wanted)
        return memory
