"""Which interfaces nobody claims any more. Pure.

An interface goes only when all of this holds:

    made by this cluster      its ownership tag names the cluster
    attached to nothing       and was so in an earlier round, at least the minimum age ago
    not being made or used    no live intent names it, by token or by id
    not in service            no SpiderNodeNetwork records it

Clouds do not tell an interface's age (EC2), hence the two sightings. Only unclaimed interfaces are sighted, so that one
whose intent has just gone gets its whole minimum age.

Claims must be read after the interfaces: an intent is in the API server before its interface exists, so whoever will
ever use what a read of the cloud shows has claimed it by then.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from underlay.core.api.networkprovider import GarbageCollection
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.cloud import tags
from underlay.core.cloud.model import InterfaceState, NetworkInterface
from underlay.core.identity import InterfaceId

Sightings = Mapping[InterfaceId, float]
"""When (monotonic) each interface was first seen detached and unclaimed, without having been otherwise since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What SpiderNodeNetworks, of whichever provider, lay claim to."""

    tokens: frozenset[str] = frozenset()
    interfaces: frozenset[InterfaceId] = frozenset()

    def cover(self, interface: NetworkInterface) -> bool:
        """Somebody makes, changes or uses the interface."""
        return interface.id in self.interfaces or interface.tags.get(tags.INTENT) in self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``orphans`` may be deleted, longest seen first; ``sightings`` are for the next round and still hold them."""

    orphans: tuple[NetworkInterface, ...]
    sightings: Sightings


def claims(networks: Iterable[SpiderNodeNetwork]) -> Claims:
    """Intents and recorded interfaces of all ``networks``."""
    statuses = [network.status for network in networks if network.status is not None]
    intents = [intent for status in statuses for intent in status.intents]
    recorded = [interface.id for status in statuses for interface in status.interfaces]
    named = [intent.interface for intent in intents if intent.interface]
    return Claims(
        tokens=frozenset(intent.token for intent in intents if intent.token),
        interfaces=frozenset(map(InterfaceId, recorded + named)),
    )


def detached(interfaces: Iterable[NetworkInterface], cluster: str) -> tuple[NetworkInterface, ...]:
    """Interfaces made by this cluster that are attached to nothing and not about to be."""
    return tuple(
        interface
        for interface in interfaces
        if tags.is_owned(interface, cluster)
        and interface.state is InterfaceState.AVAILABLE
        and interface.instance is None
    )


def collect(
    earlier: Sightings,
    interfaces: Iterable[NetworkInterface],
    claimed: Claims,
    *,
    cluster: str,
    now: float,
    min_age_seconds: float,
) -> Verdict:
    """What is due ``now``. ``earlier``: the sightings of the rounds before this one."""
    unclaimed = [interface for interface in detached(interfaces, cluster) if not claimed.cover(interface)]
    due = [item for item in unclaimed if item.id in earlier and now - earlier[item.id] >= min_age_seconds]
    return Verdict(
        orphans=tuple(sorted(due, key=lambda item: (earlier[item.id], item.id))),
        sightings={interface.id: earlier.get(interface.id, now) for interface in unclaimed},
    )


def strictest(policies: Collection[GarbageCollection]) -> GarbageCollection:
    """The policy of an account that several providers share: nothing goes that one of them would keep."""
    return GarbageCollection(
        min_age_seconds=max(policy.min_age_seconds for policy in policies),
        dry_run=any(policy.dry_run for policy in policies),
    )
