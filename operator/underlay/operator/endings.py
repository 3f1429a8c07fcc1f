"""Interfaces of ours end with their machine, whatever kept an earlier attempt from seeing to it: a creation that was
refused when a new leader repeated it, or that somebody else made what is ours now.
"""

from collections.abc import Iterable

import structlog

from underlay.core.cloud import tags
from underlay.core.cloud.errors import CloudError
from underlay.core.cloud.model import InterfaceState
from underlay.core.identity import InterfaceId
from underlay.core.runtime.clock import Clock
from underlay.operator.nodework import NodeWork

_AGAIN_SECONDS = 60.0


class Endings:
    """``settle_seconds``: for so long after a change of ours, what is known of an interface may be older."""

    def __init__(self, *, clock: Clock, cluster: str, settle_seconds: float) -> None:
        self._clock = clock
        self._cluster = cluster
        self._settle = settle_seconds
        self._rests: dict[InterfaceId, float] = {}
        self._log = structlog.get_logger()

    def due(self, work: NodeWork) -> tuple[InterfaceId, ...]:
        """Interfaces that would outlive the machine. Its first one is the machine's owner's affair."""
        now = self._clock.monotonic()
        self._rests = {id_: until for id_, until in self._rests.items() if until > now}
        return tuple(
            interface.id
            for interface in work.known.instance.interfaces
            if interface.state is InterfaceState.IN_USE
            and not (interface.ends_with_instance or interface.primary)
            and tags.is_owned(interface, self._cluster)
            and interface.id not in self._rests
        )

    async def apply(self, work: NodeWork, due: Iterable[InterfaceId]) -> None:
        """What is refused is tried again after a while: pods have its addresses meanwhile."""
        for interface in due:
            hold, event, more = self._settle, "interface.ends-with-machine", {}
            try:
                await work.driver.end_with_instance(interface)
            except CloudError as error:
                hold, event, more = _AGAIN_SECONDS, "interface.outlives-machine", {"error": str(error)}
            self._rests[interface] = self._clock.monotonic() + hold
            self._log.info(event, node=work.name, interface=interface, **more)
