"""What one provider knows of its subnets: free counts kept without asking for each call, and what was refused there."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from underlay.core.api.networkprovider import SubnetSelector
from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.errors import Exhausted
from underlay.core.cloud.model import Instance, Subnet, SubnetQuery
from underlay.core.cloud.planning.pressure import Pressure
from underlay.core.identity import SubnetId
from underlay.core.runtime.clock import Clock
from underlay.core.runtime.sharing import SingleFlight
from underlay.operator.reconcile import subnets as choice

_NO_PREFIX_SHARE = 5
"""How much longer than an exhausted subnet one without whole blocks is left alone: addresses come back one by one."""

_Question = tuple[tuple[SubnetId, ...], str, str]
"""Ids, network, zone. The tags asked for are the provider's own."""


@dataclass(frozen=True, slots=True)
class FewBlocks:
    """A subnet that had no whole blocks for a call: until when no more than ``most`` are asked for with one call."""

    until: float
    most: int


class KnownSubnets:
    """Subnets ``by_id``, their ``pressures``, until when each is left alone (``blocked_until``, monotonic seconds) and
    which of them have ``few`` whole blocks.

    An exhausted subnet is left alone for ``seconds``, no free count is older. ``changed`` is called whenever there is
    something to report, ``learnt`` when there is a subnet that was not known.
    """

    def __init__(
        self, *, clock: Clock, seconds: float, changed: Callable[[], None], learnt: Callable[[], None]
    ) -> None:
        self.by_id: dict[SubnetId, Subnet] = {}
        self.pressures: dict[SubnetId, Pressure] = {}
        self.blocked_until: dict[SubnetId, float] = {}
        self.few: dict[SubnetId, FewBlocks] = {}
        self._clock = clock
        self._seconds = seconds
        self._changed = changed
        self._learnt = learnt
        self._read_at: dict[_Question, float] = {}
        self._reading: SingleFlight[_Question, None] = SingleFlight()

    def took(self, subnet: SubnetId, count: int) -> None:
        """``count`` of its addresses went to (or, negative, came from) an interface of ours."""
        if (known := self.by_id.get(subnet)) is not None and known.free is not None:
            self.by_id[subnet] = replace(known, free=max(known.free - count, 0))
        self._changed()

    def block(self, error: Exhausted) -> None:
        """Nothing is asked of an exhausted subnet for a while, by any node."""
        self.blocked_until[SubnetId(error.subnet)] = self._clock.monotonic() + self._seconds
        self._read_at.clear()
        self._changed()

    def few_blocks(self, subnet: SubnetId, asked: int) -> None:
        """It had not ``asked`` whole blocks: half as many may be there. After a while there may be more."""
        self.few[subnet] = FewBlocks(self._clock.monotonic() + _NO_PREFIX_SHARE * self._seconds, asked // 2)
        self._changed()

    def whole_blocks(self) -> Mapping[SubnetId, int]:
        """How many prefixes a call may ask for, where that is bounded now."""
        now = self._clock.monotonic()
        return {subnet: few.most for subnet, few in self.few.items() if few.until > now}

    def blocks_expire(self) -> float | None:
        """Seconds until more prefixes may be asked for somewhere; None where nothing holds back any."""
        now = self._clock.monotonic()
        return min((few.until - now for few in self.few.values() if few.until > now), default=None)

    async def candidates(
        self, driver: ProviderDriver, selector: SubnetSelector, instance: Instance
    ) -> tuple[Subnet, ...]:
        """Subnets a new interface of ``instance`` may be made in, best first."""
        asked, now = choice.query(selector, instance), self._clock.monotonic()
        if now - self._read_at.get(_question(asked), float("-inf")) > self._seconds:
            await self.read(driver, asked, lambda subnet: choice.fits(subnet, selector, instance))
        fitting = choice.fitting(self.by_id.values(), selector, instance)
        return choice.candidates(fitting, selector, instance, self.blocked_until, now)

    async def of(self, driver: ProviderDriver, instance: Instance) -> Mapping[SubnetId, Subnet]:
        """``by_id``, with the subnets of all the instance's interfaces."""
        return await self.named(driver, {interface.subnet for interface in instance.interfaces})

    async def named(self, driver: ProviderDriver, ids: Collection[SubnetId]) -> Mapping[SubnetId, Subnet]:
        """``by_id``, with those as well. Raises ``NotFound`` when one is gone."""
        if missing := set(ids) - self.by_id.keys():
            await self.read(driver, SubnetQuery(ids=tuple(sorted(missing)), tags={}))
        return self.by_id

    async def read(
        self, driver: ProviderDriver, asked: SubnetQuery, meant: Callable[[Subnet], bool] = lambda _: True
    ) -> None:
        """Asks the cloud; many nodes need the same answer at the same time: they share it. Subnets that are ``meant``
        are kept, those that were known renewed.
        """

        async def read() -> None:
            found, before = await driver.subnets(asked), len(self.by_id)
            self.by_id.update({subnet.id: subnet for subnet in found if subnet.id in self.by_id or meant(subnet)})
            self._read_at[_question(asked)] = self._clock.monotonic()
            self._changed()
            if len(self.by_id) > before:
                self._learnt()

        await self._reading.get(_question(asked), read)


def _question(asked: SubnetQuery) -> _Question:
    return asked.ids, asked.network, asked.zone
