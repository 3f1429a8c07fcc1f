"""Which interfaces may be deleted: nothing that any rule protects, and everything else."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from support.cloud_values import CLUSTER, interface
from underlay.core.api.meta import ObjectMeta
from underlay.core.api.networkprovider import GarbageCollection
from underlay.core.api.nodenetwork import (
    Intent,
    InterfaceStatus,
    SpiderNodeNetwork,
    SpiderNodeNetworkSpec,
    SpiderNodeNetworkStatus,
)
from underlay.core.cloud import tags
from underlay.core.cloud.model import InterfaceState, NetworkInterface
from underlay.core.identity import InstanceId, InterfaceId
from underlay.operator.reconcile.collect import Claims, Verdict, claims, collect, strictest

AGE = 600.0
TOKENS = ("", "token-1", "token-2", "token-3")


def orphan(number: int = 1, *, cluster: str = CLUSTER, token: str = "") -> NetworkInterface:
    """An interface of ours that is attached to nothing."""
    tagged = ({tags.CLUSTER: cluster} if cluster else {}) | ({tags.INTENT: token} if token else {})
    made = interface(number, tagged=tagged, state=InterfaceState.AVAILABLE)
    return replace(made, instance=None, device_index=None)


@st.composite
def interfaces(draw: st.DrawFn) -> tuple[NetworkInterface, ...]:
    """Any mixture of owners, tokens, states and attachments, ids unlike."""
    found = []
    for number in range(draw(st.integers(0, 8))):
        made = orphan(number, cluster=draw(st.sampled_from((CLUSTER, CLUSTER, "other-uid", ""))))
        token = draw(st.sampled_from(TOKENS))
        state = draw(st.sampled_from((InterfaceState.AVAILABLE, *InterfaceState)))
        attached = draw(st.booleans()) if state is InterfaceState.AVAILABLE else True
        found.append(
            replace(
                made,
                tags={**made.tags, **({tags.INTENT: token} if token else {})},
                state=state,
                special=draw(st.sampled_from((False, False, True))),
                instance=InstanceId("i-1") if attached else None,
            )
        )
    return tuple(found)


def networks_of(tokens: Sequence[str], named: Sequence[str], recorded: Sequence[str]) -> list[SpiderNodeNetwork]:
    """SpiderNodeNetworks, one for each thing that lays a claim, and one without a status."""
    at = "2026-01-01T00:00:00Z"
    statuses = [
        *(
            SpiderNodeNetworkStatus(intents=[Intent(id=f"i{n}", operation="createInterface", started_at=at, token=it)])
            for n, it in enumerate(tokens)
        ),
        *(
            SpiderNodeNetworkStatus(intents=[Intent(id=f"d{n}", operation="assign", started_at=at, interface=it)])
            for n, it in enumerate(named)
        ),
        *(
            SpiderNodeNetworkStatus(
                interfaces=[
                    InterfaceStatus(id=it, mac="", device_index=1, primary=False, state="available", subnet="subnet-a")
                ]
            )
            for it in recorded
        ),
        None,
    ]
    spec = SpiderNodeNetworkSpec(provider="p", node_uid="u", provider_id="x")
    return [
        SpiderNodeNetwork(metadata=ObjectMeta(name=f"n{number}"), spec=spec, status=status)
        for number, status in enumerate(statuses)
    ]


IDS = st.lists(st.sampled_from([f"eni-{number}" for number in range(8)]), max_size=3)


def look(
    seen: Sequence[NetworkInterface], *, at: float, earlier: Verdict | None = None, claimed: Claims | None = None
) -> Verdict:
    """One round."""
    return collect(
        earlier.sightings if earlier else {}, seen, claimed or Claims(), cluster=CLUSTER, now=at, min_age_seconds=AGE
    )


def ids(verdict: Verdict) -> set[str]:
    return {item.id for item in verdict.orphans}


@given(interfaces(), st.dictionaries(IDS.filter(bool).map(lambda x: InterfaceId(x[0])), st.floats(0, 2000)), IDS, IDS)
def test_nothing_protected_is_ever_deleted(
    seen: tuple[NetworkInterface, ...], earlier: dict[InterfaceId, float], named: list[str], recorded: list[str]
) -> None:
    """Whatever was sighted before: of another owner, tagged as nobody's to touch, not detached, named by an intent,
    recorded or too young stays.
    """
    networks = networks_of(["token-1", "token-2"], named, recorded)

    verdict = collect(earlier, seen, claims(networks), cluster=CLUSTER, now=2000, min_age_seconds=AGE)

    for item in verdict.orphans:
        assert item.tags.get(tags.CLUSTER) == CLUSTER
        assert not item.special
        assert item.state is InterfaceState.AVAILABLE
        assert item.instance is None
        assert item.tags.get(tags.INTENT) not in ("token-1", "token-2")
        assert item.id not in {*named, *recorded}
        assert 2000 - earlier[item.id] >= AGE


@given(interfaces(), IDS, IDS)
def test_everything_else_goes_within_two_rounds(
    seen: tuple[NetworkInterface, ...], named: list[str], recorded: list[str]
) -> None:
    """Ours, detached, unclaimed at two rounds a minimum age apart: due at the second, and nothing is at the first."""
    claimed = claims(networks_of(["token-1", "token-2"], named, recorded))
    unprotected = {
        item.id
        for item in seen
        if item.tags.get(tags.CLUSTER) == CLUSTER
        and not item.special
        and (item.state, item.instance) == (InterfaceState.AVAILABLE, None)
        and item.tags.get(tags.INTENT) not in ("token-1", "token-2")
        and item.id not in {*named, *recorded}
    }

    first = look(seen, at=0, claimed=claimed)
    second = look(seen, at=AGE, earlier=first, claimed=claimed)

    assert ids(first) == set()
    assert ids(second) == unprotected


@given(interfaces())
def test_without_a_cluster_nothing_is_ours(seen: tuple[NetworkInterface, ...]) -> None:
    """An operator that does not know its cluster's UID deletes nothing, interfaces with an empty tag included."""
    blank = [replace(item, tags={tags.CLUSTER: ""}) for item in seen]
    sightings = {item.id: 0.0 for item in seen}

    verdict = collect(sightings, blank + list(seen), Claims(), cluster="", now=2 * AGE, min_age_seconds=AGE)

    assert verdict == Verdict(orphans=(), sightings={})


