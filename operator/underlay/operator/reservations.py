"""Keeps blocks of subnets for prefixes and fixed addresses as providers ask, and gives back what nobody asks for.

Nothing is remembered: each look compares what the providers of an account want with what the cloud has, so a reply that
was lost, a crash or a new leader change nothing. Subnets of providers that never reserved anything are not looked at.
"""

import asyncio
import contextlib

import structlog

from underlay.core.cloud.errors import CloudError, NotFound
from underlay.core.cloud.limits import LeaseNotHeld
from underlay.core.cloud.model import Owner, Reservation
from underlay.core.errors import InvalidInput
from underlay.core.identity import SubnetId
from underlay.core.runtime.clock import Clock
from underlay.operator.providers import Provider, Providers
from underlay.operator.reconcile import reservations as decide
from underlay.operator.reconcile.advice import advise
from underlay.operator.reconcile.reservations import RESERVED, Reserved

_LOOK_SECONDS = 30.0
_NOTHING = "NothingReserved"


class Reservations:
    """One look after a provider or what is known of its subnets changed, and every half minute."""

    def __init__(self, *, clock: Clock, cluster: str, providers: Providers) -> None:
        self._clock = clock
        self._cluster = cluster
        self._providers = providers
        self._changed = asyncio.Event()
        self._log = structlog.get_logger()

    def changed(self) -> None:
        """A provider changed."""
        self._changed.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            async with asyncio.TaskGroup() as group:
                for provider in self._providers.all():
                    if provider.value.metadata.deletion_timestamp is None:
                        group.create_task(self._look(provider))
            waiting = asyncio.ensure_future(self._changed.wait())
            sleeping = asyncio.ensure_future(self._clock.sleep(_LOOK_SECONDS))
            try:
                await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                sleeping.cancel()
            self._changed.clear()

    async def settle(self, provider: Provider) -> tuple[str, ...]:
        """Makes what is lacking and drops what is too much; the blocks that lie in no subnet known. One that is being
        deleted wants nothing. Raises ``CloudError`` and ``InvalidInput``.
        """
        if provider.driver is None or not self._concerned(provider):
            return ()
        asked = {} if _leaves(provider) else decide.parse(provider.value.spec.subnets.reservations)
        subnets = _subnets(provider)
        with contextlib.suppress(NotFound):  # one is gone: the others are learnt from nodes
            await provider.subnets.named(provider.driver, subnets)
        wishes, homeless = decide.place(asked, provider.subnets.by_id.values())
        spared = set(homeless)
        for other in self._providers.sharing(provider):
            spared |= decide.parse(other.value.spec.subnets.reservations).keys()
        kept: list[Reservation] = []
        for subnet in sorted(subnets):
            with contextlib.suppress(NotFound):  # the subnet is gone, and all of it
                kept += await provider.driver.reservations(subnet)
        todo = decide.changes(wishes, kept, self._cluster, spared=spared)
        for gone in todo.drop:
            await provider.driver.unreserve(gone.id)
            self._log.info("reservation.dropped", provider=provider.name, subnet=gone.subnet, cidr=str(gone.cidr))
        for wish in todo.make:
            await provider.driver.reserve(wish.subnet, wish.cidr, wish.use, Owner(cluster=self._cluster))
            self._log.info("reservation.made", provider=provider.name, subnet=wish.subnet, cidr=str(wish.cidr))
        return tuple(map(str, homeless))

    async def _look(self, provider: Provider) -> None:
        if provider.driver is None or not self._concerned(provider):
            return
        try:
            homeless = await self.settle(provider)
        except LeaseNotHeld:
            return
        except (CloudError, InvalidInput) as error:
            trouble = advise(error)
            told = Reserved("False", trouble.reason, trouble.message)
        else:
            told = _told(provider, homeless)
        self._providers.tell_reserved(provider, told)

    def _concerned(self, provider: Provider) -> bool:
        """It wants something kept, or once did."""
        status = provider.value.status
        had = [item for item in status.conditions if item.type == RESERVED] if status else []
        if provider.reserved is not None:
            had_some = provider.reserved.reason != _NOTHING
        else:
            had_some = any(item.reason != _NOTHING for item in had)
        return bool(provider.value.spec.subnets.reservations) or had_some


def _told(provider: Provider, homeless: tuple[str, ...]) -> Reserved:
    asked = provider.value.spec.subnets.reservations
    if homeless:
        known = ", ".join(sorted(provider.subnets.by_id)) or "none yet, since no node of the provider was seen"
        text = f"{', '.join(homeless)} lies in no subnet of the provider (known: {known}). To do: correct the block."
        return Reserved("False", "NoSubnet", text)
    if asked:
        return Reserved("True", "Reserved", f"{len(asked)} blocks are kept: {', '.join(item.cidr for item in asked)}")
    return Reserved("True", _NOTHING, "no block is asked for, and none of ours is left")


def _subnets(provider: Provider) -> set[SubnetId]:
    """Also those of before this process."""
    status = provider.value.status
    return set(provider.subnets.by_id) | {SubnetId(item.id) for item in (status.subnets if status else [])}


def _leaves(provider: Provider) -> bool:
    return provider.value.metadata.deletion_timestamp is not None
