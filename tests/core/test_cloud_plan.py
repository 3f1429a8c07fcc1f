"""Observed, demand, limits → the cheapest calls."""

from collections import Counter
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.cloud_values import (
    CLUSTER,
    T3_MEDIUM,
    addresses,
    addresses6,
    block,
    block6,
    carried_out,
    interface,
    node_views,
    subnet,
    view,
)
from underlay.core.api.networkprovider import AddressPolicy, InterfacePolicy
from underlay.core.cloud import items, tags
from underlay.core.cloud.model import (
    InstanceState,
    InterfaceState,
    IPAddress,
    Kind,
    Limits,
    NetworkInterface,
    kind_of,
)
from underlay.core.cloud.planning.actions import Assign, Create, Delete, Release
from underlay.core.cloud.planning.growth import gain
from underlay.core.cloud.planning.plan import Plan, plan
from underlay.core.cloud.planning.pressure import Pressure
from underlay.core.cloud.planning.view import NodeView
from underlay.core.identity import SubnetId

PREFIX = AddressPolicy(mode="prefix")
AUTO = AddressPolicy(mode="auto")
LONG_AGO = 0.0


def ours(seen: NodeView) -> dict[str, NetworkInterface]:
    return {item.id: item for item in seen.instance.interfaces if item.tags.get(tags.CLUSTER) == CLUSTER}


def growth(decided: Plan) -> list[Assign | Create]:
    return [action for action in decided.actions if isinstance(action, Assign | Create)]


def granted(seen: NodeView, decided: Plan) -> int:
    return sum(gain(seen, action) for action in growth(decided))


def giving(index: int, going: frozenset[IPAddress]) -> Release:
    """Single addresses go as they are."""
    return Release(interface=interface(index).id, items=frozenset(going), fence=going)


