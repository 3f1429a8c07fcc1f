"""Observed, demand, limits → the cheapest calls."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings

from support.cloud_values import CLUSTER, addresses, carried_out, interface, node_views, subnet, view
from underlay.core.api.networkprovider import AddressPolicy, InterfacePolicy
from underlay.core.cloud import tags
from underlay.core.cloud.model import InstanceState, InterfaceState, NetworkInterface
from underlay.core.cloud.plan import Assign, Create, Delete, NodeView, Plan, Release, plan
from underlay.core.identity import SubnetId

LONG_AGO = 0.0


def ours(seen: NodeView) -> dict[str, NetworkInterface]:
    return {item.id: item for item in seen.instance.interfaces if item.tags.get(tags.CLUSTER) == CLUSTER}


def growth(decided: Plan) -> list[Assign | Create]:
    return [action for action in decided.actions if isinstance(action, Assign | Create)]


def granted(decided: Plan) -> int:
    return sum(action.count for action in growth(decided))


class TestExamples:
    """A t3.medium: three interfaces of six addresses, fifteen for pods with the primary, ten without."""

    def test_first_batch_on_the_primary(self) -> None:
        """A fresh node with usePrimary asks for one batch on the interface it has: one call."""
        decided = plan(view())

        assert decided == Plan(target=4, usable=0, actions=(Assign(interface=interface(0).id, count=4),), surplus=False)

    def test_without_the_primary_an_interface_is_made(self) -> None:
        """Without usePrimary the first batch comes with a new interface at the lowest free index."""
        decided = plan(view(interface_policy=InterfacePolicy()))

        assert decided.actions == (Create(subnet=subnet().id, device_index=1, count=4),)

    def test_what_fits_is_asked_of_what_is_there(self) -> None:
        """With one place left on the primary, that one is asked for there and the rest comes with a new interface."""
        decided = plan(view(interface(0, count=4), pods=3))

        assert decided.actions == (
            Assign(interface=interface(0).id, count=1),
            Create(subnet=subnet().id, device_index=1, count=3),
        )

    def test_a_burst_fills_the_machine_at_once(self) -> None:
        """Forty pods: everything the type allows is asked for in one plan, and the shortage says why it is not more."""
        decided = plan(view(pods=40))

        assert decided.target == 15
        assert decided.actions == (
            Assign(interface=interface(0).id, count=5),
            Create(subnet=subnet().id, device_index=1, count=5),
            Create(subnet=subnet().id, device_index=2, count=5),
        )
        assert decided.shortage.startswith("instance: t3.medium allows 3 interfaces of 6 addresses")

    def test_lowest_free_index(self) -> None:
        """Index 1 is taken by somebody else's interface: the new one gets 2."""
        foreign = interface(1, tagged={})

        decided = plan(view(interface(0, count=5), foreign, pods=5))

        assert decided.actions == (Create(subnet=subnet().id, device_index=2, count=3),)

    def test_attaching_addresses_are_on_their_way(self) -> None:
        """What a new interface brings is not asked for twice while it is being attached."""
        decided = plan(view(interface(0, count=5), interface(1, count=3, state=InterfaceState.ATTACHING), pods=5))

        assert decided.actions == ()
        assert decided.usable == 5
        assert decided.target == 8

    def test_surplus_waits(self) -> None:
        """Surplus is said at once and released only after the delay."""
        seen = view(interface(0, count=5), interface(1, count=3), pods=1)

        assert plan(seen).surplus
        assert plan(seen).actions == ()
        assert plan(replace(seen, surplus_since=seen.now - 179)).actions == ()
        assert plan(replace(seen, surplus_since=seen.now - 180)).actions != ()

    def test_the_highest_interface_is_emptied_first(self) -> None:
        """Four of eight are surplus: the three of the second interface go first, one of the primary's follows."""
        seen = view(interface(0, count=5), interface(1, count=3), pods=1, surplus_since=LONG_AGO)

        assert plan(seen).actions == (
            Release(interface=interface(1).id, addresses=addresses(1, 3)),
            Release(interface=interface(0).id, addresses=addresses(0, 1, start=5)),
        )

    def test_held_addresses_stay(self) -> None:
        """What a pod holds or what cools down is not released, whichever interface it is on."""
        held = addresses(1, 2)
        seen = view(interface(0, count=5), interface(1, count=3), pods=2, held=held, surplus_since=LONG_AGO)

        assert plan(seen).actions[0] == Release(interface=interface(1).id, addresses=addresses(1, 1, start=3))

    def test_an_empty_interface_goes(self) -> None:
        """Once its addresses are gone, so is the interface; the primary stays."""
        assert plan(view(interface(0, count=4), interface(1))).actions == (Delete(interface=interface(1).id),)

    def test_an_interface_that_is_needed_is_filled_not_deleted(self) -> None:
        """An empty interface is where growth goes first."""
        decided = plan(view(interface(0, count=5), interface(1), pods=5))

        assert decided.actions == (Assign(interface=interface(1).id, count=3),)

    def test_an_unbelieved_address_keeps_its_interface(self) -> None:
        """An interface that only seems empty, because what a read showed is not believed yet, is not deleted."""
        seen = view(interface(0, count=4), interface(1))
        spot = (interface(1).id, next(iter(addresses(1, 1))))

        assert plan(replace(seen, appeared=frozenset({spot}))).actions == ()

    def test_an_unbelieved_address_takes_room(self) -> None:
        """What a read showed counts against the interface's limit before it may be used."""
        seen = view(interface(0), pods=5)
        spots = frozenset((interface(0).id, address) for address in addresses(0, 3))

        assert plan(replace(seen, appeared=spots)).actions[0] == Assign(interface=interface(0).id, count=2)

    def test_a_subnet_that_is_not_a_candidate_is_not_asked(self) -> None:
        """An interface in a blocked subnet does not grow; a new one in a usable subnet is made instead."""
        decided = plan(view(interface(0, subnet="subnet-b")))

        assert decided.actions == (Create(subnet=subnet().id, device_index=1, count=4),)

    def test_the_best_subnet_that_has_all(self) -> None:
        """A subnet too small for the whole request is passed over for one that can fill it."""
        subnets = (subnet("subnet-a", free=3), subnet("subnet-b", free=5))

        decided = plan(view(interface_policy=InterfacePolicy(), subnets=subnets))

        assert decided.actions == (Create(subnet=subnets[1].id, device_index=1, count=4),)

    def test_the_last_addresses_of_a_subnet(self) -> None:
        """Three free: one becomes the interface's own, two are for pods, and the shortage names the subnet."""
        decided = plan(view(interface_policy=InterfacePolicy(), subnets=(subnet(free=3),)))

        assert decided.actions == (Create(subnet=subnet().id, device_index=1, count=2),)
        assert decided.shortage.startswith("subnet: 2 more")

    def test_interfaces_share_what_a_subnet_has(self) -> None:
        """Two interfaces in one subnet together ask for no more than it has free."""
        seen = view(interface(0, count=3), interface(1, count=3), pods=12, subnets=(subnet(free=3),))

        assert plan(seen).actions == (
            Assign(interface=interface(0).id, count=2),
            Assign(interface=interface(1).id, count=1),
        )

    def test_another_zone_is_out_of_reach(self) -> None:
        """An interface can only be made in the instance's own zone."""
        decided = plan(view(interface_policy=InterfacePolicy(), subnets=(subnet(zone="eu-central-1b"),)))

        assert decided.actions == ()
        assert decided.shortage.startswith("subnet: ")

    @pytest.mark.parametrize(
        ("policy", "room"),
        [
            pytest.param(InterfacePolicy(use_primary=True, max=2), 10, id="max counts the primary"),
            pytest.param(InterfacePolicy(use_primary=True, reserved=1), 10, id="one slot reserved"),
            pytest.param(InterfacePolicy(reserved=2), 0, id="nothing left"),
        ],
    )
    def test_policy_is_named_when_it_is_what_limits(self, policy: InterfacePolicy, room: int) -> None:
        """The provider's own settings may be what leaves pods without an address."""
        decided = plan(view(pods=40, interface_policy=policy))

        assert decided.target == room
        assert decided.shortage.startswith("policy: ")

    def test_a_reserved_slot_is_used_up_by_its_user(self) -> None:
        """The slot left free for others is the one their interface is in."""
        seen = view(
            interface(0, count=5),
            interface(1, tagged={}),
            pods=5,
            interface_policy=InterfacePolicy(use_primary=True, reserved=1),
        )

        assert plan(seen).actions == (Create(subnet=subnet().id, device_index=2, count=3),)

    def test_detaching_occupies_its_slot(self) -> None:
        """While an interface is being detached there is no room for its successor, and the shortage says so."""
        seen = view(interface(0, count=5), interface(1, count=5), interface(2, state=InterfaceState.DETACHING), pods=12)

        decided = plan(seen)

        assert decided.actions == ()
        assert decided.shortage.startswith("interface: ")

    @pytest.mark.parametrize("state", [state for state in InstanceState if state is not InstanceState.RUNNING])
    def test_only_a_running_instance_is_touched(self, state: InstanceState) -> None:
        """Nothing is asked for a machine that is stopped, gone, or in a state nobody knows."""
        decided = plan(view(pods=3, state=state))

        assert decided.actions == ()
        assert decided.shortage.startswith("instance: ")

    def test_idle_addresses_may_stay_up_to_max_idle(self) -> None:
        """With maxIdle 6 the six that a finished job leaves are no surplus, a seventh is."""
        policy = AddressPolicy(max_idle=6)

        assert not plan(view(interface(0, count=5), interface(1, count=1), policy=policy)).surplus
        assert plan(view(interface(0, count=5), interface(1, count=2), policy=policy)).surplus


