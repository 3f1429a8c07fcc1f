"""What is written before a cloud write, and what is made of it afterwards."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.cloud_values import addresses, addresses6, block, instance, interface, node_views
from underlay.core.api.nodenetwork import Intent
from underlay.core.cloud import intents
from underlay.core.cloud.intents import Done, NotDone, Unclear
from underlay.core.cloud.model import Instance, IPAddress, Kind
from underlay.core.cloud.planning.actions import Action, Assign, Create, Delete, Release
from underlay.core.cloud.planning.plan import plan
from underlay.core.cloud.planning.view import NodeView
from underlay.core.identity import InterfaceId, SubnetId

ENI = interface(1).id
HAVE = instance(interface(0), interface(1, count=3))


def written(action: Action, seen: Instance = HAVE) -> Intent:
    return intents.before(action, seen, id="0123abcd", started_at="2027-01-01T00:00:00Z")


def having(now: frozenset[IPAddress]) -> Instance:
    return instance(interface(0), replace(interface(1), addresses=now))


def test_assign_remembers_what_was_there() -> None:
    """An assignment by count has no token, so the intent keeps the addresses the interface had."""
    intent = written(Assign(interface=ENI, count=4))

    assert intent.operation == "assign"
    assert intent.count == 4
    assert intent.token == ""
    assert intent.before == ["10.1.0.1", "10.1.0.2", "10.1.0.3"]


def test_create_has_a_token() -> None:
    """A creation carries the intent's id as its token."""
    intent = written(Create(subnet=SubnetId("subnet-a"), device_index=2, wanted={Kind.IPV4: 5}))

    assert (intent.operation, intent.token, intent.subnet, intent.wanted) == (
        "createInterface",
        "0123abcd",
        "subnet-a",
        {"ipv4": 5},
    )


@given(node_views())
def test_an_intent_holds_all_its_action_needs(seen: NodeView) -> None:
    """Every action of every plan can be made again from its intent alone."""
    for action in plan(seen).actions:
        again = intents.again(written(action, seen.instance), seen.instance)
        match action:
            case Create(wanted=wanted, network_card=card):
                assert isinstance(again, Create)
                assert (again.wanted, again.network_card) == (wanted, card)
            case Release(items=going):
                # The fence is the SpiderNodeNetwork's own matter.
                assert again == Release(interface=action.interface, items=going)
            case _:
                assert again == action


def test_a_repeated_create_takes_the_index_that_is_free_now() -> None:
    """Somebody took index 2 meanwhile: the repeated creation goes to 3."""
    intent = written(Create(subnet=SubnetId("subnet-a"), device_index=2, wanted={Kind.IPV4: 5}))
    now = instance(interface(0), interface(1), interface(2, tagged={}))

    assert intents.again(intent, now) == Create(subnet=SubnetId("subnet-a"), device_index=3, wanted={Kind.IPV4: 5})


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(addresses(1, 3), NotDone(repeat=False), id="nothing new: plan anew"),
        pytest.param(addresses(1, 7), Done(interface=ENI, added=addresses(1, 4, start=4)), id="what was asked for"),
        pytest.param(addresses(1, 9), Done(interface=ENI, added=addresses(1, 6, start=4)), id="a surplus is a surplus"),
        pytest.param(
            addresses(1, 5, start=3), Done(interface=ENI, added=addresses(1, 4, start=4)), id="others went meanwhile"
        ),
    ],
)
def test_assign_is_found_by_comparing(now: frozenset[IPAddress], expected: intents.Outcome) -> None:
    """What the interface has beyond what it had is what was assigned."""
    assert intents.settle(written(Assign(interface=ENI, count=4)), having(now)) == expected


def test_a_lagging_read_proves_no_absence() -> None:
    """A read that may be older than the write can say that it happened, not that it did not."""
    intent = written(Assign(interface=ENI, count=4))

    assert intents.settle(intent, HAVE, lagging=True) == Unclear()
    assert intents.settle(intent, having(addresses(1, 7)), lagging=True) == Done(
        interface=ENI, added=addresses(1, 4, start=4)
    )


