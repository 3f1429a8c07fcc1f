"""Security groups of a node's interfaces: found, and given again when the provider, their tags or the primary
interface's groups have changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from underlay.core.cloud.errors import CloudError
from underlay.core.cloud.model import Instance
from underlay.core.errors import InvalidInput
from underlay.core.identity import InterfaceId
from underlay.core.runtime.clock import Clock
from underlay.core.runtime.sharing import SingleFlight
from underlay.operator.nodework import NodeWork
from underlay.operator.providers import Provider
from underlay.operator.reconcile import groups as decide

_AGAIN_SECONDS = 60.0

Key = tuple[str, str, str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Change:
    """An interface and the groups it should have."""

    interface: InterfaceId
    groups: frozenset[str]


class SecurityGroups:
    """``settle_seconds``: for so long after a change of ours, what is known of an interface's groups may be older.
    ``fresh_seconds``: groups with certain tags are looked for again after so long.
    """

    def __init__(self, *, clock: Clock, cluster: str, settle_seconds: float, fresh_seconds: float) -> None:
        self._clock = clock
        self._cluster = cluster
        self._settle = settle_seconds
        self._fresh = fresh_seconds
        self._found: dict[Key, tuple[float, tuple[str, ...]]] = {}
        self._finding: SingleFlight[Key, tuple[str, ...]] = SingleFlight()
        self._set: dict[InterfaceId, tuple[float, frozenset[str]]] = {}
        self._log = structlog.get_logger()

    async def of(self, provider: Provider, instance: Instance) -> tuple[str, ...]:
        """What an interface of ``instance`` should have. Raises ``InvalidInput`` and ``CloudError``."""
        selector = provider.value.spec.security_groups
        by_tags = selector.tags if not selector.ids else {}
        tagged = await self._tagged(provider, instance.network, by_tags) if by_tags else ()
        return decide.wanted(selector, tagged, instance)

    async def due(self, work: NodeWork) -> tuple[Change, ...]:
        """What would give the node's interfaces the groups they should have. That these cannot be found holds nothing
        up: a creation needs them, and tells.
        """
        now = self._clock.monotonic()
        self._set = {id_: (until, groups) for id_, (until, groups) in self._set.items() if until > now}
        try:
            groups = await self.of(work.provider, work.known.instance)
        except (CloudError, InvalidInput) as error:
            self._log.warning("groups.unknown", node=work.name, error=str(error))
            return ()
        changes = (
            Change(id_, frozenset(groups)) for id_ in decide.differing(work.known.instance, groups, self._cluster)
        )
        return tuple(
            change
            for change in changes
            if change.interface not in self._set or self._set[change.interface][1] != change.groups
        )

    async def apply(self, work: NodeWork, changes: Iterable[Change]) -> None:
        """What is refused is tried again after a while: pods get addresses meanwhile, and what the cloud denies is told
        by the provider's condition.
        """
        for change in changes:
            hold, event, more = self._settle, "groups.set", {}
            try:
                await work.driver.set_security_groups(change.interface, change.groups)
            except CloudError as error:
                hold, event, more = _AGAIN_SECONDS, "groups.not-set", {"error": str(error)}
            self._set[change.interface] = self._clock.monotonic() + hold, change.groups
            self._log.info(event, node=work.name, interface=change.interface, groups=sorted(change.groups), **more)

    async def _tagged(self, provider: Provider, network: str, tags: Mapping[str, str]) -> tuple[str, ...]:
        driver, now = provider.driver, self._clock.monotonic()
        key = (provider.name, str(provider.value.metadata.uid), network, tuple(sorted(tags.items())))
        at, found = self._found.get(key, (float("-inf"), ()))
        if driver is not None and now - at >= self._fresh:
            found = await self._finding.get(key, lambda: driver.security_groups(network, tags))
            self._found[key] = now, found
        return found
