"""Releases under way: what the agent's answers allow (the protocol is drawn in ``core.api.nodenetwork``)."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from msgspec import structs

from underlay.core.api.nodenetwork import Release, ReleaseDone, SpiderNodeNetworkSpec
from underlay.core.cloud import items
from underlay.core.cloud.model import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A release the agent has answered: ``fenced`` are given to nobody any more and may go."""

    release: Release
    fenced: frozenset[IPAddress]


def answered(spec: SpiderNodeNetworkSpec, released: Mapping[str, Iterable[str]]) -> tuple[Answered, ...]:
    """Releases with an answer. ``released``: id → fenced addresses, from the agent's status."""
    return tuple(
        Answered(
            release=release,
            fenced=frozenset(ip_address(text) for text in released[release.id]) & _addresses(release),
        )
        for release in spec.release
        if release.id in released
    )


def ripe(answers: Collection[Answered], prefixes: Iterable[IPNetwork]) -> tuple[Answered, ...]:
    """Those that can be carried out. The others drain: they fence part of a prefix, and wait for the rest of it to be
    fenced by further releases.
    """
    fenced = frozenset(address for answer in answers for address in answer.fenced)
    parts = [prefix for prefix in prefixes if items.count_in(prefix, fenced)]
    broken = [prefix for prefix in parts if not items.addresses({prefix}) <= fenced]
    return tuple(answer for answer in answers if not any(items.count_in(prefix, answer.fenced) for prefix in broken))


def leaving(spec: SpiderNodeNetworkSpec, released: Mapping[str, Iterable[str]]) -> frozenset[IPAddress]:
    """Addresses on their way out: named by a release without an answer, or fenced."""
    return frozenset(
        address
        for release in spec.release
        for address in _addresses(release)
        if release.id not in released or str(address) in released[release.id]
    )


def close(
    spec: SpiderNodeNetworkSpec, closed: Mapping[str, int], still_reported: Iterable[str]
) -> SpiderNodeNetworkSpec:
    """``spec`` with the releases of ``closed`` (id → pool generation) done; done ones the agent dropped are gone.

    Also cancels: a release closed at the generation of a pool that still lists its addresses gives them back.
    """
    reported = set(still_reported)
    done = [
        ReleaseDone(id=release.id, pool=release.pool, pool_uid=release.pool_uid, generation=closed[release.id])
        for release in spec.release
        if release.id in closed
    ]
    kept = [entry for entry in spec.release_done if entry.id in reported]
    open_ = [release for release in spec.release if release.id not in closed]
    return structs.replace(spec, release=open_, release_done=kept + done)


def _addresses(release: Release) -> frozenset[IPAddress]:
    return frozenset(ip_address(text) for text in release.addresses)
