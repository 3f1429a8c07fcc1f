"""SpiderNetworkProviders: each with its loaded driver, what it knows of its subnets, and what is wrong with it."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from underlay.core.api.kubernetes import Node
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.api.selectors import selects
from underlay.core.cloud.breaker import ANNOTATION as BREAKER_ANNOTATION
from underlay.core.cloud.breaker import Level, parse
from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.errors import CloudError, Unavailable
from underlay.core.cloud.model import Owner, SubnetQuery
from underlay.core.cloud.registry import ProviderSettings, load
from underlay.core.errors import InvalidInput, UnderlayError
from underlay.core.identity import SubnetId
from underlay.core.kube.client import KubeClient
from underlay.core.runtime.clock import Clock
from underlay.operator import credentials
from underlay.operator.gate import Quota, SteppedGate
from underlay.operator.knownsubnets import KnownSubnets
from underlay.operator.reconcile import support
from underlay.operator.reconcile.advice import Advice, SecretUnreadable, advise
from underlay.operator.reconcile.reservations import Reserved

# A person waits for the condition; whatever takes longer is told as unreachable and tried again.
_PROBE_SECONDS = 4.0
_SHORTEST_PROBE_SECONDS = 1.5


@dataclass(slots=True, kw_only=True)
class Provider:
    """One provider as it is now. ``driver`` None: it cannot be loaded, ``problem`` says why. ``unread``: why its Secret
    cannot be read any more, while it goes on with what was there before; ``returning``: what keeps one that is being
    deleted; ``reserved``: whether the blocks it names are kept, once that was looked at.
    """

    value: SpiderNetworkProvider
    gate: SteppedGate
    subnets: KnownSubnets
    driver: ProviderDriver | None = None
    credentials: Mapping[str, str] | None = field(default=None, repr=False)
    problem: Advice | None = None
    unread: Advice | None = None
    returning: str = ""
    reserved: Reserved | None = None

    @property
    def name(self) -> str:
        """The object's name."""
        return self.value.metadata.name

    @property
    def wrong(self) -> Advice | None:
        """Why it cannot work, or cannot do all of it."""
        return self.problem or self.unread or self._misread or next(map(advise, self.gate.denied.values()), None)

    @property
    def _misread(self) -> Advice | None:
        try:
            by_hand(self.value)
        except InvalidInput as error:
            return advise(error)
        return None


def by_hand(value: SpiderNetworkProvider) -> Level | None:
    """The breaker's level that the annotation names. Raises ``InvalidInput``."""
    text = value.metadata.annotations.get(BREAKER_ANNOTATION)
    return None if text is None else parse(text)


