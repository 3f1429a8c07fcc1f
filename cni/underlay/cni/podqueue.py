"""What is told to the API server of a pod whose addresses have changed, attended to while no call is under way."""

from collections.abc import Awaitable, Callable

import structlog

from underlay.cni.lull import Lull
from underlay.cni.metrics import Metrics
from underlay.core.identity import PodRef
from underlay.core.kube.errors import KubeError
from underlay.core.runtime.aio import KeyedQueue
from underlay.core.runtime.clock import Clock

_RETRY_SECONDS = 2.0
_LATEST_SECONDS = 1.0


class PodQueue:
    """Calls ``write`` for each pod added; what fails with a ``KubeError`` is counted as ``what`` and done again."""

    def __init__(
        self,
        *,
        what: str,
        write: Callable[[PodRef], Awaitable[None]],
        metrics: Metrics,
        lull: Lull,
        clock: Clock | None = None,
    ) -> None:
        self._what = what
        self._write = write
        self._metrics = metrics
        self._lull = lull
        self._queue: KeyedQueue[PodRef] = KeyedQueue(clock=clock)
        self._log = structlog.get_logger()

    def add(self, pod: PodRef) -> None:
        """There is something to write about it."""
        self._queue.add(pod)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                pod = await self._queue.get()
                await self._lull.wait(_LATEST_SECONDS)
                await self._attend(pod)
                # All that has come meanwhile has waited its turn too: one lull is enough for it.
                for _ in range(len(self._queue)):
                    await self._attend(await self._queue.get())
        finally:
            await self._queue.close()

    async def _attend(self, pod: PodRef) -> None:
        try:
            await self._write(pod)
        except KubeError as failed:
            self._metrics.api_failures.labels(self._what).inc()
            self._log.warning(f"{self._what}.not_written", pod=str(pod), reason=str(failed))
            self._queue.add_after(pod, _RETRY_SECONDS)
        finally:
            self._queue.done(pod)
