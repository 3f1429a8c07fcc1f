"""A process that ends at a label, and an operator that is started again whenever it has."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from support.operator_site import Site, cut_off, lead_site
from underlay.operator.settings import Settings


class Crash(BaseException):
    """The process ends here: nothing that handles errors may run."""


class CrashAt:
    """Raises at the nth time each of ``labels`` is passed, and counts all."""

    def __init__(self, labels: Iterable[str] = (), nth: int = 1) -> None:
        self._labels = frozenset(labels)
        self._nth = nth
        self.hits: Counter[str] = Counter()
        self.crashes: Counter[str] = Counter()

    def __call__(self, label: str) -> None:
        self.hits[label] += 1
        if label in self._labels and self.hits[label] == self._nth:
            self.crashes[label] += 1
            raise Crash(label)


@asynccontextmanager
async def immortal(site: Site, settings: Settings, crash: CrashAt) -> AsyncIterator[None]:
    """An operator; when it crashes, another that remembers nothing."""
    stopping = False

    async def run() -> None:
        # A crash while the end of the test cancels this hides the cancellation.
        while not stopping:
            try:
                await lead_site(site, settings, crash)
            except BaseExceptionGroup as ended:
                if ended.subgroup(Crash) is None:
                    raise

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        try:
            yield
        finally:
            stopping = True
            await cut_off(task)