class TestExamples:
    """A t3.medium: three interfaces of six addresses, fifteen for pods with the primary, ten without."""

    def test_first_batch_on_the_primary(self) -> None:
        """A fresh node with usePrimary asks for one batch on the interface it has: one call."""
        decided = plan(view())

        assert decided == Plan(
            target=4, usable=0, lack=4, room=15, actions=(Assign(interface=interface(0).id, count=4),), surplus=False
        )

    def test_without_the_primary_an_interface_is_made(self) -> None:
        """Without usePrimary the first batch comes with a new interface at the lowest free index."""
        decided = plan(view(interface_policy=InterfacePolicy()))

        assert decided.actions == (Create(subnet=subnet().id, device_index=1, wanted={Kind.IPV4: 4}),)

    def test_what_fits_is_asked_of_what_is_there(self) -> None:
        """With one place left on the primary, that one is asked for there and the rest comes with a new interface."""
        decided = plan(view(interface(0, count=4), pods=3))

        assert decided.actions == (
            Assign(interface=interface(0).id, count=1),
            Create(subnet=subnet().id, device_index=1, wanted={Kind.IPV4: 3}),
        )

    def test_a_burst_fills_the_machine_at_once(self) -> None:
        """Forty pods: everything the type allows is asked for in one plan, and the shortage says why it is not more."""
        decided = plan(view(pods=40))

        assert decided.target == 15
        assert decided.actions == (
            Assign(interface=interface(0).id, count=5),
            Create(subnet=subnet().id, device_index=1, wanted={Kind.IPV4: 5}),
            Create(subnet=subnet().id, device_index=2, wanted={Kind.IPV4: 5}),
        )
        assert decided.shortage.startswith("instance: t3.medium allows 3 interfaces of 6 addresses")

    def test_lowest_free_index(self) -> None:
        """Index 1 is taken by somebody else's interface: the new one gets 2."""
        foreign = interface(1, tagged={})

        decided = plan(view(interface(0, count=5), foreign, pods=5))

        assert decided.actions == (Create(subnet=subnet().id, device_index=2, wanted={Kind.IPV4: 3}),)

    def test_attaching_addresses_are_on_their_way(self) -> None:
        """What a new interface brings is not asked for twice while it is being attached."""
        decided = plan(view(interface(0, count=5), interface(1, count=3, state=InterfaceState.ATTACHING), pods=5))

        assert decided.actions == ()
        assert decided.usable == 5
        assert decided.target == 8

    def test_surplus_waits(self) -> None:
        """Surplus is said at once and released only after the delay; a plan tells how long that is."""
        seen = view(interface(0, count=5), interface(1, count=3), pods=1)
        young, old = (plan(replace(seen, surplus_since=seen.now - seconds)) for seconds in (179, 180))

        assert plan(seen).surplus
        assert (plan(seen).actions, plan(seen).ripe_seconds) == ((), 180)
        assert (young.actions, young.ripe_seconds) == ((), 1)
        assert old.actions != ()
        assert old.ripe_seconds is None

    def test_the_highest_interface_is_emptied_first(self) -> None:
        """Four of eight are surplus: the three of the second interface go first, one of the primary's follows."""
        seen = view(interface(0, count=5), interface(1, count=3), pods=1, surplus_since=LONG_AGO)
        later = view(interface(0, count=5), pods=1, surplus_since=LONG_AGO)

        assert plan(seen).actions == (giving(1, addresses(1, 3)),)
        assert plan(later).actions == (giving(0, addresses(0, 1, start=5)),)

    def test_one_batch_at_a_time(self) -> None:
        """Eleven surplus addresses go four at a time, and the next four when the agent has answered for the first."""
        seen = view(interface(0, count=5), interface(1, count=5), interface(2, count=5), surplus_since=LONG_AGO)

        assert plan(seen).actions == (giving(2, addresses(2, 4, start=2)),)
        assert plan(replace(seen, asking=True)).actions == ()

    def test_held_addresses_stay(self) -> None:
        """What a pod holds or what cools down is not released, whichever interface it is on."""
        held = addresses(1, 2)
        seen = view(interface(0, count=5), interface(1, count=3), pods=2, held=held, surplus_since=LONG_AGO)

        assert plan(seen).actions == (giving(1, addresses(1, 1, start=3)),)

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

        assert decided.actions == (Create(subnet=subnet().id, device_index=1, wanted={Kind.IPV4: 4}),)

    def test_the_best_subnet_that_has_all(self) -> None:
        """A subnet too small for the whole request is passed over for one that can fill it."""
        subnets = (subnet("subnet-a", free=3), subnet("subnet-b", free=5))

        decided = plan(view(interface_policy=InterfacePolicy(), subnets=subnets))

        assert decided.actions == (Create(subnet=subnets[1].id, device_index=1, wanted={Kind.IPV4: 4}),)

    def test_the_last_addresses_of_a_subnet(self) -> None:
        """Three free: one becomes the interface's own, two are for pods, and the shortage names the subnet."""
        decided = plan(view(interface_policy=InterfacePolicy(), subnets=(subnet(free=3),)))

        assert decided.actions == (Create(subnet=subnet().id, device_index=1, wanted={Kind.IPV4: 2}),)
        assert decided.shortage.startswith("subnet: 2 more")

    def test_interfaces_share_what_a_subnet_has(self) -> None:
        """Two interfaces in one subnet together ask for no more than it has free."""
        seen = view(interface(0, count=3), interface(1, count=3), pods=12, subnets=(subnet(free=3),))

        assert plan(seen).actions == (
            Assign(interface=interface(0).id, count=2),
            Assign(interface=interface(1).id, count=1),
        )

    def test_new_interfaces_share_what_a_subnet_has(self) -> None:
        """Nine free: the first new interface takes six with its own address, the second the other three."""
        decided = plan(view(interface_policy=InterfacePolicy(), pods=40, subnets=(subnet(free=9),)))

        assert decided.actions == (
            Create(subnet=subnet().id, device_index=1, wanted={Kind.IPV4: 5}),
            Create(subnet=subnet().id, device_index=2, wanted={Kind.IPV4: 2}),
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

        assert plan(seen).actions == (Create(subnet=subnet().id, device_index=2, wanted={Kind.IPV4: 3}),)

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


class TestPrefixes:
    """The same machine with prefixes: each place takes a /28 of sixteen addresses."""

    def test_whole_prefixes_are_asked_for(self) -> None:
        """Nine pods want half a prefix spare, so two whole ones, on the interface that is there."""
        decided = plan(view(pods=9, policy=PREFIX))

        assert decided.target == 32
        assert decided.actions == (Assign(interface=interface(0).id, kind=Kind.IPV4_PREFIX, count=2),)

    def test_an_interface_is_made_with_its_prefixes(self) -> None:
        """What does not fit comes with a new interface: 120 pods want eight prefixes, five of them fit."""
        decided = plan(view(pods=120, policy=PREFIX))

        assert decided.target == 128
        assert decided.actions == (
            Assign(interface=interface(0).id, kind=Kind.IPV4_PREFIX, count=5),
            Create(subnet=subnet().id, device_index=1, wanted={Kind.IPV4_PREFIX: 3}),
        )

    def test_single_addresses_take_the_place_of_prefixes(self) -> None:
        """With three single addresses on the primary two prefixes fit, and all of it is counted."""
        decided = plan(view(interface(0, count=3), pods=60, policy=PREFIX))

        assert decided.usable == 3
        assert decided.actions[0] == Assign(interface=interface(0).id, kind=Kind.IPV4_PREFIX, count=2)
        assert decided.room == 3 + 2 * 16 + 10 * 16 - 60

    def test_auto_takes_single_addresses_where_no_block_is_whole(self) -> None:
        """A subnet without a whole block gives a batch of single addresses; a new interface elsewhere a prefix."""
        here, there = subnet("subnet-a"), subnet("subnet-b")
        broken = {here.id: 0}

        alone = plan(view(policy=AUTO, whole_blocks=broken))
        other = plan(view(interface(0, count=5), pods=5, policy=AUTO, subnets=(there, here), whole_blocks=broken))

        assert alone.actions == (Assign(interface=interface(0).id, count=4),)
        assert other.actions == (Create(subnet=there.id, device_index=1, wanted={Kind.IPV4_PREFIX: 1}),)

    def test_auto_on_a_type_without_prefixes(self) -> None:
        """A machine that cannot have prefixes gets single addresses."""
        decided = plan(view(policy=AUTO, limits=replace(T3_MEDIUM, prefixes=False)))

        assert decided.actions == (Assign(interface=interface(0).id, count=4),)

    def test_auto_returns_to_prefixes(self) -> None:
        """Once there are whole blocks again a prefix is taken, and the single addresses are what goes."""
        full = view(interface(0, count=4), pods=3, policy=AUTO)
        decided = plan(full)
        after = replace(carried_out(full, decided), pods=2, surplus_since=LONG_AGO)

        assert decided.actions == (Assign(interface=interface(0).id, kind=Kind.IPV4_PREFIX, count=1),)
        assert plan(after).actions == (giving(0, addresses(0, 4)),)

    def test_a_call_asks_for_no_more_blocks_than_there_may_be(self) -> None:
        """After a refusal fewer are asked for at once."""
        decided = plan(view(pods=60, policy=PREFIX, whole_blocks={subnet().id: 2}))

        assert decided.actions[0] == Assign(interface=interface(0).id, kind=Kind.IPV4_PREFIX, count=2)

    def test_prefixes_only_and_no_block(self) -> None:
        """Mode prefix asks for nothing where no block is whole, and says where and what to do."""
        decided = plan(view(pods=3, policy=PREFIX, whole_blocks={subnet().id: 0}))

        assert decided.actions == ()
        assert decided.shortage.startswith("subnet: 16 more addresses are wanted")
        assert "whole block of 16 free (asked: subnet-a); reserve blocks" in decided.shortage

    def test_prefixes_only_and_a_type_without(self) -> None:
        """Mode prefix on a machine that cannot have them is said at once."""
        decided = plan(view(policy=PREFIX, limits=replace(T3_MEDIUM, prefixes=False)))

        assert decided.actions == ()
        assert decided.shortage.startswith("instance: t3.medium cannot have prefixes")

    def test_the_least_used_prefix_is_drained(self) -> None:
        """One prefix is surplus: the one with one pod goes, not those with two and three; its free addresses are
        fenced.
        """
        uses = {block(0, 0): 2, block(0, 1): 1, block(0, 2): 3}
        held = frozenset(prefix[number] for prefix, count in uses.items() for number in range(count))
        seen = view(interface(0, blocks=3), pods=6, held=held, policy=PREFIX, surplus_since=LONG_AGO)

        assert plan(seen).actions == (
            Release(
                interface=interface(0).id,
                items=frozenset({block(0, 1)}),
                fence=frozenset(block(0, 1)[number] for number in range(1, 16)),
            ),
        )

    def test_what_pods_leave_of_a_draining_prefix_follows(self) -> None:
        """The address a pod left meanwhile is fenced as well, without another delay; then the prefix is whole."""
        left = block(0, 1)[0]
        seen = view(
            interface(0, blocks=2),
            pods=1,
            held=frozenset({block(0, 0)[0]}),
            leaving=frozenset(block(0, 1)[number] for number in range(1, 16)),
            policy=PREFIX,
        )

        assert plan(seen).actions == (
            Release(interface=interface(0).id, items=frozenset({block(0, 1)}), fence=frozenset({left})),
        )
        assert block(0, 1) not in carried_out(seen, plan(seen)).instance.interfaces[0].prefixes

    def test_a_draining_prefix_that_is_needed_stays(self) -> None:
        """Pods came back while a prefix drained: what is left of it serves them, for there is no place for another."""
        limits = Limits(interfaces=1, ipv4_per_interface=2, ipv6_per_interface=0, prefixes=True)
        leaving = frozenset({block(0, 0)[0]})
        seen = view(interface(0, blocks=1), cooling=1, leaving=leaving, limits=limits)

        assert plan(seen).usable == 15
        assert plan(seen).actions == ()

    def test_no_prefix_goes_that_is_needed(self) -> None:
        """Fifteen surplus addresses are no prefix: all stay."""
        policy = AddressPolicy(mode="prefix", buffer=0.0, max_idle=1)
        seen = view(interface(0, blocks=2), pods=17, policy=policy, surplus_since=LONG_AGO)

        assert plan(seen).actions == ()


class TestFamilies:
    """IPv6 beside IPv4, or alone."""

    def test_both_families_come_with_the_interface(self) -> None:
        """A new interface carries one IPv6 address for each IPv4 address, or one prefix for all of them."""
        single = AddressPolicy(families=["ipv4", "ipv6"])
        auto = AddressPolicy(families=["ipv4", "ipv6"], mode="auto")

        assert plan(view(policy=single, interface_policy=InterfacePolicy())).actions == (
            Create(subnet=subnet().id, device_index=1, wanted={Kind.IPV4: 4, Kind.IPV6: 4}),
        )
        assert plan(view(policy=auto, interface_policy=InterfacePolicy())).actions == (
            Create(subnet=subnet().id, device_index=1, wanted={Kind.IPV4_PREFIX: 1, Kind.IPV6_PREFIX: 1}),
        )

    def test_what_follows_is_brought_up_where_it_lacks(self) -> None:
        """Four IPv4 addresses and one IPv6 address serve one pod; three more of IPv6 are asked for, none of IPv4."""
        decided = plan(view(interface(0, count=4, ipv6=1), policy=AddressPolicy(families=["ipv4", "ipv6"])))

        assert decided.usable == 1
        assert decided.actions == (Assign(interface=interface(0).id, kind=Kind.IPV6, count=3),)

    def test_growth_keeps_them_together(self) -> None:
        """Four more pods: as many of the one as of the other, on the same interfaces."""
        decided = plan(view(interface(0, count=4, ipv6=4), pods=4, policy=AddressPolicy(families=["ipv4", "ipv6"])))

        assert decided.actions == (
            Assign(interface=interface(0).id, kind=Kind.IPV4, count=1),
            Assign(interface=interface(0).id, kind=Kind.IPV6, count=1),
            Create(subnet=subnet().id, device_index=1, wanted={Kind.IPV4: 3, Kind.IPV6: 3}),
        )

    def test_what_followed_goes_after_what_led(self) -> None:
        """Two IPv4 addresses are left beside five of IPv6: three of these are idle and go."""
        seen = view(interface(0, count=4, ipv6=7), policy=AddressPolicy(families=["ipv4", "ipv6"]))

        assert plan(seen).actions == (giving(0, addresses6(0, 3, start=5)),)

    def test_an_ipv6_prefix_goes_with_its_interface(self) -> None:
        """An interface without IPv4 addresses for pods goes with its IPv6 prefix, unless a pod has one of it."""
        policy = AddressPolicy(families=["ipv4", "ipv6"], mode="auto")
        seen = view(interface(0, blocks=1, blocks6=1), interface(1, blocks6=1), policy=policy)

        assert plan(seen).actions == (Delete(interface=interface(1).id),)
        assert plan(replace(seen, held=frozenset({block6(1)[5]}))).actions == ()

    def test_ipv6_alone_takes_one_prefix(self) -> None:
        """One prefix of a thousand addresses serves whatever a node runs."""
        policy = AddressPolicy(families=["ipv6"], mode="prefix")

        assert plan(view(policy=policy)).actions == (Assign(interface=interface(0).id, kind=Kind.IPV6_PREFIX, count=1),)
        assert plan(view(interface(0, blocks6=1), pods=110, policy=policy)).actions == ()

    def test_ipv6_needs_no_ipv4_of_the_subnet(self) -> None:
        """A subnet without a free IPv4 address still gives IPv6 addresses."""
        policy = AddressPolicy(families=["ipv6"])

        assert plan(view(policy=policy, subnets=())).actions == (
            Assign(interface=interface(0).id, kind=Kind.IPV6, count=4),
        )

    def test_a_subnet_without_ipv6(self) -> None:
        """Nothing is asked of a subnet that has no IPv6 block, and the shortage names it."""
        bare = subnet(ipv6=False)
        seen = replace(view(policy=AddressPolicy(families=["ipv4", "ipv6"]), subnets=(bare,)), homes={bare.id: bare})

        assert plan(seen).actions == ()
        assert plan(seen).shortage.startswith("subnet: none of subnet-a has an IPv6 block")


class TestPressure:
    """What a node does where addresses are scarce."""

    def test_low_takes_one_at_a_time(self) -> None:
        """Three pods in a subnet that runs low want one spare address, not a batch; in auto mode no prefix."""
        low = {subnet().id: Pressure.LOW}

        assert plan(view(pods=3, pressures=low)).target == 4
        assert plan(view(pods=3, pressures=low, policy=AUTO)).actions == (Assign(interface=interface(0).id, count=4),)

    def test_empty_gives_back_what_is_idle_at_once(self) -> None:
        """In an empty subnet everything idle goes without delay, on all interfaces there; elsewhere nothing does."""
        held = addresses(0, 1) | addresses(1, 1)
        seen = view(
            interface(0, count=3),
            interface(1, count=4),
            interface(2, count=4, subnet="subnet-b"),
            pods=2,
            held=held,
            pressures={subnet().id: Pressure.EMPTY},
        )

        assert plan(seen).actions == (
            giving(1, addresses(1, 3, start=2)),
            giving(0, addresses(0, 2, start=2)),
        )
        assert plan(replace(seen, pressures={})).actions == ()

    def test_prefixes_drain_at_once_where_the_subnet_is_empty(self) -> None:
        """Two prefixes with a pod each: one is enough, the other one drains without delay."""
        held = frozenset({block(0, 0)[0], block(0, 1)[0]})
        seen = view(interface(0, blocks=2), pods=2, held=held, policy=PREFIX)

        assert plan(seen).actions == ()
        assert isinstance(plan(replace(seen, pressures={subnet().id: Pressure.EMPTY})).actions[0], Release)

    def test_an_empty_subnet_does_not_hold_back_growth_elsewhere(self) -> None:
        """With nothing idle in the empty subnet the node keeps its usual spare addresses, from the other subnet."""
        seen = view(
            interface(0, count=2),
            pods=2,
            held=addresses(0, 2),
            subnets=(subnet("subnet-b"),),
            pressures={subnet().id: Pressure.EMPTY},
        )

        assert plan(seen).actions == (Create(subnet=SubnetId("subnet-b"), device_index=1, wanted={Kind.IPV4: 2}),)

    def test_what_an_empty_subnet_got_back_is_not_asked_of_it_again(self) -> None:
        """Spare addresses come from the other subnet, with a new interface, though one in the empty subnet has places
        and the subnet a few addresses; what a pod needs is taken where it is quickest.
        """
        seen = view(
            interface(0, count=2),
            pods=2,
            held=addresses(0, 2),
            subnets=(subnet(free=5), subnet("subnet-b")),
            pressures={subnet().id: Pressure.EMPTY},
        )

        assert plan(seen).actions == (Create(subnet=SubnetId("subnet-b"), device_index=1, wanted={Kind.IPV4: 2}),)
        assert plan(replace(seen, pods=3)).actions[0] == Assign(interface=interface(0).id, count=1)

    def test_no_whole_prefix_is_kept_for_one_pod_in_an_empty_subnet(self) -> None:
        """A pod that has a single address needs no prefix: the idle one goes, and is not asked for again."""
        seen = view(
            interface(0, count=1, blocks=1),
            pods=1,
            held=addresses(0, 1),
            policy=PREFIX,
            pressures={subnet().id: Pressure.EMPTY},
        )
        after = carried_out(seen, plan(seen))

        assert after.instance.interfaces[0].prefixes == frozenset()
        assert plan(after).actions == ()

    def test_the_minimum_stays(self) -> None:
        """What the administrator wants held is no idle address."""
        policy = AddressPolicy(minimum=3)
        seen = view(interface(0, count=4), policy=policy, pressures={subnet().id: Pressure.EMPTY})

        assert plan(seen).actions == (giving(0, addresses(0, 1, start=4)),)


class TestNode:
    """What the Node object says."""

    def test_no_more_than_the_kubelet_runs(self) -> None:
        """A kubelet that runs eight pods needs eight addresses, in prefixes one."""
        assert plan(view(pods=8, max_pods=8)).target == 8
        assert plan(view(pods=8, max_pods=8)).shortage == ""
        assert plan(view(pods=12, max_pods=16, policy=PREFIX)).target == 16

    def test_a_cordoned_node_gets_what_its_pods_need(self) -> None:
        """Two of three pods have an address: one more is asked for. Nothing is given back, however long idle."""
        idle = view(interface(0, count=5), interface(1), cordoned=True, surplus_since=LONG_AGO)

        assert plan(view(interface(0, count=2), pods=3, cordoned=True)).actions == (
            Assign(interface=interface(0).id, count=1),
        )
        assert plan(idle).actions == ()


class TestCards:
    """Machines with several network cards."""

    def test_cards_are_filled_one_after_the_other(self) -> None:
        """Two interfaces a card: index 1 of the first, then 1 and 2 of the second."""
        limits = Limits(interfaces=4, ipv4_per_interface=2, ipv6_per_interface=0, cards=(2, 2))
        decided = plan(view(pods=20, limits=limits))

        assert [action for action in decided.actions if isinstance(action, Create)] == [
            Create(subnet=subnet().id, device_index=1, wanted={Kind.IPV4: 1}),
            Create(subnet=subnet().id, network_card=1, device_index=1, wanted={Kind.IPV4: 1}),
            Create(subnet=subnet().id, network_card=1, device_index=2, wanted={Kind.IPV4: 1}),
        ]

    def test_a_full_card_is_passed_over(self) -> None:
        """Somebody's interface on the second card leaves one place there."""
        limits = Limits(interfaces=4, ipv4_per_interface=2, ipv6_per_interface=0, cards=(2, 2))
        seen = view(interface(0), interface(1), interface(1, card=1, tagged={}), pods=20, limits=limits)

        assert [action for action in plan(seen).actions if isinstance(action, Create)] == [
            Create(subnet=subnet().id, network_card=1, device_index=2, wanted={Kind.IPV4: 1}),
        ]

    def test_what_a_service_runs_is_left_alone(self) -> None:
        """An interface with our tag that a service of the cloud manages is neither filled nor deleted."""
        special = replace(interface(1), special=True)

        assert plan(view(interface(0, count=4), special)).actions == ()
        assert all(
            not isinstance(action, Assign) or action.interface != special.id
            for action in plan(view(interface(0, count=5), special, pods=9)).actions
        )

    def test_an_account_without_quota(self) -> None:
        """What is there is filled, no interface is made, and neither shows as room; what pods lack is the account's
        fault, unless the machine could not have more anyway.
        """
        full = plan(view(interface(0, count=4), pods=9, account_full=True))
        alone = plan(view(interface(0, count=5), pods=5, account_full=True, policy=AddressPolicy(buffer=0)))
        whole = plan(view(*(interface(index, count=5) for index in range(3)), pods=16, account_full=True))

        assert full.actions == (Assign(interface=interface(0).id, count=1),)
        assert (full.room, full.shortage.partition(":")[0]) == (0, "account")
        assert (alone.room, alone.shortage.partition(":")[0]) == (0, "account")
        assert whole.shortage.partition(":")[0] == "instance"


class TestProperties:
    """What holds for any node."""

    @given(node_views())
    def test_never_above_limits(self, seen: NodeView) -> None:
        """After a plan no interface it grew has more items of a family, and the node no more interfaces, than allowed,
        none more where the account has none; prefixes only where the type can have them.
        """
        decided = plan(seen)
        before = {item.id: item for item in seen.instance.interfaces}
        after = carried_out(seen, decided).instance.interfaces
        created = [action for action in decided.actions if isinstance(action, Create)]
        policy = seen.interface_policy
        foreign = len(after) - len([i for i in after if i.primary or i.tags.get(tags.CLUSTER) == CLUSTER])
        limits = {4: seen.limits.ipv4_per_interface - 1, 6: seen.limits.ipv6_per_interface}

        for item in after:
            new = items.of_interface(item) - (items.of_interface(before[item.id]) if item.id in before else frozenset())
            for family in {entry.version for entry in new}:
                assert sum(entry.version == family for entry in items.of_interface(item)) <= limits[family]
            assert seen.limits.prefixes or not any(kind_of(entry).is_prefix for entry in new)
        assert all(count > 0 for action in created for count in action.wanted.values())
        assert not created or not seen.account_full
        assert not created or len(after) + max(policy.reserved - foreign, 0) <= seen.limits.interfaces
        assert not created or not policy.max or len(after) - foreign <= policy.max

    @given(node_views())
    def test_subnets_give_what_they_have(self, seen: NodeView) -> None:
        """All calls of a plan together ask no subnet for more IPv4 addresses than it has free, and none that is not a
        candidate; no call asks for more prefixes than there may be.
        """
        asked: Counter[SubnetId] = Counter()
        where = {item.id: item.subnet for item in seen.instance.interfaces}
        for action in growth(plan(seen)):
            home = where[action.interface] if isinstance(action, Assign) else action.subnet
            wanted = {action.kind: action.count} if isinstance(action, Assign) else action.wanted
            taken = sum(count * kind.size for kind, count in wanted.items() if kind.family == 4)
            if taken or isinstance(action, Create):
                asked[home] += taken + isinstance(action, Create)
            assert wanted.get(Kind.IPV4_PREFIX, 0) <= seen.whole_blocks.get(home, 99)
        free = {item.id: item.free for item in seen.subnets}

        assert asked.keys() <= free.keys()
        assert all((limit := free[name]) is None or count <= limit for name, count in asked.items())

    @given(node_views())
    def test_kinds_are_those_of_the_policy(self, seen: NodeView) -> None:
        """Nothing of a family that pods do not get; no prefix in mode secondaryIP, nothing else in mode prefix."""
        kinds = {
            kind
            for action in growth(plan(seen))
            for kind in ((action.kind,) if isinstance(action, Assign) else action.wanted)
        }

        assert {f"ipv{kind.family}" for kind in kinds} <= set(seen.addresses.families)
        assert seen.addresses.mode != "secondaryIP" or not any(kind.is_prefix for kind in kinds)
        assert seen.addresses.mode != "prefix" or all(kind.is_prefix for kind in kinds)

    @given(node_views())
    def test_what_follows_keeps_up(self, seen: NodeView) -> None:
        """With two families an interface that a plan fills or makes has then as many pod addresses of the second, as
        far as it has places.
        """
        decided = plan(seen)
        grown = {action.interface for action in decided.actions if isinstance(action, Assign)}
        old = {item.id for item in seen.instance.interfaces}
        if len(seen.addresses.families) == 2:
            for item in carried_out(seen, decided).instance.interfaces:
                have = Counter[int]()
                for entry in items.of_interface(item):
                    have[entry.version] += kind_of(entry).size - items.count_in(entry, seen.leaving)
                full = sum(e.version == 6 for e in items.of_interface(item)) >= seen.limits.ipv6_per_interface
                assert (item.id in old and item.id not in grown) or have[6] >= have[4] or full

    @given(node_views())
    def test_held_and_foreign_are_never_touched(self, seen: NodeView) -> None:
        """No action takes what is held or leaving, or names an interface that is not ours or (with usePrimary) the
        primary; a prefix is named as a whole.
        """
        decided = plan(seen)
        named = {action.interface for action in decided.actions if not isinstance(action, Create)}
        primary = {item.id for item in seen.instance.interfaces if item.primary and seen.interface_policy.use_primary}
        released = [action for action in decided.actions if isinstance(action, Release)]
        deleted = [action.interface for action in decided.actions if isinstance(action, Delete)]

        assert named <= ours(seen).keys() | primary
        for action in released:
            assert not action.fence & (seen.held | seen.leaving)
            assert action.fence <= items.addresses(action.items)
            if not action.fence:
                assert all(kind_of(item) is Kind.IPV6_PREFIX for item in action.items)
                continue
            assert not items.addresses(action.items) - action.fence - seen.held - seen.leaving
        for id_ in deleted:
            assert not any(items.count_in(item, seen.held) for item in items.of_interface(ours(seen)[id_]))
            assert not ours(seen)[id_].addresses

    @given(node_views())
    def test_growth_settles_at_once(self, seen: NodeView) -> None:
        """Once all of a plan is done, none of the next asks for more, unless calls are bounded by what blocks there may
        be; only what goes back to an empty subnet may be asked for elsewhere, once.
        """
        grown: list[bool] = []
        empty = Pressure.EMPTY in seen.pressures.values()
        for _ in range(6):
            seen = carried_out(seen, plan(seen))
            seen = replace(seen, now=seen.now + 400)
            grown.append(growth(plan(seen)) != [])

        assert sum(grown) <= empty or seen.whole_blocks

    @given(node_views())
    def test_demand_that_rises_is_met_at_once(self, seen: NodeView) -> None:
        """One more pod never leads to fewer addresses being asked for, and all of the target is, if nothing is
        short.
        """
        more = replace(seen, pods=seen.pods + 1)
        decided = plan(more)

        assert granted(more, decided) >= granted(seen, plan(seen))
        assert decided.shortage or granted(more, decided) >= decided.lack

    @given(node_views())
    def test_release_waits_for_its_delay(self, seen: NodeView) -> None:
        """No release begins before the surplus is as old as the delay, except where a subnet is empty."""
        young = replace(
            seen,
            surplus_since=seen.now,
            pressures={},
            leaving=frozenset(),
            addresses=msgspec.structs.replace(seen.addresses, families=["ipv4"]),
        )

        assert seen.addresses.release_delay_seconds == 0 or not any(
            isinstance(action, Release) for action in plan(young).actions
        )

    @given(node_views(), st.floats(0, 1))
    def test_surplus_is_never_left_without_a_word(self, seen: NodeView, share: float) -> None:
        """Surplus that goes later is told with when: whoever plans anew then, and not before, may let it go."""
        decided = plan(seen)
        if decided.ripe_seconds is None:
            return
        since = seen.now if seen.surplus_since is None else seen.surplus_since
        before = replace(seen, surplus_since=since, now=seen.now + share * decided.ripe_seconds)
        then = replace(seen, surplus_since=since, now=seen.now + decided.ripe_seconds + 0.001)

        assert decided.surplus
        assert plan(before).ripe_seconds is not None or share == 1
        assert plan(then).ripe_seconds is None

    @given(node_views())
    def test_release_leaves_what_is_needed(self, seen: NodeView) -> None:
        """After a release the node still has its target, its minimum and what its pods use, as far as it had them."""
        decided = plan(seen)
        family = min(4 if name == "ipv4" else 6 for name in seen.addresses.families)
        going = sum(
            kind_of(item).size - items.count_in(item, seen.leaving)
            for action in decided.actions
            if isinstance(action, Release)
            for item in action.items
            if item.version == family and not items.count_in(item, seen.leaving)
        )
        empty = Pressure.EMPTY in seen.pressures.values()
        needed = seen.pods + seen.cooling if empty else decided.target

        assert going == 0 or decided.usable - going >= min(max(needed, seen.addresses.minimum), decided.target)

    @given(node_views())
    def test_one_step_at_a_time(self, seen: NodeView) -> None:
        """Where no subnet is empty, a plan begins to release at most one batch or one prefix of what leads, and none
        while the agent has yet to answer.
        """
        calm = replace(seen, pressures={})
        family = min(4 if name == "ipv4" else 6 for name in seen.addresses.families)
        begun = [
            item
            for action in plan(calm).actions
            if isinstance(action, Release)
            for item in action.items
            if item.version == family and not items.count_in(item, seen.leaving)
        ]

        assert len(begun) <= (1 if any(kind_of(item).is_prefix for item in begun) else seen.addresses.batch)
        assert not begun or not seen.asking

    @given(node_views())
    def test_the_least_used_prefix_goes_first(self, seen: NodeView) -> None:
        """No prefix that pods use more is drained before one that they use less."""
        calm = replace(seen, pressures={}, leaving=frozenset())
        usable = {item.id: item for item in seen.instance.interfaces if item.state is InterfaceState.IN_USE}
        others = [
            items.count_in(prefix, seen.held)
            for id_, item in usable.items()
            if id_ in ours(seen) or (item.primary and seen.interface_policy.use_primary)
            for prefix in item.prefixes
            if prefix.version == 4
        ]
        for action in plan(calm).actions:
            for item in action.items if isinstance(action, Release) else ():
                if kind_of(item) is Kind.IPV4_PREFIX:
                    assert items.count_in(item, seen.held) == min(others)

    @given(node_views())
    def test_one_action_per_interface(self, seen: NodeView) -> None:
        """A plan names no kind of an interface twice and never grows and shrinks at once."""
        decided = plan(seen)
        named = [
            (action.interface, action.kind if isinstance(action, Assign) else None)
            for action in decided.actions
            if not isinstance(action, Create)
        ]

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
        without = tuple(
            replace(item, addresses=frozenset(), prefixes=frozenset()) if item.primary else item
            for item in seen.instance.interfaces
        )
        decided = plan(alone)
        named = {action.interface for action in decided.actions if not isinstance(action, Create)}

        assert interface(0).id not in named
        assert decided == plan(replace(alone, instance=replace(alone.instance, interfaces=without)))

    @given(node_views())
    def test_the_kubelet_bounds_the_target(self, seen: NodeView) -> None:
        """The target is less than one prefix above what the kubelet runs, or what is bound to it already."""
        decided = plan(seen)
        grain = 1024 if seen.addresses.families == ["ipv6"] else 16

        assert seen.max_pods is None or decided.target < max(seen.max_pods, seen.pods) + grain

    @given(node_views())
    def test_a_cordoned_node_is_left_alone(self, seen: NodeView) -> None:
        """No address beyond what its pods need (rounded up to a prefix), and nothing is taken away."""
        calm = replace(seen, cordoned=True)
        decided = plan(calm)
        grain = 1024 if seen.addresses.families == ["ipv6"] else 16

        assert list(decided.actions) == growth(decided)
        assert decided.target < max(seen.pods + seen.cooling, 1) + grain

    @given(node_views())
    def test_nothing_idle_stays_in_an_empty_subnet(self, seen: NodeView) -> None:
        """Plans that are carried out leave no idle single address in an empty subnet beyond what the node needs."""
        where = SubnetId("subnet-a")
        seen = replace(
            seen,
            instance=replace(
                seen.instance, interfaces=tuple(replace(i, subnet=where) for i in seen.instance.interfaces)
            ),
            pressures={where: Pressure.EMPTY},
            addresses=msgspec.structs.replace(seen.addresses, families=["ipv4"], mode="secondaryIP", minimum=0),
            cordoned=False,
            leaving=frozenset(),
            subnets=(),
        )
        after = plan(carried_out(seen, plan(seen)))
        singles = frozenset(
            address
            for item in carried_out(seen, plan(seen)).instance.interfaces
            if item.state is InterfaceState.IN_USE
            and (item.id in ours(seen) or (item.primary and seen.interface_policy.use_primary))
            for address in item.addresses
            if address.version == 4
        )

        assert after.usable <= seen.pods + seen.cooling or not singles - seen.held

    @given(node_views())
    @settings(max_examples=60)
    def test_an_idle_node_gives_everything_back(self, seen: NodeView) -> None:
        """With no pod and nothing held, repeated plans end with the target (to a prefix) and without an empty interface
        of ours.
        """
        seen = replace(
            seen, pods=0, cooling=0, held=frozenset(), leaving=frozenset(), asking=False, cordoned=False, pressures={}
        )
        quiet = 0
        for _ in range(100):
            decided = plan(seen)
            quiet = 0 if decided.actions else quiet + 1
            if quiet > 2:
                break  # the surplus, if there is one, is old enough
            seen = carried_out(replace(seen, now=seen.now + 400), decided)
        else:
            raise AssertionError("plans do not come to an end")
        singles = any(
            address.version == 4
            for item in ours(seen).values()
            if item.state is InterfaceState.IN_USE
            for address in item.addresses
        )
        idle = [
            item
            for item in ours(seen).values()
            if item.state is InterfaceState.IN_USE and not items.of_interface(item) and not growth(decided)
        ]
        grain = 0 if singles or seen.addresses.families == ["ipv6"] else 16

        if "ipv4" in seen.addresses.families:
            whole = max(decided.target, 16 if seen.addresses.mode == "auto" else 0, seen.addresses.max_idle)
            assert decided.usable < whole + max(grain, 1) or decided.lack
        assert idle == [] or decided.lack
