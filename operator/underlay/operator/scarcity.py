"""How scarce addresses are in each subnet, kept up by the nodes' rounds; a change concerns every node of the subnet."""

from collections.abc import Callable, Collection

import structlog

from underlay.core.cloud.planning.pressure import Pressure, pressure
from underlay.core.identity import SubnetId
from underlay.core.runtime.clock import Clock
from underlay.operator.providers import Provider


class Scarcity:
    """``dirty`` is called with each node that may have to give back or may take more; ``changed`` with a provider whose
    status tells something new.
    """

    def __init__(self, *, clock: Clock, dirty: Callable[[str], None], changed: Callable[[str], None]) -> None:
        self._clock = clock
        self._dirty = dirty
        self._changed = changed
        self._homes: dict[str, frozenset[SubnetId]] = {}
        self._nodes: dict[SubnetId, set[str]] = {}
        self._lacking: dict[SubnetId, set[str]] = {}
        self._log = structlog.get_logger()

    def tell(self, node: str, homes: Collection[SubnetId], lacking: Collection[SubnetId]) -> None:
        """The node has interfaces in ``homes``, and pods that wait for addresses of ``lacking``."""
        now, before = frozenset(homes), self._homes.get(node, frozenset())
        for subnet in before - now:
            self._nodes[subnet].discard(node)
        for subnet in now - before:
            self._nodes.setdefault(subnet, set()).add(node)
        self._homes[node] = now
        for subnet in [subnet for subnet, nodes in self._lacking.items() if node in nodes and subnet not in lacking]:
            self._lacking[subnet].discard(node)
        for subnet in lacking:
            self._lacking.setdefault(subnet, set()).add(node)

    def forget(self, node: str) -> None:
        """It is gone."""
        self.tell(node, (), ())
        self._homes.pop(node, None)

    def judge(self, provider: Provider) -> None:
        """Sets ``provider.subnets.pressures``."""
        now, known = self._clock.monotonic(), provider.subnets
        for subnet in known.by_id.values():
            nodes, before = self._nodes.get(subnet.id, set()), known.pressures.get(subnet.id, Pressure.NORMAL)
            found = pressure(
                subnet,
                before,
                blocked=known.blocked_until.get(subnet.id, now) > now,
                lacking=bool(self._lacking.get(subnet.id)),
                nodes=len(nodes),
            )
            if found is not before:
                known.pressures[subnet.id] = found
                self._log.info(
                    "subnet.pressure-changed", provider=provider.name, subnet=subnet.id, pressure=found.name.lower()
                )
                self._changed(provider.name)
                for node in nodes:
                    self._dirty(node)
