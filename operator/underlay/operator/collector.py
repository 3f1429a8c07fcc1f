"""Deletes interfaces that nobody claims any more, as ``reconcile.collect`` decides.

Providers of one account share what is there, so each account is looked through once, by the strictest of their
policies. What a round cannot do is left to the next.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from underlay.core.api.networkprovider import GarbageCollection
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.errors import CloudError, Denied, Throttled, Unavailable
from underlay.core.cloud.limits import LeaseNotHeld
from underlay.core.cloud.model import NetworkInterface, Owner
from underlay.core.identity import InterfaceId
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.core.kube.events import Recorder, reference
from underlay.core.runtime.clock import Clock
from underlay.operator.gate import SteppedGate
from underlay.operator.providers import Provider, Providers
from underlay.operator.reconcile.advice import advise
from underlay.operator.reconcile.collect import claims, collect, detached, strictest

ORPHAN_DELETED = "OrphanDeleted"
ORPHAN_FOUND = "OrphanFound"
CLAIMS_UNREADABLE = "ClaimsUnreadable"

_DELETIONS_PER_ROUND = 25
# What a round decided on is not acted upon later than this: a throttled or stopped process decides again.
_ROUND_SECONDS = 30.0
_JITTER = 0.1


@dataclass(slots=True, kw_only=True)
class _Account:
    """What is remembered of an account between rounds."""

    due: float
    seen: dict[InterfaceId, float] = field(default_factory=dict)


class Collector:
    """``shortest_seconds``: rounds are no nearer to each other, since a cloud's reads lag behind its writes.

    ``collected`` is told the provider and what became of an orphan: ``deleted``, ``found`` (dry run) or ``failed``.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        clock: Clock,
        cluster: str,
        providers: Providers,
        recorder: Recorder,
        collected: Callable[[str, str], None],
        shortest_seconds: float = 30.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._client = client
        self._clock = clock
        self._cluster = cluster
        self._providers = providers
        self._recorder = recorder
        self._collected = collected
        self._shortest = shortest_seconds
        self._uniform = uniform
        self._accounts: dict[SteppedGate, _Account] = {}
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Looks through every account, half its minimum age apart, until cancelled."""
        while True:
            async with asyncio.TaskGroup() as group:
                for account, sharing in self._due():
                    group.create_task(self._round(account, sharing))
            soonest = min((account.due for account in self._accounts.values()), default=float("inf"))
            await self._clock.sleep(max(min(soonest - self._clock.monotonic(), self._shortest), 0.0))

    def _due(self) -> list[tuple[_Account, list[Provider]]]:
        """Accounts whose turn it is, each with its providers; the turn after is set."""
        sharing: dict[SteppedGate, list[Provider]] = {}
        for provider in self._providers.all():
            sharing.setdefault(provider.gate, []).append(provider)
        self._accounts = {gate: account for gate, account in self._accounts.items() if gate in sharing}
        now, due = self._clock.monotonic(), []
        for gate, providers in sharing.items():
            policy = strictest([provider.value.spec.garbage_collection for provider in providers])
            interval = max(policy.min_age_seconds / 2, self._shortest)
            if gate not in self._accounts:
                # A start of many operators, or of one with many accounts, is no burst of calls.
                self._accounts[gate] = _Account(due=now + self._uniform(0, interval))
            account = self._accounts[gate]
            # A minimum age that was shortened counts from now.
            account.due = min(account.due, now + interval * (1 + _JITTER))
            if account.due <= now:
                account.due = now + self._uniform(interval, interval * (1 + _JITTER))
                due.append((account, providers))
        return due

    async def _round(self, account: _Account, sharing: list[Provider]) -> None:
        """One look through an account by the first of its providers that works."""
        policy = strictest([provider.value.spec.garbage_collection for provider in sharing])
        for provider in sharing:
            if provider.driver is not None and provider.problem is None:
                break
        else:
            return
        try:
            await self._look(account, provider, provider.driver, policy)
        except CloudError as error:
            self._trouble(provider, error)
        except (kube_errors.KubeError, LeaseNotHeld) as error:
            self._log.warning("collection.abandoned", provider=provider.name, error=str(error))

    async def _look(
        self, account: _Account, provider: Provider, driver: ProviderDriver, policy: GarbageCollection
    ) -> None:
        began = self._clock.monotonic()
        interfaces = detached(await driver.owned(Owner(cluster=self._cluster)), self._cluster)
        # Live, and after the cloud (see ``reconcile.collect``); there is rarely anything to ask about.
        networks: list[SpiderNodeNetwork] = []
        if interfaces:
            listing = await self._client.list(SpiderNodeNetwork)
            if listing.unreadable:
                self._blind(provider, [name for _, name in listing.unreadable])
                return
            networks = listing.items
        verdict = collect(
            account.seen,
            interfaces,
            claims(networks),
            cluster=self._cluster,
            now=began,
            min_age_seconds=policy.min_age_seconds,
        )
        account.seen = dict(verdict.sightings)
        if policy.dry_run:
            for orphan in verdict.orphans:
                self._found(provider, orphan)
            return
        for orphan in verdict.orphans[:_DELETIONS_PER_ROUND]:
            if self._clock.monotonic() - began > _ROUND_SECONDS:
                break
            await self._delete(provider, driver, orphan)
            # Reads may still show one that is gone, and one that cannot be deleted must not stand in the others' way:
            # either has to be sighted twice anew.
            del account.seen[orphan.id]

    async def _delete(self, provider: Provider, driver: ProviderDriver, orphan: NetworkInterface) -> None:
        """Raises what concerns more than this one interface."""
        try:
            await driver.delete_interface(orphan.id)
        except (Denied, Throttled, Unavailable):
            self._collected(provider.name, "failed")
            raise
        except CloudError as error:
            self._collected(provider.name, "failed")
            self._trouble(provider, error)
            return
        self._collected(provider.name, "deleted")
        self._log.info("orphan.deleted", provider=provider.name, interface=orphan.id, subnet=orphan.subnet)
        message = f"interface {orphan.id} in subnet {orphan.subnet} was attached to nothing and claimed by no node"
        self._recorder.event(reference(provider.value), "Normal", ORPHAN_DELETED, message)

    def _found(self, provider: Provider, orphan: NetworkInterface) -> None:
        self._collected(provider.name, "found")
        self._log.info("orphan.found", provider=provider.name, interface=orphan.id, subnet=orphan.subnet)
        message = (
            f"interface {orphan.id} in subnet {orphan.subnet} is attached to nothing and claimed by no node; it is kept"
            " because spec.garbageCollection.dryRun is set here or in another provider of this account"
        )
        self._recorder.event(reference(provider.value), "Normal", ORPHAN_FOUND, message)

    def _blind(self, provider: Provider, names: list[str]) -> None:
        """A claim that cannot be read may be to anything."""
        self._log.warning("collection.blind", provider=provider.name, unreadable=sorted(names))
        message = (
            f"nothing is collected while SpiderNodeNetwork {', '.join(sorted(names))} cannot be read."
            " To do: correct or delete it; the operator writes it again."
        )
        self._recorder.event(reference(provider.value), "Warning", CLAIMS_UNREADABLE, message)

    def _trouble(self, provider: Provider, error: CloudError) -> None:
        advice = advise(error)
        self._log.warning("collection.failed", provider=provider.name, reason=advice.reason, error=str(error))
        self._recorder.event(reference(provider.value), "Warning", advice.reason, advice.message)
