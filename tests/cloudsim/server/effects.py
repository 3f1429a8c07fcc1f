"""What goes on after a call was committed: attaching and detaching take time and need the fabric."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager

from cloudsim.clock import ManualClock
from cloudsim.model import attachments
from cloudsim.model.attachments import AttachmentState
from cloudsim.model.cloud import Cloud
from cloudsim.server.fabric_link import FabricLink
from cloudsim.wire.done import Done

RETRY_SECONDS = 0.5


async def advance(clock: ManualClock, seconds: float, everywhere: Iterable["Effects"]) -> None:
    """Move a clock that stands still, and let everything that became due come to rest."""
    clock.advance(seconds)
    for _ in range(5):  # a woken task needs a turn of the loop to start working
        await asyncio.sleep(0)
    for effects in everywhere:
        await effects.rest()


class Effects:
    """Owns the tasks that complete attachments."""

    def __init__(self, cloud: Cloud, fabric: FabricLink, attach_seconds: float) -> None:
        self._cloud = cloud
        self._fabric = fabric
        self.attach_seconds = attach_seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self._at_work = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def follow(self, done: Done) -> None:
        """Start what takes time, and return when the fabric has what the answer must wait for."""
        if done.attaching:
            self._start(self._attach(done.attaching))
        if done.detaching:
            self._start(self._detach(done.detaching))
        for interface in done.changed:
            await self._fabric.refresh(interface)

    async def rest(self) -> None:
        """Returns when nothing is at work with the fabric."""
        await self._idle.wait()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _attach(self, attachment: str) -> None:
        await self._cloud.clock.sleep(self.attach_seconds)
        while found := self._cloud.attachment(attachment):
            interface, held = found
            if held.state is not AttachmentState.ATTACHING:
                return
            with self._working():
                if await self._fabric.plug(interface.id):
                    attachments.complete_attach(self._cloud, attachment)
                    return
            await asyncio.sleep(RETRY_SECONDS)

    async def _detach(self, attachment: str) -> None:
        await self._cloud.clock.sleep(self.attach_seconds)
        while found := self._cloud.attachment(attachment):
            with self._working():
                if await self._fabric.unplug(found[0].id):
                    attachments.complete_detach(self._cloud, attachment)
                    return
            await asyncio.sleep(RETRY_SECONDS)

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextmanager
    def _working(self) -> Iterator[None]:
        self._at_work += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._at_work -= 1
            if not self._at_work:
                self._idle.set()
