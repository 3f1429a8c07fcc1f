"""Status of SpiderNetworkProviders: whether each can work, its subnets, its calls. Secrets are read again, and what
does not work is tried again.
"""

import asyncio
from collections.abc import Mapping
from typing import Literal

import structlog

from underlay.core.api.conditions import rfc3339, set_condition
from underlay.core.api.meta import Condition
from underlay.core.api.networkprovider import (
    OperationStatus,
    SpiderNetworkProvider,
    SpiderNetworkProviderStatus,
    SubnetStatus,
)
from underlay.core.api.nodenetwork import OPERATOR_MANAGER
from underlay.core.cloud.breaker import Level
from underlay.core.cloud.planning.pressure import Pressure
from underlay.core.identity import SubnetId
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.core.kube.events import Recorder, reference
from underlay.core.runtime.aio import KeyedQueue
from underlay.core.runtime.clock import Clock
from underlay.operator.providers import Provider, Providers
from underlay.operator.reconcile import egress, outlook
from underlay.operator.reconcile.reservations import RESERVED

_QUIET_SECONDS = 1.0
_RETRY_SECONDS = 5.0
_SHORTEST_SECONDS = 0.1
BREAKER = "Breaker"
"""Condition of a provider: True while calls are held back."""
RETURNED = "Returned"
"""Condition of a provider that is being deleted: False while something of it is left."""
QUOTA = "Quota"
"""Condition of a provider: False since the account refused another interface."""
# The breaker recovers by the mere passing of time, too.
_BREAKER_SECONDS = 5.0
# One that hangs must not keep the others' conditions waiting.
_WORKERS = 8


_PRESSURES: Mapping[Pressure, Literal["normal", "low", "empty"]] = {
    Pressure.NORMAL: "normal",
    Pressure.LOW: "low",
    Pressure.EMPTY: "empty",
}


