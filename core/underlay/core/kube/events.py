"""Kubernetes Events: what ``kubectl describe`` shows under an object.

Telling a person must never delay or fail the work: ``event`` only notes, ``run`` writes once a second. The same thing
said again becomes a higher count of the same Event. What cannot be written is dropped and counted in the log.
"""

import itertools
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import structlog

from underlay.core.api.kubernetes import Event, EventSource, ObjectReference
from underlay.core.api.meta import ObjectMeta
from underlay.core.kube.client import KubeClient
from underlay.core.kube.errors import KubeError, NotFound, Unavailable
from underlay.core.kube.resources import KubeObject
from underlay.core.runtime.clock import Clock, RealClock

_ROUND_SECONDS = 1.0
_REPEAT_SECONDS = 10.0
_FORGET_SECONDS = 600.0
_MOST_KNOWN = 2000
_MOST_PER_ROUND = 25
_LONGEST_MESSAGE = 1024


def reference(obj: KubeObject) -> ObjectReference:
    """What an Event about ``obj`` names."""
    return ObjectReference(
        api_version=obj.api_version,
        kind=obj.kind,
        name=obj.metadata.name,
        namespace=obj.metadata.namespace,
        uid=obj.metadata.uid,
    )


_Saying = tuple[ObjectReference, str, str, str]


@dataclass(slots=True, kw_only=True)
class _Said:
    """``unwritten`` of ``count`` times are not in the API server yet; ``name`` is empty until the first is."""

    first: float
    last: float
    count: int = 0
    unwritten: int = 0
    written_at: float | None = None
    name: str = ""


class Recorder:
    """Events of one process. ``component`` is the process's name, ``host`` the node it runs on, if it matters."""

    def __init__(self, client: KubeClient, component: str, *, host: str = "", clock: Clock | None = None) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock: Clock = clock or RealClock()
        self._said: dict[_Saying, _Said] = {}
        self._dropped = 0

    def event(self, about: ObjectReference, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Note that something was seen. ``reason`` is CamelCase; ``message`` tells a person what happened and what to
        do.

        Never raises, never waits. Beyond 2,000 different Events under way the oldest are forgotten.
        """
        key = (about, kind, reason, message[:_LONGEST_MESSAGE])
        said = self._said.pop(key, None) or _Said(first=self._clock.now(), last=0)
        said.last = self._clock.now()
        said.count += 1
        said.unwritten += 1
        if len(self._said) >= _MOST_KNOWN:
            oldest = next(iter(self._said))
            self._dropped += self._said.pop(oldest).unwritten
        self._said[key] = said  # last in order: the most recently said

    async def run(self) -> None:
        """Write what was noted, for ever."""
        while True:
            await self._clock.sleep(_ROUND_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what is due: the first of its kind at once, repetitions at most every 10 s."""
        now = self._clock.monotonic()
        due = (
            (key, said)
            for key, said in list(self._said.items())
            if said.unwritten and (said.written_at is None or now - said.written_at >= _REPEAT_SECONDS)
        )
        for key, said in itertools.islice(due, _MOST_PER_ROUND):
            try:
                await self._write(key, said)
            except Unavailable:
                return  # it will be said when the server answers again
            except KubeError as error:
                self._dropped += said.unwritten
                structlog.get_logger().info("event.refused", reason=key[2], object=key[0].name, error=str(error))
            said.unwritten = 0
            said.written_at = now
        for key, said in list(self._said.items()):
            if said.written_at is not None and not said.unwritten and now - said.written_at > _FORGET_SECONDS:
                del self._said[key]
        if self._dropped:
            structlog.get_logger().info("event.dropped", count=self._dropped)
            self._dropped = 0

    async def _write(self, key: _Saying, said: _Said) -> None:
        about, kind, reason, message = key
        namespace = about.namespace or "default"
        if said.name:
            more = {"count": said.count, "lastTimestamp": _time(said.last)}
            try:
                await self._client.merge_patch(Event, said.name, more, namespace=namespace)
            except NotFound:  # it has expired
                said.name = ""
            else:
                return
        name = f"{about.name[:200]}.{uuid.uuid4().hex[:16]}"
        await self._client.create(
            Event(
                metadata=ObjectMeta(name=name, namespace=namespace),
                involved_object=about,
                type=kind,
                reason=reason,
                message=message,
                count=said.count,
                first_timestamp=_time(said.first),
                last_timestamp=_time(said.last),
                source=EventSource(component=self._component, host=self._host),
                reporting_component=self._component,
                reporting_instance=self._host,
            )
        )
        said.name = name


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
