"""Leader election over a coordination.k8s.io Lease: at no time do two processes both hold it.

    holder     counts from *before* it sends a renewal that succeeds; ``held`` is false ``renew_seconds`` (10) later
    candidate  counts from when it *saw* the Lease change last; takes it ``duration_seconds`` (15) later at the earliest

Both count on their own monotonic clock, so clocks need to run equally fast but not to agree. Two more rules close the
gaps: - who creates the Lease (it was absent, perhaps deleted under a living leader) waits ``renew_seconds`` before it
leads; - a leader that finds the Lease gone, or another name in it, stops at once.
A released Lease (no holder) is free at once: it is released only after the work has ended.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import structlog

from underlay.core.api.kubernetes import Lease, LeaseSpec
from underlay.core.api.meta import ObjectMeta
from underlay.core.errors import UnderlayError
from underlay.core.kube.client import KubeClient
from underlay.core.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from underlay.core.runtime.clock import Clock, RealClock

_STOP_SECONDS = 5.0


class LeaseLost(UnderlayError):
    """Somebody else may lead from now on: end the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long a Lease lasts for others, how long its holder trusts it, how often it is renewed; descending."""

    duration_seconds: float = 15.0
    renew_seconds: float = 10.0
    retry_seconds: float = 2.0


class Leader:
    """One candidate. ``identity`` is this process's alone: host name and something random, never the same after a
    restart.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        name: str,
        namespace: str,
        identity: str,
        terms: Terms | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._name = name
        self._namespace = namespace
        self._identity = identity
        self._terms = terms or Terms()
        self._clock: Clock = clock or RealClock()
        self._lease: Lease | None = None
        self._seen_at = 0.0
        self._made = False
        self._from = float("inf")
        self._until = float("-inf")
        self._log = structlog.get_logger().bind(lease=f"{namespace}/{name}", identity=identity)

    def held(self) -> bool:
        """Whether this process leads now. Ask before each call that only a leader may make.

        A yes is good for another ``duration_seconds - renew_seconds`` (5 s): bound the call by that.
        """
        return self._from <= self._clock.monotonic() < self._until

    async def run(self, on_started: Callable[[], Awaitable[None]]) -> None:
        """Wait for the Lease, then run ``on_started`` while renewing; release it once that returns or this is
        cancelled.

        Raises ``LeaseLost`` when it was not renewed in time or belongs to another; ``on_started`` is cancelled then.
        """
        await self._acquire()
        renewal = asyncio.create_task(self._keep())
        work = asyncio.create_task(self._lead(on_started))
        try:
            await asyncio.wait({work, renewal}, return_when=asyncio.FIRST_COMPLETED)
            if renewal.done():
                renewal.result()
            await work
        finally:
            lost = renewal.done()
            renewal.cancel()
            work.cancel()
            _, running = await asyncio.wait({work, renewal}, timeout=_STOP_SECONDS)
            self._until = float("-inf")
            if not running and not lost:
                await self._release()

    async def _lead(self, on_started: Callable[[], Awaitable[None]]) -> None:
        await self._clock.sleep(max(0.0, self._from - self._clock.monotonic()))
        self._log.info("lease.acquired")
        await on_started()

    async def _acquire(self) -> None:
        """Return once the Lease has our name in it."""
        while True:
            try:
                async with asyncio.timeout(self._terms.renew_seconds / 2):
                    if await self._take():
                        return
            except (Conflict, AlreadyExists):
                pass  # another candidate was faster
            except (KubeError, TimeoutError) as error:
                self._log.warning("lease.unreachable", error=_say(error))
            await self._pause()

    async def _take(self) -> bool:
        """One attempt; whether the Lease is ours now."""
        began = self._clock.monotonic()
        try:
            lease = await self._client.get(Lease, self._name, self._namespace)
        except NotFound:
            self._made = True  # before the call: its reply may be lost
            metadata = ObjectMeta(name=self._name, namespace=self._namespace)
            lease = await self._client.create(Lease(metadata=metadata, spec=self._spec(acquire=True, transitions=0)))
        else:
            self._see(lease)
            holder = lease.spec.holder_identity
            if holder and holder != self._identity:
                self._made = False
                lasts = max(float(lease.spec.lease_duration_seconds or 0), self._terms.duration_seconds)
                if self._clock.monotonic() - self._seen_at < lasts:
                    return False
            transitions = (lease.spec.lease_transitions or 0) + 1
            lease = await self._write(lease, self._spec(acquire=True, transitions=transitions))
        self._see(lease)
        self._from = self._clock.monotonic() + (self._terms.renew_seconds if self._made else 0.0)
        self._until = began + self._terms.renew_seconds
        return True

    async def _keep(self) -> None:
        """Renew for ever. Raises ``LeaseLost`` as soon as it is known to be lost, or when it must be taken for lost."""
        problem = ""
        while True:
            await self._pause(self._until - self._clock.monotonic())
            left = self._until - self._clock.monotonic()
            if left <= 0:
                raise LeaseLost(f"lease {self._namespace}/{self._name}: not renewed in time: {problem}")
            try:
                async with asyncio.timeout(min(left, self._terms.renew_seconds / 2)):
                    await self._renew()
            except NotFound:
                raise LeaseLost(f"lease {self._namespace}/{self._name}: deleted by somebody") from None
            except (KubeError, TimeoutError) as error:
                problem = _say(error)
                self._log.warning("lease.renewal_failed", error=problem, left_seconds=round(left, 1))

    async def _renew(self) -> None:
        lease = self._lease
        if lease is None:  # the outcome of the last write is unknown
            lease = await self._client.get(Lease, self._name, self._namespace)
        holder = lease.spec.holder_identity
        if holder != self._identity:
            raise LeaseLost(f"lease {self._namespace}/{self._name}: held by {holder!r}, not by {self._identity!r}")
        began = self._clock.monotonic()
        self._lease = None
        renewed = await self._write(lease, self._spec(acquire=False, transitions=None))
        self._see(renewed)
        self._until = began + self._terms.renew_seconds

    async def _release(self) -> None:
        """Let the next one begin at once. If that fails, it waits until the Lease runs out."""
        try:
            async with asyncio.timeout(self._terms.renew_seconds / 2):
                lease = await self._client.get(Lease, self._name, self._namespace)
                if lease.spec.holder_identity == self._identity:
                    await self._write(lease, {"holderIdentity": "", "leaseDurationSeconds": 1})
                    self._log.info("lease.released")
        except (KubeError, TimeoutError) as error:
            self._log.warning("lease.not_released", error=_say(error))

    async def _write(self, lease: Lease, spec: LeaseSpec | dict[str, object]) -> Lease:
        """Compare and swap."""
        fields = msgspec.to_builtins(spec)
        body = {
            "metadata": {"resourceVersion": lease.metadata.resource_version, "uid": lease.metadata.uid},
            "spec": {name: value for name, value in fields.items() if value is not None},
        }
        return await self._client.merge_patch(Lease, self._name, body, namespace=self._namespace)

    def _spec(self, *, acquire: bool, transitions: int | None) -> LeaseSpec:
        now = micro_time(self._clock.now())
        return LeaseSpec(
            holder_identity=self._identity,
            lease_duration_seconds=max(1, math.ceil(self._terms.duration_seconds)),
            acquire_time=now if acquire else None,
            renew_time=now,
            lease_transitions=transitions,
        )

    def _see(self, lease: Lease) -> None:
        known = self._lease
        if known is None or known.metadata.resource_version != lease.metadata.resource_version:
            self._seen_at = self._clock.monotonic()
        self._lease = lease

    async def _pause(self, at_most: float = math.inf) -> None:
        seconds = self._terms.retry_seconds * random.uniform(0.8, 1.0)  # noqa: S311 - spreads candidates
        await self._clock.sleep(min(seconds, at_most))


def micro_time(seconds: float) -> str:
    """metav1.MicroTime of seconds since 1970: RFC 3339 in UTC with exactly six decimals."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _say(error: Exception) -> str:
    return str(error) or type(error).__name__
