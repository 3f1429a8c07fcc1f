"""What the contract needs of a simulated cloud, and the few things its tests do alike."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.limits import CallGate
from underlay.core.cloud.model import (
    Instance,
    InterfaceRequest,
    IPAddress,
    IPNetwork,
    Kind,
    Limits,
    Owner,
    kind_of,
)
from underlay.core.identity import InstanceId, InterfaceId, ReservationId, SubnetId
from underlay.core.runtime.clock import RealClock

Items = frozenset[IPAddress | IPNetwork]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """An interface as the cloud's owner knows it, without lag. ``items``: secondary addresses and prefixes."""

    id: str
    items: Items
    tags: Mapping[str, str]
    groups: tuple[str, ...]
    instance: str
    network_card: int
    ends_with_instance: bool


class Cloud(Protocol):
    """A simulated cloud of a test's own: an instance with its primary interface, subnets in its zone, and its faults.

    ``owner`` owns nothing yet, ``instance`` has room for ``limits``, ``subnet`` for hundreds, ``tiny`` for
    ``tiny_free`` and for no prefix. Of the three ``groups`` the first has ``group_tags``; ``block`` and ``other_block``
    are free parts of ``subnet`` that do not overlap.

    ``writes``: the API operations of each changing verb, in order; of assigning, unassigning and reassigning by kind.
    ``strange_…`` are ids of things that never existed.
    """

    driver: ProviderDriver
    gate: CallGate
    lease: list[bool]
    provider_id: str
    instance: InstanceId
    owner: Owner
    type: str
    limits: Limits
    network: str
    zone: str
    subnet: SubnetId
    tiny: SubnetId
    tiny_free: int
    writes: Mapping[str, Sequence[str]]
    assigns: Mapping[Kind, str]
    unassigns: Mapping[Kind, str]
    moves: Mapping[Kind, Sequence[str]]
    groups: Sequence[str]
    group_tags: Mapping[str, str]
    block: IPNetwork
    other_block: IPNetwork
    strange_instance: InstanceId
    strange_subnet: SubnetId
    strange_interface: InterfaceId
    strange_reservation: ReservationId
    strange_provider_ids: Sequence[str]

    async def another_driver(self, gate: CallGate) -> ProviderDriver:
        """One more driver with the same settings and a gate of the test's own. The test closes it."""
        ...

    def by_hand(self, tags: Mapping[str, str]) -> InterfaceId:
        """An interface of ``subnet`` that somebody else made, attached to nothing."""
        ...

    def interfaces(self) -> list[Truth]:
        """All but primary interfaces of the account, as they really are."""
        ...

    def truth(self, interface: str) -> Truth:
        """One of them."""
        ...

    def blocks(self) -> Mapping[str, str]:
        """The reserved blocks of ``subnet`` and what each is for, as they really are."""
        ...

    def lose_reply(self, operation: str) -> None:
        """The next such call takes effect and is not answered."""
        ...

    def hang(self, operation: str) -> None:
        """The next such call does nothing and is never answered."""
        ...

    def throttle(self, operation: str, times: int) -> None:
        """The next calls are refused for their number."""
        ...

    def deny(self, operation: str) -> None:
        """Takes the permission for the operation from the driver's credentials."""
        ...

    async def terminate(self) -> None:
        """Ends the instance."""
        ...


def wanted(
    cloud: Cloud,
    *,
    name: str = "one",
    count: int = 2,
    index: int = 1,
    kinds: Mapping[Kind, int] | None = None,
    addresses: Iterable[IPAddress] = (),
) -> InterfaceRequest:
    """A request whose token is this test's own for each ``name``; ``count`` IPv4 addresses unless ``kinds`` is
    given.
    """
    return InterfaceRequest(
        token=f"{cloud.instance} {name}",
        instance=cloud.instance,
        device_index=index,
        subnet=cloud.subnet,
        security_groups=(),
        wanted={Kind.IPV4: count} if kinds is None else kinds,
        addresses=frozenset(addresses),
        owner=cloud.owner,
        description="underlay: pods of node n",
        tags={"team": "blue"},
    )


def kinds(cloud: Cloud) -> list[Kind]:
    """What the driver says it can assign."""
    can = cloud.driver.capabilities
    return [
        kind for kind in Kind if (can.ipv6 or kind.family == 4) and (can.prefixes if kind.is_prefix else can.addresses)
    ]


def single(cloud: Cloud) -> list[Kind]:
    """Those of ``kinds`` that are no prefixes."""
    return [kind for kind in kinds(cloud) if not kind.is_prefix]


def mixtures(cloud: Cloud) -> list[Mapping[Kind, int]]:
    """Every way to ask for one kind of each family."""
    ipv4 = [kind for kind in kinds(cloud) if kind.family == 4]
    ipv6 = [kind for kind in kinds(cloud) if kind.family == 6]
    return [{one: 2, other: 1} for one in ipv4 for other in ipv6] or [{one: 2} for one in ipv4]


def counted(items: Collection[IPAddress | IPNetwork]) -> Mapping[Kind, int]:
    """How many of each kind."""
    found = [kind_of(item) for item in items]
    return {kind: found.count(kind) for kind in found}


def addresses_of(items: Collection[IPAddress | IPNetwork]) -> frozenset[IPAddress]:
    """The single addresses among ``items``."""
    return frozenset(item for item in items if isinstance(item, IPv4Address | IPv6Address))


async def seen(cloud: Cloud, interface: str, items: Collection[IPAddress | IPNetwork]) -> Instance:
    """The instance by a read that has caught up with ``items`` and with the last step of making the interface."""
    async with asyncio.timeout(20):
        while True:
            instance = await cloud.driver.instance(cloud.instance)
            found = next((item for item in instance.interfaces if item.id == interface), None)
            if found and found.ends_with_instance and found.addresses | found.prefixes == items:
                return instance


def impatient(cloud: Cloud) -> CallGate:
    """A gate that waits for no answer longer than a moment."""
    return CallGate(clock=RealClock(), lease=lambda: cloud.lease[0], timeout_seconds=1, first_wait_seconds=0.03)
