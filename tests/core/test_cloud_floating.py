"""How a fixed address comes to a node: the first way that is open, none that takes a place from a pod."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given

from support.cloud_values import CLUSTER, T3_MEDIUM, addresses, instance, interface, node_views, subnet
from underlay.core.api.networkprovider import InterfacePolicy
from underlay.core.cloud import items
from underlay.core.cloud.model import InstanceState, InterfaceState, IPAddress, NetworkInterface
from underlay.core.cloud.planning.actions import Assign, Delete, Release
from underlay.core.cloud.planning.floating import (
    Attach,
    Blocked,
    Bring,
    Ground,
    Here,
    MakeRoom,
    OnTheWay,
    Way,
    reserved,
    way,
)
from underlay.core.cloud.planning.plan import plan
from underlay.core.cloud.planning.slots import Slot
from underlay.core.cloud.planning.view import NodeView
from underlay.core.identity import InterfaceId

FIXED = IPv4Address("10.200.0.9")
NONE: frozenset[IPAddress] = frozenset()


def ground(
    *interfaces: NetworkInterface,
    use_primary: bool = True,
    most: int = 0,
    busy: frozenset[IPAddress] = NONE,
    leaving: frozenset[IPAddress] = NONE,
    state: InstanceState = InstanceState.RUNNING,
) -> Ground:
    """A t3.medium: three interfaces of five secondary addresses each."""
    return Ground(
        instance=instance(*interfaces, state=state),
        limits=T3_MEDIUM,
        cluster=CLUSTER,
        policy=InterfacePolicy(use_primary=use_primary, max=most),
        fixed=NONE,
        busy=busy,
        leaving=leaving,
    )


OTHER = interface(1, count=2, subnet="subnet-b")
FULL = interface(0, count=5)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(
            ground(replace(interface(0), addresses=frozenset({FIXED}))),
            Here(interface=InterfaceId("eni-0")),
            id="there",
        ),
        pytest.param(ground(interface(0, count=4), OTHER), Bring(interface=InterfaceId("eni-0")), id="a place"),
        pytest.param(ground(FULL, OTHER), Attach(subnet=subnet(), slot=Slot(0, 2)), id="full: another interface"),
        pytest.param(
            ground(interface(0), OTHER, use_primary=False),
            Attach(subnet=subnet(), slot=Slot(0, 2)),
            id="the primary is not for pods",
        ),
        pytest.param(
            ground(FULL, interface(1, state=InterfaceState.ATTACHING)),
            OnTheWay(interface=InterfaceId("eni-1"), what="interface eni-1 to be attached"),
            id="one is being attached",
        ),
        pytest.param(
            ground(FULL, OTHER, most=2, busy=addresses(0, 4)),
            MakeRoom(interface=InterfaceId("eni-0"), item=IPv4Address("10.0.0.5")),
            id="no more interfaces: an idle address goes",
        ),
        pytest.param(
            ground(FULL, OTHER, most=2, busy=addresses(0, 4), leaving=frozenset({IPv4Address("10.0.0.5")})),
            OnTheWay(interface=InterfaceId("eni-0"), what="a place on eni-0, where an address is released"),
            id="it is going",
        ),
        pytest.param(ground(FULL, OTHER, most=2, busy=addresses(0, 5)), "room:", id="all are used by pods"),
        pytest.param(ground(OTHER, most=1), "instance:", id="no interface of that subnet possible"),
        pytest.param(ground(interface(0), state=InstanceState.STOPPED), "instance:", id="the machine is stopped"),
    ],
)
def test_the_first_way_that_is_open(seen: Ground, expected: Way | str) -> None:
    """There, a free place, another interface, an idle address's place; else what is in the way, by its first word."""
    found = way(seen, FIXED, subnet())

    if isinstance(expected, str):
        assert isinstance(found, Blocked)
        assert found.why.startswith(expected)
    else:
        assert found == expected


def test_a_subnet_of_another_zone_is_no_way() -> None:
    """Cloud subnets are of one zone (EC2): the refusal names both."""
    found = way(ground(interface(0)), FIXED, subnet(zone="eu-central-1b"))

    assert isinstance(found, Blocked)
    assert found.why.startswith("zone:")
    assert "eu-central-1b" in found.why
    assert "eu-central-1a" in found.why


@given(seen=node_views())
def test_a_reserved_place_is_not_planned_away(seen: NodeView) -> None:
    """The node's own plan neither fills the place that a fixed address will take nor counts or releases it."""
    about = Ground(
        instance=seen.instance,
        limits=seen.limits,
        cluster=seen.cluster,
        policy=seen.interface_policy,
        fixed=NONE,
        busy=seen.held,
        leaving=seen.leaving,
    )
    found = way(about, FIXED, subnet())
    if not isinstance(found, Bring):
        return
    coming = replace(
        seen, instance=reserved(seen.instance, {FIXED: found.interface}, frozenset()), floating=frozenset({FIXED})
    )

    decided = plan(coming)

    before = next(item for item in seen.instance.interfaces if item.id == found.interface)
    for action in decided.actions:
        match action:
            case Assign(interface=where, kind=kind, count=count) if where == found.interface and kind.family == 4:
                taken = sum(item.version == 4 for item in items.of_interface(before))
                assert taken + 1 + count <= seen.limits.ipv4_per_interface - 1
            case Delete(interface=where):
                assert where != found.interface
            case Release(items=going):
                assert FIXED not in going
            case _:
                pass
    assert decided.usable <= plan(seen).usable
