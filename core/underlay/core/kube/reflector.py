"""List, then watch → store, for as long as the process lives.

The store is kept through outages of the API server: it is what was last heard, never empty because nobody answers. A
broken watch goes on from the last version heard; only when the server has forgotten that version (410) everything is
listed again, and what vanished in between is told as ``Removed``. Lists name no version, that is, they are consistent
reads: ``resourceVersion=0`` would be served from a cache that may be older than what was heard before.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, assert_never

import structlog

from underlay.core.kube.client import KubeClient
from underlay.core.kube.codec import Bookmark, ObjectEvent
from underlay.core.kube.errors import Gone, KubeError, Unavailable
from underlay.core.kube.resources import T, resource_of
from underlay.core.kube.store import Store, key_of
from underlay.core.runtime.clock import Clock, RealClock

_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0
_WATCH_SECONDS = (240, 360)
_SHORT_SECONDS = 1.0
_AT_A_TIME = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Added(Generic[T]):
    """``object`` was not in the store."""

    object: T
    old: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Modified(Generic[T]):
    """``object`` has taken the place of ``old``, which had another resource version and the same UID."""

    object: T
    old: T


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed(Generic[T]):
    """Gone, or no longer selected. ``object``: its last known state; ``old``: what the store had."""

    object: T
    old: T


Change = Added[T] | Modified[T] | Removed[T]


def _whole(obj: T) -> T:
    return obj


class Reflector(Generic[T]):
    """The objects of one kind and selection. Selections and ``keep`` as in ``KubeClient.list``; only what is kept is
    stored and told.

    ``synced`` is set once everything has been listed, for good. ``last_contact``: when the server was last heard, on
    the clock's monotonic time; None: never. ``lists``: how often everything was listed.
    """

    def __init__(
        self,
        client: KubeClient,
        kind: type[T],
        *,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
        keep: Callable[[T], T] = _whole,
        clock: Clock | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.store: Store[T] = Store()
        self.synced = asyncio.Event()
        self.last_contact: float | None = None
        self.lists = 0
        self._client = client
        self._kind = kind
        self._namespace = namespace
        self._labels = labels
        self._fields = fields
        self._keep = keep
        self._clock: Clock = clock or RealClock()
        self._uniform = uniform
        self._subscribers: list[Callable[[Change[T]], None]] = []
        self._after_list: list[Callable[[], None]] = []
        self._version: str | None = None
        self._failures = 0
        self._log = structlog.get_logger().bind(kind=resource_of(kind).kind, labels=labels, fields=fields)

    def subscribe(self, tell: Callable[[Change[T]], None]) -> Callable[[], None]:
        """Have ``tell`` called with each change, after the store has it; returns what ends that.

        What the store holds already is told at once, as ``Added``. ``tell`` must not block; what it raises ends
        ``run``.
        """
        self._subscribers.append(tell)
        for obj in list(self.store.items()):
            tell(Added(object=obj))
        return lambda: self._subscribers.remove(tell)

    def after_list(self, call: Callable[[], None]) -> None:
        """Have ``call`` called after everything was listed and all its changes were told, the first time and after
        each 410.
        """
        self._after_list.append(call)

    async def run(self) -> None:
        """Never returns; ends by cancellation, or by a subscriber's exception."""
        while True:
            try:
                if self._version is None:
                    self._version = await self._list()
                await self._watch(self._version)
            except Gone:
                self._log.info("watch.expired", version=self._version)
                self._version = None
                await self._back_off(free=1)
            except KubeError as error:
                self._log.warning("watch.failed", status=error.status, error=str(error), failures=self._failures)
                if isinstance(error, Unavailable):
                    await self._back_off(at_least=error.after_seconds or 0.0)
                else:
                    self._version = None
                    await self._back_off()

    async def _list(self) -> str:
        """List everything, tell what differs from the store; the version of the list."""
        listing = await self._client.list(
            self._kind, namespace=self._namespace, labels=self._labels, fields=self._fields, keep=self._keep
        )
        self.last_contact = self._clock.monotonic()
        for (namespace, name), problem in listing.unreadable.items():  # what was read of it before stays
            self._log.error("object.unreadable", namespace=namespace, name=name, problem=problem)
        present = {key_of(item.metadata.namespace, item.metadata.name) for item in listing.items}
        for number, key in enumerate(self.store.keys() - present - listing.unreadable.keys()):
            await _breathe(number)
            if old := self.store.get(*key):
                self._remove(old)
        for number, obj in enumerate(listing.items):
            await _breathe(number)
            self._put(obj)
        self.lists += 1
        self.synced.set()
        for call in self._after_list:
            call()
        return listing.resource_version

    async def _watch(self, version: str) -> None:
        """One watch, until the server ends it."""
        began = self._clock.monotonic()
        events = self._client.watch(
            self._kind,
            resource_version=version,
            namespace=self._namespace,
            labels=self._labels,
            fields=self._fields,
            timeout_seconds=round(self._uniform(*_WATCH_SECONDS)),
        )
        async with aclosing(events):
            async for event in events:
                self.last_contact = self._clock.monotonic()
                if event.resource_version != version:
                    self._version = event.resource_version
                    self._failures = 0
                match event:
                    case ObjectEvent(type="DELETED", object=gone):
                        self._remove(self._keep(gone))
                    case ObjectEvent(object=obj):
                        self._put(self._keep(obj))
                    case Bookmark():
                        pass
                    case _:
                        assert_never(event)
        if self._clock.monotonic() - began < _SHORT_SECONDS and self._version == version:
            await self._back_off()  # a server, or something before it, that accepts and closes at once
        else:
            self._failures = 0

    def _put(self, obj: T) -> None:
        old = self.store.get(obj.metadata.namespace, obj.metadata.name)
        if old is None:
            self._change(Added(object=obj))
        elif old.metadata.uid != obj.metadata.uid:
            self._remove(old)
            self._change(Added(object=obj))
        elif old.metadata.resource_version != obj.metadata.resource_version:
            self._change(Modified(object=obj, old=old))

    def _remove(self, obj: T) -> None:
        if old := self.store.get(obj.metadata.namespace, obj.metadata.name):
            self._change(Removed(object=obj, old=old))

    def _change(self, change: Change[T]) -> None:
        match change:
            case Added(object=obj) | Modified(object=obj):
                self.store.put(obj)
            case Removed(object=obj):
                self.store.remove(obj.metadata.namespace, obj.metadata.name)
            case _:
                assert_never(change)
        for tell in tuple(self._subscribers):
            tell(change)

    async def _back_off(self, *, free: int = 0, at_least: float = 0.0) -> None:
        """Wait, longer after each failure without news in between; the first ``free`` failures cost nothing."""
        longest = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** min(self._failures - free, 10))
        self._failures += 1
        if self._failures > free:
            await self._clock.sleep(max(at_least, longest * self._uniform(0.1, 1.0)))


async def _breathe(number: int) -> None:
    """Let other tasks run now and then during a long list."""
    if number % _AT_A_TIME == _AT_A_TIME - 1:
        await asyncio.sleep(0)
