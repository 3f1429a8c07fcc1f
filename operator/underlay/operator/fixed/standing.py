"""What is known of the place where a fixed address is now: pod, node, agent, machine."""

from dataclasses import dataclass

from underlay.core.addresses import IPAddress
from underlay.core.api.ipblock import BlockEntry
from underlay.core.api.kubernetes import Node, Pod
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.cloud.errors import CloudError
from underlay.core.cloud.model import InstanceState
from underlay.core.errors import InvalidInput
from underlay.core.ipam.ownership import Standing
from underlay.core.kube.reflector import Reflector
from underlay.core.runtime.clock import Clock
from underlay.operator.providers import Provider
from underlay.operator.reconcile.demand import wants_address
from underlay.operator.reconcile.floating import OUT_OF_SERVICE

_ANSWER_SECONDS = 30.0
_FRESH_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    at: float
    off: bool


class Standings:
    """Pods are indexed by ``uid``, and by ``owner`` where they may have fixed addresses.

    A Node that nobody says is not Ready counts as one that answers, for as long as its agent may take to confirm.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        nodes: Reflector[Node],
        pods: Reflector[Pod],
        networks: Reflector[SpiderNodeNetwork],
    ) -> None:
        self._clock = clock
        self._nodes = nodes
        self._pods = pods
        self._networks = networks
        self._asked: dict[tuple[str, IPAddress], float] = {}
        self._machines: dict[str, _Look] = {}

    def alive(self, uid: str) -> bool:
        """The pod exists and has not ended."""
        return self.pod(uid) is not None

    def pod(self, uid: str) -> Pod | None:
        """The pod, bound and not ended."""
        return next((pod for pod in self._pods.store.by("uid", uid) if wants_address(pod)), None)

    def pods_of(self, owner: str) -> list[Pod]:
        """The owner's pods that are bound and have not ended."""
        return [pod for pod in self._pods.store.by("owner", owner) if wants_address(pod)]

    def lives_elsewhere(self, owner: str, node: str) -> bool:
        """The owner has such a pod on another node than ``node``."""
        return any(pod.spec.node_name != node for pod in self.pods_of(owner))

    def confirmed(self, node: str, address: IPAddress) -> bool:
        """The node's agent says that no sandbox has ``address``, and that none will."""
        network = self._networks.store.get(None, node)
        if network is None or network.status is None:
            return False
        recalls = {item.id for item in network.spec.recall if item.address == str(address)}
        return any(answer.id in recalls and str(address) in answer.fenced for answer in network.status.released)

    async def of(self, address: IPAddress, entry: BlockEntry, provider: Provider) -> Standing:
        """Where ``address`` is. Asks the cloud for the machine of a node that does not answer."""
        node = self._nodes.store.get(None, entry.node)
        confirmed = self.confirmed(entry.node, address)
        answers = confirmed or (node is not None and _ready(node) and self._in_time(entry.node, address))
        if confirmed:
            self._asked.pop((entry.node, address), None)
        return Standing(
            node=entry.node,
            pod=entry.pod,
            pod_alive=self.alive(entry.uid),
            confirmed=confirmed,
            answers=answers,
            machine_off=not answers and await self._off(entry.node, node, provider),
            out_of_service=node is not None and _is_out_of_service(node),
            atomic=provider.driver is not None and provider.driver.capabilities.move_address,
        )

    def _in_time(self, node: str, address: IPAddress) -> bool:
        """The agent has not been asked for too long. The time runs from the first look after the recall was written."""
        network = self._networks.store.get(None, node)
        recalled = network is not None and any(item.address == str(address) for item in network.spec.recall)
        key = node, address
        if not recalled:
            self._asked.pop(key, None)
            return True
        now = self._clock.monotonic()
        return now - self._asked.setdefault(key, now) < _ANSWER_SECONDS

    async def _off(self, name: str, node: Node | None, provider: Provider) -> bool:
        network = self._networks.store.get(None, name)
        if network is None:
            # Its record goes only when the machine is gone from the cloud.
            return node is None
        now = self._clock.monotonic()
        known = self._machines.get(name)
        if known is None or now - known.at > _FRESH_SECONDS:
            known = self._machines[name] = _Look(at=now, off=await _is_off(network.spec.provider_id, provider))
        return known.off


async def _is_off(provider_id: str, provider: Provider) -> bool:
    if provider.driver is None:
        return False
    try:
        id_ = provider.driver.instance_id(provider_id)
        found = {instance.id: instance for instance in await provider.driver.instances([id_])}
    except (CloudError, InvalidInput):
        return False
    return id_ not in found or found[id_].state in (InstanceState.STOPPED, InstanceState.GONE)


def away(node: Node) -> str:
    """Why no address is brought to the node now; empty when it may come."""
    if _is_out_of_service(node):
        return f"node {node.metadata.name} is out of service"
    return "" if _ready(node) else f"node {node.metadata.name} is not Ready"


def _is_out_of_service(node: Node) -> bool:
    return any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints or ())


def _ready(node: Node) -> bool:
    ready = next((condition for condition in node.status.conditions if condition.type == "Ready"), None)
    return ready is None or ready.status == "True"