def test_rounds_nearer_than_the_minimum_age_add_up() -> None:
    """The first sighting counts: looks every half age make an orphan due at the third."""
    first = look([orphan()], at=0)
    second = look([orphan()], at=AGE / 2, earlier=first)
    third = look([orphan()], at=AGE, earlier=second)

    assert (ids(second), ids(third)) == (set(), {"eni-1"})


def test_whoever_was_attached_or_claimed_in_between_begins_anew() -> None:
    """Sighted, then in use or named by an intent, then sighted: that was the first time."""
    in_use = replace(orphan(), state=InterfaceState.IN_USE, instance=InstanceId("i-1"))
    intended = Claims(interfaces=frozenset({orphan().id}))
    for between in (look([in_use], at=1, earlier=look([orphan()], at=0)), look([orphan()], at=1, claimed=intended)):
        assert ids(look([orphan()], at=2 * AGE, earlier=between)) == set()


def test_a_minimum_age_of_none_still_takes_two_rounds() -> None:
    """With minAgeSeconds 0 an interface seen for the first time stays."""
    first = collect({}, [orphan()], Claims(), cluster=CLUSTER, now=5, min_age_seconds=0)
    second = collect(first.sightings, [orphan()], Claims(), cluster=CLUSTER, now=5, min_age_seconds=0)

    assert (ids(first), ids(second)) == (set(), {"eni-1"})


def test_an_interface_without_a_token_is_not_taken_for_one_of_an_intent_without() -> None:
    """Intents of other operations have no token, and protect by id only."""
    claimed = claims(networks_of(["", "token-1"], [], []))

    assert ids(look([orphan()], at=AGE, earlier=look([orphan()], at=0), claimed=claimed)) == {"eni-1"}


def test_the_longest_seen_comes_first() -> None:
    """Deletions are bounded, so that order decides who goes."""
    sightings = {orphan(1).id: 20.0, orphan(2).id: 10.0, orphan(3).id: 20.0}
    seen = [orphan(1), orphan(3), orphan(2)]

    verdict = collect(sightings, seen, Claims(), cluster=CLUSTER, now=AGE + 20, min_age_seconds=AGE)

    assert [item.id for item in verdict.orphans] == ["eni-2", "eni-1", "eni-3"]


def test_providers_that_share_an_account_keep_what_one_of_them_would() -> None:
    """The longest age, and dry run if any asks for it."""
    policies = [GarbageCollection(min_age_seconds=5, dry_run=True), GarbageCollection(min_age_seconds=600)]

    assert strictest(policies) == GarbageCollection(min_age_seconds=600, dry_run=True)