class Providers:
    """All providers by name.

    ``changed`` is called with a provider's name when something to report changed, subscribers when nodes may be served
    differently; ``networks_of`` gives the nodes of a provider. Providers of one account and region share their gate,
    which counts under the name of the first; ``subnet_seconds`` is of ``KnownSubnets``. Loading spans calls, so each
    load is of what was wanted when it began, and is thrown away if that has changed.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        clock: Clock,
        cluster: str,
        make_gate: Callable[[str, Callable[[], None]], SteppedGate],
        changed: Callable[[str], None],
        networks_of: Callable[[str], Sequence[SpiderNodeNetwork]],
        subnet_seconds: float = 60.0,
    ) -> None:
        self._client = client
        self._clock = clock
        self._cluster = cluster
        self._make_gate = make_gate
        self._changed = changed
        self._subnet_seconds = subnet_seconds
        self._subscribers: list[Callable[[], None]] = []
        self._gates: dict[tuple[str, ...], SteppedGate] = {}
        self.networks_of = networks_of
        self._providers: dict[str, Provider] = {}
        self._wanted: dict[str, SpiderNetworkProvider] = {}
        self._log = structlog.get_logger()

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called whenever nodes may be served differently."""
        self._subscribers.append(callback)

    def get(self, name: str) -> Provider | None:
        """The provider of that name."""
        return self._providers.get(name)

    def all(self) -> tuple[Provider, ...]:
        """Every provider, by name."""
        return tuple(self._providers[name] for name in sorted(self._providers))

    def serving(self, node: Node, recorded: str) -> tuple[Provider | None, bool]:
        """Who serves a node, and whether only to take back what it gave.

        ``recorded``: the provider that the node's SpiderNodeNetwork names, "" without one. It takes back when it is
        being deleted, or when neither it nor another one selects the node any more; another one comes after that.
        """
        chosen, had = self.of_node(node), self._providers.get(recorded)
        if had is not None and (chosen is None or had.value.metadata.deletion_timestamp is not None):
            return had, True
        return chosen, False

    def of_node(self, node: Node) -> Provider | None:
        """The provider that selects a node: the first by name whose selector matches and that is not being deleted."""
        for provider in self.all():
            alive = provider.value.metadata.deletion_timestamp is None
            if alive and selects(provider.value.spec.node_selector, node.metadata.labels):
                return provider
        return None

    def sharing(self, provider: Provider) -> tuple[Provider, ...]:
        """The other providers of the same account and region that stay."""
        return tuple(
            other
            for other in self.all()
            if other.gate is provider.gate
            and other.name != provider.name
            and other.value.metadata.deletion_timestamp is None
        )

    def report(self, name: str) -> None:
        """Something the provider's status tells has changed."""
        self._changed(name)

    def tell_returning(self, provider: Provider, text: str) -> None:
        """What keeps a provider that is being deleted."""
        if text != provider.returning:
            provider.returning = text
            self._changed(provider.name)

    def tell_reserved(self, provider: Provider, told: Reserved) -> None:
        """Whether the blocks that a provider names are kept."""
        if told != provider.reserved:
            provider.reserved = told
            self._changed(provider.name)

    async def put(self, value: SpiderNetworkProvider) -> None:
        """Takes over a new or changed provider; a change of its status or metadata alone loads nothing anew."""
        name = value.metadata.name
        before, self._wanted[name] = self._wanted.get(name), value
        old = self._providers.get(name)
        if old is not None and old.value.spec == value.spec:
            deleting = old.value.metadata.deletion_timestamp != value.metadata.deletion_timestamp
            annotated = old.value.metadata.annotations != value.metadata.annotations
            old.value = value
            if annotated:
                self._hold(old.gate)
                self._changed(name)
            if deleting:
                self._served()
        elif before is None or before.spec != value.spec:  # else it is being loaded
            await self._load(value)

    async def review(self, provider: Provider) -> None:
        """Reads the Secret again and works with what it holds now; tries a provider that cannot work or whose
        credentials were refused.
        """
        if self._providers.get(provider.name) is not provider:
            return
        try:
            found = await credentials.read(self._client, provider.value)
        except SecretUnreadable as error:
            unread = advise(error)
            if provider.driver is None:
                provider.problem = unread
                return
            if provider.unread != unread:
                provider.unread = unread
                self._log.warning("provider.secret-unreadable", provider=provider.name, error=str(error))
        else:
            provider.unread = None
            if provider.driver is not None and found != provider.credentials:
                self._log.info("provider.credentials-changed", provider=provider.name)
            if provider.driver is None or found != provider.credentials:
                await self._load(provider.value)
                return
        if provider.problem is None and not provider.gate.refused:
            return
        await self._probe(provider, seconds=_PROBE_SECONDS)
        if provider.problem is None and self._providers.get(provider.name) is provider:
            provider.gate.accepted()
            # Another object, so that nodes do not wait for their next turn.
            self._providers[provider.name] = replace(provider)
            self._report(provider)

    async def _load(self, value: SpiderNetworkProvider) -> None:
        name = value.metadata.name
        known = KnownSubnets(
            clock=self._clock,
            seconds=self._subnet_seconds,
            changed=lambda: self._changed(name),
            learnt=self._served,
        )
        provider = Provider(value=value, gate=self._gate(value), subnets=known)
        self._hold(provider.gate)
        began = self._clock.monotonic()
        try:
            support.check(value.spec)
            provider.credentials = await credentials.read(self._client, value)
            provider.gate.forget()
            settings = ProviderSettings(
                name=name,
                region=value.spec.region,
                endpoint=value.spec.endpoint,
                credentials=provider.credentials,
                role=value.spec.assume_role,
                gate=provider.gate,
                cluster=self._cluster,
            )
            provider.driver = await load(value.spec.driver, settings)
            support.check_driver(value.spec, provider.driver.name, provider.driver.capabilities)
        except UnderlayError as error:
            provider.problem = advise(error)
        # Loading an SDK for the first time takes its share of what a person waits.
        await self._probe(provider, seconds=_PROBE_SECONDS - (self._clock.monotonic() - began))
        wanted, leaving = self._wanted.get(name), self._providers.get(name)
        if wanted is None or wanted.spec != value.spec:
            leaving = provider
        else:
            provider.value = wanted
            self._providers[name] = provider
            self._report(provider)
        if leaving is not None and leaving.driver is not None:
            await leaving.driver.close()

    async def remove(self, name: str) -> None:
        """Forgets a provider that is gone."""
        self._wanted.pop(name, None)
        provider = self._providers.pop(name, None)
        if provider is not None and provider.driver is not None:
            await provider.driver.close()
        if provider is not None:
            self._hold(provider.gate)
        needed = set(map(_account, self._wanted.values()))
        self._gates = {account: gate for account, gate in self._gates.items() if account in needed}
        self._served()

    async def _probe(self, provider: Provider, *, seconds: float) -> None:
        """One read that fails where credentials, region, endpoint or subnets are wrong."""
        if provider.driver is None:
            return
        selector, before = provider.value.spec.subnets, provider.problem
        try:
            async with asyncio.timeout(max(seconds, _SHORTEST_PROBE_SECONDS)):
                if selector.ids:
                    asked = SubnetQuery(ids=tuple(SubnetId(id_) for id_ in selector.ids), tags={})
                    await provider.subnets.read(provider.driver, asked)
                else:
                    await provider.driver.owned(Owner(cluster=self._cluster))
            provider.problem = None
        except TimeoutError:
            endpoint = provider.value.spec.endpoint or "the cloud's API"
            message = f"{endpoint} gave no usable answer within {_PROBE_SECONDS:.0f} seconds"
            late = Unavailable(provider=provider.value.spec.driver, operation="probe", code="Timeout", message=message)
            provider.problem = advise(late)
        except CloudError as error:
            provider.problem = advise(error)
        if (problem := provider.problem) is not None and problem != before:
            self._log.warning("provider.unusable", provider=provider.name, reason=problem.reason, error=problem.message)

    def account_is_full(self, provider: Provider, told: Advice) -> None:
        """No interface is asked for for a while, by any node of the account and region."""
        provider.gate.quota = Quota(refusal=told, until=self._clock.monotonic() + self._subnet_seconds)
        self._report(provider)

    def account_gives(self, provider: Provider) -> None:
        """An interface was made."""
        if provider.gate.quota != Quota():
            provider.gate.quota = Quota()
            self._report(provider)

    def account_full_seconds(self, provider: Provider) -> float | None:
        """Seconds until an interface may be asked for; None: now."""
        quota = provider.gate.quota
        wait = quota.until - self._clock.monotonic() if quota else 0.0
        return wait if wait > 0 else None

    def _report(self, provider: Provider) -> None:
        self._told(provider.gate)
        self._served()

    def _served(self) -> None:
        for callback in self._subscribers:
            callback()

    def _gate(self, value: SpiderNetworkProvider) -> SteppedGate:
        account = _account(value)
        if account not in self._gates:
            self._gates[account] = self._make_gate(value.metadata.name, lambda: self._told(self._gates.get(account)))
        return self._gates[account]

    def _hold(self, gate: SteppedGate) -> None:
        """Sets the breaker as the gate's providers say: the strictest counts, an unreadable one does not."""
        levels: list[Level] = []
        for value in self._wanted.values():
            if self._gate(value) is gate:
                with contextlib.suppress(InvalidInput):  # ``Provider.wrong`` tells
                    levels += [level] if (level := by_hand(value)) is not None else []
        if not gate.set_by_hand(max(levels, default=None)):
            return
        # Other objects, so that nodes do not wait for their next turn.
        for provider in self.all():
            if provider.gate is gate:
                self._providers[provider.name] = replace(provider)
        self._served()

    def _told(self, gate: SteppedGate | None) -> None:
        for provider in self.all():
            if provider.gate is gate:
                self._changed(provider.name)


def _account(value: SpiderNetworkProvider) -> tuple[str, ...]:
    """What calls are counted under at the cloud, as far as the object tells."""
    spec, secret, role = value.spec, value.spec.credentials_secret_ref, value.spec.assume_role
    return (
        *(spec.driver, spec.region, spec.endpoint),
        f"{secret.namespace}/{secret.name}" if secret else "",
        *((role.role, role.external_id, role.endpoint) if role else ()),
    )


async def close_all(providers: Providers) -> None:
    """Lets go of every driver."""
    await asyncio.gather(*(provider.driver.close() for provider in providers.all() if provider.driver is not None))