def test_unassign_is_done_when_all_are_gone() -> None:
    """One address still there means the same call again."""
    intent = written(Release(interface=ENI, items=frozenset(addresses(1, 2))))

    assert intents.settle(intent, having(addresses(1, 1, start=3))) == Done(interface=ENI, removed=addresses(1, 2))
    assert intents.settle(intent, having(addresses(1, 1))) == NotDone(repeat=True)
    assert intents.settle(intent, instance(interface(0))) == Done(interface=ENI, removed=addresses(1, 2))


@pytest.mark.parametrize("seen", [HAVE, instance(interface(0))], ids=["listed", "not listed"])
@pytest.mark.parametrize(
    "action", [Delete(interface=ENI), Create(subnet=SubnetId("subnet-a"), device_index=2, wanted={Kind.IPV4: 1})]
)
def test_what_an_instance_cannot_show_is_repeated(action: Action, seen: Instance) -> None:
    """An interface may exist detached, or attached but unfinished: only the same call again settles it."""
    assert intents.settle(written(action), seen) == NotDone(repeat=True)


@given(st.integers(0, 8), st.integers(0, 8), st.integers(1, 8))
def test_assign_takes_nothing_that_was_there(had: int, has: int, count: int) -> None:
    """Whatever a read shows, an address of before is never taken for a new one."""
    intent = written(Assign(interface=ENI, count=count), having(addresses(1, had)))
    outcome = intents.settle(intent, having(addresses(1, has)))

    assert not isinstance(outcome, Done) or outcome.added == addresses(1, has) - addresses(1, had) != frozenset()


def test_an_interface_that_is_gone_has_got_nothing() -> None:
    """An assignment to an interface that vanished did not happen."""
    intent = written(Assign(interface=InterfaceId("eni-gone"), count=4))

    assert intent.before == []
    assert intents.settle(intent, HAVE) == NotDone(repeat=False)


def test_a_create_of_an_older_version() -> None:
    """An intent that names one kind and a count is the creation it was written for."""
    intent = Intent(id="a", operation="createInterface", started_at="", subnet="subnet-a", count=5)

    assert intents.again(intent, HAVE) == Create(subnet=SubnetId("subnet-a"), device_index=2, wanted={Kind.IPV4: 5})


def test_a_prefix_is_found_by_comparing() -> None:
    """Of what is new, what has the kind that was asked for came of the call: the address somebody added did not."""
    intent = written(Assign(interface=ENI, kind=Kind.IPV4_PREFIX, count=1))
    now = instance(interface(0), interface(1, count=4, blocks=1))

    assert intents.settle(intent, now) == Done(interface=ENI, added=frozenset({block(1, 0)}))


def test_families_are_not_mixed_up() -> None:
    """An assignment of IPv6 addresses is found by IPv6 addresses."""
    intent = written(Assign(interface=ENI, kind=Kind.IPV6, count=2))

    assert intents.settle(intent, instance(interface(0), interface(1, count=5))) == NotDone(repeat=False)
    assert intents.settle(intent, instance(interface(0), interface(1, count=3, ipv6=2))) == Done(
        interface=ENI, added=addresses6(1, 2)
    )


def test_a_prefix_is_unassigned_as_a_whole() -> None:
    """The intent names the prefix; it is gone when the interface has it no more."""
    intent = written(Release(interface=ENI, items=frozenset({block(1, 0)})))

    assert intent.addresses == ["10.1.128.0/28"]
    assert intents.settle(intent, instance(interface(0), interface(1, count=3, blocks=1))) == NotDone(repeat=True)
    assert intents.settle(intent, HAVE) == Done(interface=ENI, removed=frozenset({block(1, 0)}))
