"""One node during a round: who it is, who serves it, and what earlier rounds left."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from underlay.core.api.kubernetes import Node
from underlay.core.api.nodenetwork import Intent, SpiderNodeNetwork
from underlay.core.cloud import tags
from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.errors import NotFound
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import IPAddress, Limits
from underlay.core.cloud.planning.actions import Action, Create
from underlay.core.cloud.planning.floating import Attach, Bring, MakeRoom
from underlay.core.cloud.planning.plan import Plan
from underlay.core.cloud.settle import Known
from underlay.core.identity import InterfaceId
from underlay.operator.providers import Provider
from underlay.operator.reconcile.advice import Advice
from underlay.operator.reconcile.demand import Need


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAway:
    """Unassign fixed addresses that nobody owns here any more."""

    interface: InterfaceId
    addresses: frozenset[IPAddress]


@dataclass(frozen=True, slots=True, kw_only=True)
class BringHere:
    """The next step that brings ``address`` here."""

    address: IPAddress
    by: Attach | MakeRoom | Bring


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """What the last look at a node's fixed addresses gave.

    ``coming``: addresses that take a place of an interface before they are there; ``going``: what leaves it for them.
    ``arriving``: those whose owner still
    runs on another node, and the pod that gets them here. ``served``: pods that need no address of the node's pools.
    ``step``: what is to be done at the cloud next. ``look_again``: in so many seconds.
    """

    coming: Mapping[IPAddress, InterfaceId] = field(default_factory=dict)
    going: frozenset[Item] = frozenset()
    arriving: Mapping[IPAddress, tuple[InterfaceId, str]] = field(default_factory=dict)
    served: frozenset[str] = frozenset()
    step: BringHere | SendAway | None = None
    look_again: float | None = None


@dataclass(slots=True, kw_only=True)
class Memory:
    """What a round leaves for the next. All of it can be rebuilt from the API server and the cloud.

    ``lost``: ``network`` has vanished. ``doubted_at``: since when reads lack an interface that is on record. After
    ``trouble``, ``round_at`` is when the next round makes sense, ``act_at`` when the next cloud write does, ``make_at``
    when an interface that could not be finished is tried again.
    ``lacks``: the kind of shortage that was told last. ``foreign``: by interface, what is not ours; None: not known.
    ``interface_limit``: as many interfaces as the cloud has shown the machine to take, when that is fewer than its type
    should. ``adopted``: interfaces that were made ours, though reads may not show it yet.
    """

    network: SpiderNodeNetwork
    lost: bool = False
    known: Known | None = None
    read_at: float = float("-inf")
    doubted_at: float | None = None
    surplus_since: float | None = None
    interface_limit: int | None = None
    trouble: Advice | None = None
    failures: int = 0
    round_at: float = float("-inf")
    act_at: float = float("-inf")
    make_at: float = float("-inf")
    lacks: str = ""
    foreign: Mapping[InterfaceId, frozenset[Item]] | None = None
    adopted: set[InterfaceId] = field(default_factory=set)
    served_by: Provider | None = None
    plan: Plan | None = None
    need: Need | None = None
    fixed: Fixed = field(default_factory=Fixed)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWork:
    """One node during a round. ``retiring``: what it has from the provider goes back, pods get nothing new."""

    node: Node
    provider: Provider
    driver: ProviderDriver
    memory: Memory
    retiring: bool = False

    @property
    def name(self) -> str:
        """The Node's name, which is also its SpiderNodeNetwork's."""
        return self.node.metadata.name

    @property
    def known(self) -> Known:
        """What is believed of the instance. Raises ``NotFound`` before the first read."""
        if self.memory.known is None:
            raise NotFound(
                provider=self.provider.name,
                operation="instance",
                code="Unread",
                message=f"{self.name} was not read yet",
            )
        return self.memory.known

    @property
    def intents(self) -> list[Intent]:
        """Cloud writes that may be under way."""
        status = self.memory.network.status
        return list(status.intents) if status else []

    def intents_without(self, intent: Intent) -> list[Intent]:
        """``intents`` once that one is settled."""
        return [other for other in self.intents if other.id != intent.id]

    def doubtful(self, now: float) -> Intent | None:
        """Whose outcome is to be found out next. An interface in the making comes last, and waits for ``make_at``."""
        others = [intent for intent in self.intents if not makes_interface(intent)]
        return next(iter(others or (self.intents if now >= self.memory.make_at else [])), None)

    def open_to(self, action: Action) -> bool:
        """Whether it may be done now: while an interface is in the making no other is made, and it is left alone."""
        making = {intent.token for intent in self.intents if makes_interface(intent)}
        if isinstance(action, Create):
            return not making
        made = {item.id for item in self.known.instance.interfaces if item.tags.get(tags.INTENT) in making}
        return action.interface not in made

    @property
    def answered(self) -> Mapping[str, Collection[str]]:
        """Releases that the agent has answered, with the addresses it fenced."""
        status = self.memory.network.status
        return {entry.id: entry.fenced for entry in status.released} if status else {}

    @property
    def max_pods(self) -> int | None:
        """What the kubelet runs, once it has said so."""
        status = self.node.status
        text = status.allocatable.get("pods") or status.capacity.get("pods") or ""
        return int(text) if text.isdecimal() else None

    @property
    def own_addresses(self) -> frozenset[str]:
        """The machine's, by which the cluster knows it: no pod ever gets one."""
        return frozenset(entry.address for entry in self.node.status.addresses)

    @property
    def adopts(self) -> bool:
        """What the node had before becomes ours."""
        return self.provider.value.spec.interfaces.existing == "adopt"

    @property
    def unsettled(self) -> bool:
        """Another read is due soon: to believe or forget something, or since another plugin's pods may have ended."""
        known, foreign = self.memory.known, self.memory.foreign
        return known is not None and (known.unsettled or (self.adopts and bool(foreign)))

    @property
    def taken(self) -> Mapping[tuple[InterfaceId, int], int]:
        """Places of interfaces, by family, that what is not ours has."""
        foreign = self.memory.foreign or {}
        return Counter((interface, item.version) for interface, items in foreign.items() for item in items)

    @property
    def cooling(self) -> int:
        """Addresses the agent says were freed a moment ago."""
        status = self.memory.network.status
        return status.cooling if status else 0

    def learn_limit(self) -> None:
        """The cloud refused one interface more. Perhaps there are some that the last read did not show."""
        self.memory.interface_limit, self.memory.read_at = self._attached, float("-inf")

    def look_at_limit(self) -> None:
        """After a read: what is there is no less than what there may be."""
        if (learnt := self.memory.interface_limit) is not None:
            self.memory.interface_limit = max(learnt, self._attached)

    @property
    def _attached(self) -> int:
        return sum(item.device_index is not None for item in self.known.instance.interfaces)

    def capped(self, limits: Limits) -> Limits:
        """``limits``, lowered to what the cloud has shown to be true for this instance."""
        learnt = self.memory.interface_limit
        return limits if learnt is None else replace(limits, interfaces=min(limits.interfaces, learnt))


def makes_interface(intent: Intent) -> bool:
    """Of all writes it is the one of several steps, each of which may be refused by itself."""
    return intent.operation == "createInterface"