class TestProperties:
    """What holds for any node."""

    @given(node_views())
    def test_never_above_limits(self, seen: NodeView) -> None:
        """After a plan no interface it grew has more addresses, and the node no more interfaces, than allowed."""
        decided = plan(seen)
        after = carried_out(seen, decided).instance.interfaces
        grown = {action.interface for action in decided.actions if isinstance(action, Assign)}
        created = [action for action in decided.actions if isinstance(action, Create)]
        policy, foreign = (
            seen.interface_policy,
            len(after)
            - len([i for i in after if i.primary])
            - len([i for i in after if i.tags.get(tags.CLUSTER) == CLUSTER]),
        )

        assert all(len(item.addresses) < seen.limits.ipv4_per_interface for item in after if item.id in grown)
        assert all(0 < action.count < seen.limits.ipv4_per_interface for action in created)
        assert not created or len(after) + max(policy.reserved - foreign, 0) <= seen.limits.interfaces
        assert not created or not policy.max or len(after) - foreign <= policy.max

    @given(node_views())
    def test_subnets_give_what_they_have(self, seen: NodeView) -> None:
        """All calls of a plan together ask no subnet for more than it has free, and none that is not a candidate."""
        decided = plan(seen)
        asked: Counter[SubnetId] = Counter()
        where = {item.id: item.subnet for item in seen.instance.interfaces}
        for action in growth(decided):
            if isinstance(action, Assign):
                asked[where[action.interface]] += action.count
            else:
                asked[action.subnet] += action.count + 1
        free = {item.id: item.free for item in seen.subnets}

        assert asked.keys() <= free.keys()
        assert all((limit := free[name]) is None or count <= limit for name, count in asked.items())

    @given(node_views())
    def test_held_and_foreign_are_never_touched(self, seen: NodeView) -> None:
        """No action takes what is held or leaving, or names an interface that is not ours or (with usePrimary) the
        primary.
        """
        decided = plan(seen)
        named = {action.interface for action in decided.actions if not isinstance(action, Create)}
        primary = {item.id for item in seen.instance.interfaces if item.primary and seen.interface_policy.use_primary}
        released = [
            address for action in decided.actions if isinstance(action, Release) for address in action.addresses
        ]
        deleted = [action.interface for action in decided.actions if isinstance(action, Delete)]

        assert named <= ours(seen).keys() | primary
        assert not set(released) & (seen.held | seen.leaving)
        assert all(id_ in ours(seen) and not ours(seen)[id_].addresses for id_ in deleted)

    @given(node_views())
    def test_growth_settles_at_once(self, seen: NodeView) -> None:
        """Once all of a plan is done, the next one asks for nothing more."""
        assert growth(plan(carried_out(seen, plan(seen)))) == []

    @given(node_views())
    def test_demand_that_rises_is_met_at_once(self, seen: NodeView) -> None:
        """One more pod: never fewer addresses are asked for, and all of the target if nothing is short."""
        more = replace(seen, pods=seen.pods + 1)
        coming = sum(
            len(item.addresses - seen.leaving)
            for item in seen.instance.interfaces
            if item.state is InterfaceState.ATTACHING and item.id in ours(seen)
        )

        assert granted(plan(more)) >= granted(plan(seen))
        assert plan(more).shortage or plan(more).usable + coming + granted(plan(more)) >= plan(more).target

    @given(node_views())
    def test_release_waits_for_its_delay(self, seen: NodeView) -> None:
        """Nothing is released before the surplus is as old as the delay."""
        young = replace(seen, surplus_since=seen.now, addresses=seen.addresses)

        assert seen.addresses.release_delay_seconds == 0 or not any(
            isinstance(action, Release) for action in plan(young).actions
        )

    @given(node_views())
    def test_release_leaves_what_is_needed(self, seen: NodeView) -> None:
        """After a release the node still has its target, its minimum and what its pods use, as far as it had them."""
        decided = plan(seen)
        released = sum(len(action.addresses) for action in decided.actions if isinstance(action, Release))

        assert released == 0 or decided.usable - released >= max(
            decided.target, min(seen.pods + seen.cooling, decided.target), min(seen.addresses.minimum, decided.target)
        )

    @given(node_views())
    def test_one_action_per_interface(self, seen: NodeView) -> None:
        """A plan names no interface twice and never grows and shrinks at once."""
        decided = plan(seen)
        named = [action.interface for action in decided.actions if not isinstance(action, Create)]

        assert len(named) == len(set(named))
        assert not growth(decided) or growth(decided) == list(decided.actions)

    @given(node_views())
    def test_new_indexes_are_the_lowest_free(self, seen: NodeView) -> None:
        """New interfaces take the lowest device indexes nobody has, in order."""
        taken = {item.device_index for item in seen.instance.interfaces}
        new = [action.device_index for action in plan(seen).actions if isinstance(action, Create)]

        assert new == [index for index in range(len(taken) + len(new)) if index not in taken][: len(new)]

    @given(node_views())
    def test_the_primary_is_left_alone_unless_allowed(self, seen: NodeView) -> None:
        """Without usePrimary no action names the primary interface and its addresses are not counted."""
        alone = replace(seen, interface_policy=InterfacePolicy(use_primary=False))
        decided = plan(alone)
        named = {action.interface for action in decided.actions if not isinstance(action, Create)}

        assert interface(0).id not in named
        assert decided.usable == sum(
            len(item.addresses - seen.leaving) for item in ours(seen).values() if item.state is InterfaceState.IN_USE
        )

    @given(node_views())
    @settings(max_examples=60)
    def test_an_idle_node_gives_everything_back(self, seen: NodeView) -> None:
        """With no pod and nothing held, repeated plans end with the target and without an empty interface of ours."""
        seen = replace(seen, pods=0, cooling=0, held=frozenset(), leaving=frozenset())
        for _ in range(20):
            decided = plan(seen)
            if not decided.actions and not decided.surplus:
                break
            seen = carried_out(replace(seen, now=seen.now + 400), decided)
        else:
            raise AssertionError("plans do not come to an end")

        idle = [item for item in ours(seen).values() if item.state is InterfaceState.IN_USE and not item.addresses]

        assert not decided.actions
        assert decided.target >= decided.usable or seen.addresses.max_idle >= decided.usable
        assert idle == [] or decided.usable < decided.target