class Reports:
    """Writes at most one status a second per provider, and has each reviewed in time.

    ``review_seconds``: how soon new content of a Secret is noticed while the old still works.
    """

    def __init__(self, *, client: KubeClient, clock: Clock, recorder: Recorder, review_seconds: float) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._queue: KeyedQueue[str] = KeyedQueue(clock=clock)
        self._written: dict[str, SpiderNetworkProviderStatus] = {}
        self._wrote_at: dict[str, float] = {}
        self._review_seconds = review_seconds
        self._reviewed_at: dict[str, float] = {}
        self._log = structlog.get_logger()

    def changed(self, provider: str) -> None:
        """Something to report changed."""
        self._queue.add(provider)

    async def run(self, providers: Providers) -> None:
        """Works until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_WORKERS):
                    group.create_task(self._work(providers))
        finally:
            await self._queue.close()

    async def _work(self, providers: Providers) -> None:
        while True:
            name = await self._queue.get()
            try:
                await self._round(name, providers)
            except kube_errors.NotFound:
                self._written.pop(name, None)
            except kube_errors.KubeError as error:
                self._log.warning("provider.report-failed", provider=name, error=str(error))
                self._queue.add_after(name, _QUIET_SECONDS)
            finally:
                self._queue.done(name)

    async def _round(self, name: str, providers: Providers) -> None:
        provider, now = providers.get(name), self._clock.monotonic()
        if provider is None:
            for memory in (self._written, self._wrote_at, self._reviewed_at):
                memory.pop(name, None)
            return
        if (wait := self._wrote_at.get(name, float("-inf")) + _QUIET_SECONDS - now) > 0:
            self._queue.add_after(name, wait)
            return
        if self._reviewed_at.setdefault(name, now) + self._pause(provider) <= now:
            await providers.review(provider)
            self._reviewed_at[name] = self._clock.monotonic()
            provider = providers.get(name) or provider
        self._queue.add_after(
            name, max(self._reviewed_at[name] + self._pause(provider) - self._clock.monotonic(), _SHORTEST_SECONDS)
        )
        if provider.gate.level:
            self._queue.add_after(name, _BREAKER_SECONDS)
        await self._write(provider, providers)

    def _pause(self, provider: Provider) -> float:
        """Between two reviews: what is refused is looked at at once when that has not just been done."""
        trouble = provider.problem or provider.unread
        if trouble is None and not provider.gate.refused:
            return self._review_seconds
        return min(trouble.retry_seconds if trouble else _RETRY_SECONDS, _RETRY_SECONDS, self._review_seconds)

    async def _write(self, provider: Provider, providers: Providers) -> None:
        name, status = provider.name, self._status(provider, providers)
        if status == self._written.get(name, provider.value.status):
            return
        self._wrote_at[name] = self._clock.monotonic()
        await self._client.apply(
            SpiderNetworkProvider,
            name,
            {"status": status},
            manager=OPERATOR_MANAGER,
            subresource="status",
        )
        self._tell(provider, self._written.get(name, provider.value.status), status)
        self._written[name] = status

    def _status(self, provider: Provider, providers: Providers) -> SpiderNetworkProviderStatus:
        had = self._written.get(provider.name) or provider.value.status
        now, networks = self._clock.now(), providers.networks_of(provider.name)
        subnets = [
            SubnetStatus(
                id=subnet.id,
                cidr=str(subnet.cidrs[0]),
                zone=subnet.zone,
                free=subnet.free,
                blocked_until=self._time(provider.subnets.blocked_until.get(subnet.id), now),
                no_prefix_until=self._time(_no_prefix_until(provider, subnet.id), now),
                pressure=_PRESSURES[provider.subnets.pressures.get(subnet.id, Pressure.NORMAL)],
            )
            for subnet in sorted(provider.subnets.by_id.values(), key=lambda item: item.id)
        ]
        demands = [item.status.demand for item in networks if item.status and item.status.demand]
        free = outlook.free(subnets) if "ipv4" in provider.value.spec.addresses.families else None
        seen = outlook.outlook(demands, free)
        return SpiderNetworkProviderStatus(
            nodes=len(networks),
            pods=seen.pods,
            idle=seen.idle,
            room=seen.room,
            supply=outlook.told(subnets),
            observed_generation=provider.value.metadata.generation or 0,
            subnets=subnets,
            operations=[
                OperationStatus(
                    operation=count.operation, calls=count.calls, throttled=count.throttled, failed=count.failed
                )
                for count in provider.gate.counts()
            ],
            conditions=self._conditions(provider, had.conditions if had else [], rfc3339(now)),
        )

    def _conditions(self, provider: Provider, had: list[Condition], now: str) -> list[Condition]:
        generation = provider.value.metadata.generation
        problem, level = provider.wrong, provider.gate.level
        if problem is None:
            text = f"the cloud answers; breaker: {provider.gate.told()}" if level else "the cloud answers"
            had = set_condition(had, "Ready", "True", "Usable", text, now, generation)
        else:
            had = set_condition(had, "Ready", "False", problem.reason, problem.message, now, generation)
        if provider.returning:
            had = set_condition(had, RETURNED, "False", "Returning", provider.returning, now, generation)
        had = egress.told(had, provider.value.spec, provider.subnets.by_id.values(), now=now, generation=generation)
        quota = provider.gate.quota
        if quota is not None and (refusal := quota.refusal) is not None:
            had = set_condition(had, QUOTA, "False", refusal.reason, refusal.message, now, generation)
        elif quota is not None and any(condition.type == QUOTA for condition in had):
            had = set_condition(had, QUOTA, "True", "Given", "the account gave another interface", now, generation)
        if (reserved := provider.reserved) is not None:
            had = set_condition(had, RESERVED, reserved.status, reserved.reason, reserved.message, now, generation)
        if level or any(condition.type == BREAKER for condition in had):
            reason = {Level.NORMAL: "Normal", Level.NO_RELEASE: "NoRelease", Level.NO_CALLS: "NoCalls"}[level]
            had = set_condition(
                had, BREAKER, "True" if level else "False", reason, provider.gate.told(), now, generation
            )
        return had

    def _time(self, until: float | None, now: float) -> str | None:
        """By the clock on the wall, while it has not come."""
        left = 0.0 if until is None else until - self._clock.monotonic()
        return rfc3339(now + left) if left > 0 else None

    def _tell(
        self, provider: Provider, had: SpiderNetworkProviderStatus | None, status: SpiderNetworkProviderStatus
    ) -> None:
        before = {condition.type: condition.reason for condition in had.conditions} if had else {}
        for condition in status.conditions:
            if before.get(condition.type) != condition.reason:
                good = "False" if condition.type == BREAKER else "True"
                kind: Literal["Normal", "Warning"] = "Normal" if condition.status == good else "Warning"
                self._recorder.event(reference(provider.value), kind, condition.reason, condition.message)


def _no_prefix_until(provider: Provider, subnet: SubnetId) -> float | None:
    few = provider.subnets.few.get(subnet)
    return few.until if few is not None and few.most == 0 else None
