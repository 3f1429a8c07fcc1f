"""When a provider that was deleted may go: once everything it made has been returned.

Nodes give back what they have by themselves (``WarmPool``, retiring). What is attached to nothing any more goes here,
unless another provider of the same account is left, whose collector finds it.
"""

import structlog

from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.cloud import tags
from underlay.core.cloud.errors import CloudError
from underlay.core.cloud.limits import LeaseNotHeld
from underlay.core.cloud.model import NetworkInterface, Owner
from underlay.core.errors import InvalidInput
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.core.runtime.clock import Clock
from underlay.operator.providers import Provider, Providers
from underlay.operator.reconcile import retiring
from underlay.operator.reconcile.advice import advise
from underlay.operator.reconcile.collect import claims, detached
from underlay.operator.reservations import Reservations

FINALIZER = "underlay.spidernet.io/operator"
"""Holds a provider until nothing is left of it. Removed by hand, what is left stays at the cloud."""


class Removal:
    """``remaining`` is asked again and again until it says that nothing is left.

    A cloud's reads lag behind its writes: only what was not there for ``settle_seconds`` is gone.
    """

    def __init__(
        self,
        *,
        client: KubeClient,
        clock: Clock,
        cluster: str,
        providers: Providers,
        reservations: Reservations,
        settle_seconds: float,
    ) -> None:
        self._client = client
        self._clock = clock
        self._cluster = cluster
        self._providers = providers
        self._reservations = reservations
        self._settle = settle_seconds
        self._clean_since: dict[str, float] = {}
        self._log = structlog.get_logger()

    async def remaining(self, name: str) -> str:
        """What keeps the provider, for a person; empty: it may go."""
        provider = self._providers.get(name)
        if provider is None:
            return ""
        try:
            text = await self._left(provider)
        except (CloudError, InvalidInput) as error:
            text = self._blind(advise(error).message)
        except (kube_errors.KubeError, LeaseNotHeld) as error:
            text = self._blind(str(error))
        if not text and provider.driver is not None and self._doubts(name):
            text = "nothing is left as far as the cloud shows; its reads may lag, so it is looked at once more."
        elif text:
            self._clean_since.pop(name, None)
        self._providers.tell_returning(provider, text)
        return text

    def _doubts(self, name: str) -> bool:
        now = self._clock.monotonic()
        return now - self._clean_since.setdefault(name, now) < self._settle

    async def _left(self, provider: Provider) -> str:
        listing = await self._client.list(SpiderNodeNetwork)
        if listing.unreadable:
            names = ", ".join(sorted(name for _, name in listing.unreadable))
            return f"SpiderNodeNetwork {names} cannot be read. To do: correct or delete it."
        if text := retiring.waiting(item for item in listing.items if item.spec.provider == provider.name):
            return text
        await self._reservations.settle(provider)
        if self._providers.sharing(provider):
            return ""
        if provider.driver is None:
            status = provider.value.status
            # What never called its cloud has made nothing there.
            called = status is not None and status.operations
            return self._blind(provider.problem.message) if called and provider.problem else ""
        found = await provider.driver.owned(Owner(cluster=self._cluster))
        claimed = claims(listing.items)
        unclaimed = [item for item in found if tags.is_owned(item, self._cluster) and not claimed.cover(item)]
        orphans = detached(unclaimed, self._cluster)
        for orphan in orphans:
            await provider.driver.delete_interface(orphan.id)
            self._log.info("orphan.deleted", provider=provider.name, interface=orphan.id, subnet=orphan.subnet)
        if orphans:
            return f"{len(orphans)} interfaces that were attached to nothing have just been deleted."
        return _attached([item for item in unclaimed if item.instance is not None])

    def _blind(self, why: str) -> str:
        return (
            f"what is left at the cloud cannot be seen or returned: {why} Or remove finalizer {FINALIZER} by hand;"
            f" interfaces tagged {tags.CLUSTER}={self._cluster} then stay at the cloud."
        )


def _attached(interfaces: list[NetworkInterface]) -> str:
    if not interfaces:
        return ""
    named = ", ".join(f"{item.id} at {item.instance}" for item in sorted(interfaces, key=lambda item: item.id))
    return (
        f"interfaces made by this cluster are attached to machines of no node: {named}."
        " To do: terminate those machines, or detach and delete the interfaces."
    )
