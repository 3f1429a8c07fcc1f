"""What keeps a node from having what it should, told where a person looks: condition, Event, log."""

import structlog

from underlay.core.api.conditions import rfc3339
from underlay.core.cloud.errors import Exhausted, LimitReached
from underlay.core.cloud.planning.plan import Plan
from underlay.core.errors import UnderlayError
from underlay.core.kube.events import Recorder, reference
from underlay.core.runtime.clock import Clock
from underlay.operator.cloudwrites import CloudWrites
from underlay.operator.nodework import NodeWork
from underlay.operator.providers import Providers
from underlay.operator.reconcile import status as render
from underlay.operator.reconcile.advice import advise
from underlay.operator.records import Records, operator_part

_LONGEST_RETRY_SECONDS = 60.0


class Troubles:
    """Each is told when it begins, and again when it is another one."""

    def __init__(
        self, *, clock: Clock, records: Records, providers: Providers, writes: CloudWrites, recorder: Recorder
    ) -> None:
        self._clock = clock
        self._records = records
        self._providers = providers
        self._writes = writes
        self._recorder = recorder
        self._log = structlog.get_logger()

    async def tell(self, work: NodeWork, error: UnderlayError) -> float:
        """Says what is wrong where a person looks; seconds until trying again makes sense."""
        memory, name = work.memory, work.name
        before, memory.trouble = memory.trouble, advise(error)
        memory.failures += 1
        if isinstance(error, Exhausted):
            work.provider.subnets.block(error)
        if isinstance(error, LimitReached) and error.what == "account":
            self._providers.account_is_full(work.provider, memory.trouble)
        if before is None or before.reason != memory.trouble.reason:
            self._log.warning("node.in-trouble", node=name, reason=memory.trouble.reason, error=str(error))
            self._recorder.event(reference(work.node), "Warning", memory.trouble.reason, memory.trouble.message)
        known = memory.known.instance.interfaces if memory.known else ()
        if not known or {interface.subnet for interface in known} - work.provider.subnets.by_id.keys():
            memory.network = await self._records.write_status(
                memory.network,
                render.unreadable(operator_part(memory.network), memory.trouble, rfc3339(self._clock.now())),
            )
        else:
            await self._writes.report(work, work.intents)
        return min(memory.trouble.retry_seconds * 2.0 ** min(memory.failures - 1, 5), _LONGEST_RETRY_SECONDS)

    def tell_shortage(self, work: NodeWork, decided: Plan) -> None:
        """An Event when pods begin to lack addresses that cannot be had."""
        memory = work.memory
        short = memory.need is not None and decided.usable < memory.need.pods
        lacks = decided.shortage.partition(":")[0] if short else ""
        if lacks not in ("", memory.lacks):
            text = render.shortage(decided.shortage)
            self._recorder.event(reference(work.node), "Warning", render.LIMIT_REACHED, text)
        memory.lacks = lacks
