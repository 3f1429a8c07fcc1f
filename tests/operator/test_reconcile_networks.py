"""What surrounds a node's interfaces: subnets meant for pods, ways out, security groups, kept blocks. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network

import pytest

from support.cloud_values import CLUSTER, instance, interface
from support.cloud_values import subnet as a_subnet
from underlay.core.api.networkprovider import (
    AddressPolicy,
    InterfacePolicy,
    SecurityGroupSelector,
    SpiderNetworkProviderSpec,
    SubnetReservation,
    SubnetSelector,
)
from underlay.core.cloud import tags
from underlay.core.cloud.model import Egress, InterfaceState, Reservation, Subnet, Use
from underlay.core.errors import InvalidInput
from underlay.core.identity import ReservationId, SubnetId
from underlay.operator.reconcile import egress, groups, reservations, subnets
from underlay.operator.reconcile.reservations import Wish

ROLE = "kubernetes.io/role/cni"
NODE = instance(interface(0, subnet="own"))


@pytest.mark.parametrize(
    ("selector", "tagged", "expected"),
    [
        pytest.param(SubnetSelector(), {}, {"own"}, id="the primary interface's own"),
        pytest.param(SubnetSelector(), {"other": "1"}, {"own", "other"}, id="and those for pods beside it"),
        pytest.param(SubnetSelector(), {"own": "0", "other": "1"}, {"other"}, id="but not the own that is for none"),
        pytest.param(SubnetSelector(), {"own": "0"}, set(), id="then none"),
        pytest.param(SubnetSelector(), {"other": "0"}, {"own"}, id="another that is not for pods"),
        pytest.param(SubnetSelector(), {"far": "1", "foreign": "1"}, {"own"}, id="other zones and networks never"),
        pytest.param(SubnetSelector(ids=["other"]), {"other": "0", "own": "1"}, {"other"}, id="ids rule"),
        pytest.param(SubnetSelector(tags={ROLE: "x"}), {"other": "x", "far": "x"}, {"other"}, id="tags rule"),
    ],
)
def test_subnets_meant_for_pods(selector: SubnetSelector, tagged: Mapping[str, str], expected: set[str]) -> None:
    """By ids, by tags in the node's zone and network, or discovered there by their role."""
    places = {
        "own": a_subnet("own"),
        "other": a_subnet("other"),
        "far": a_subnet("far", zone="eu-central-1b"),
        "foreign": replace(a_subnet("foreign"), network="vpc-2"),
    }
    offered = [replace(item, tags={ROLE: tagged[name]} if name in tagged else {}) for name, item in places.items()]

    assert {item.id for item in offered if subnets.fits(item, selector, NODE)} == expected


def _stranded(spec: SpiderNetworkProviderSpec, **ways: Egress | None) -> list[str]:
    offered = [replace(a_subnet(name), egress=way, tags={"pods": name}) for name, way in ways.items()]
    text = egress.stranded(spec, offered)
    return text.partition(":")[0].split(", ") if text else []


def test_pods_without_a_way_out_are_told_by_subnet() -> None:
    """An internet gateway without NAT serves no secondary address; unknown, NAT or no way is no news."""
    spec = SpiderNetworkProviderSpec(driver="aws")
    found = _stranded(spec, a=Egress.NAT, b=Egress.INTERNET_GATEWAY, c=None, d=Egress.NONE, e=Egress.INTERNET_GATEWAY)

    assert found == ["b", "e"]
    assert _stranded(spec, a=Egress.NAT, c=None, d=Egress.NONE, f=Egress.OTHER) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (SpiderNetworkProviderSpec(driver="aws", subnets=SubnetSelector(ids=["b"])), ["b"]),
        (SpiderNetworkProviderSpec(driver="aws", subnets=SubnetSelector(tags={"pods": "b"})), ["b"]),
        (
            SpiderNetworkProviderSpec(
                driver="aws", subnets=SubnetSelector(ids=["b"]), interfaces=InterfacePolicy(use_primary=True)
            ),
            ["a", "b"],
        ),
        (SpiderNetworkProviderSpec(driver="aws", addresses=AddressPolicy(families=["ipv6"])), []),
    ],
)
def test_only_subnets_of_pods_are_told(spec: SpiderNetworkProviderSpec, expected: list[str]) -> None:
    """The nodes' own subnet counts if pods may have its addresses; IPv6 needs no NAT."""
    assert _stranded(spec, a=Egress.INTERNET_GATEWAY, b=Egress.INTERNET_GATEWAY) == expected


def test_the_condition_appears_with_the_trouble_and_stays() -> None:
    """Nothing is said while nothing was ever wrong; put right, it is True."""
    spec = SpiderNetworkProviderSpec(driver="aws")
    fine, wrong = a_subnet("a"), replace(a_subnet("b"), egress=Egress.INTERNET_GATEWAY)
    none = egress.told([], spec, [fine], now="t0", generation=1)
    told = egress.told(none, spec, [fine, wrong], now="t1", generation=1)
    mended = egress.told(told, spec, [fine], now="t2", generation=1)

    assert none == []
    assert [(item.type, item.status) for item in told] == [("PodEgress", "False")]
    assert "b" in told[0].message
    assert "NAT gateway" in told[0].message
    assert [(item.type, item.status) for item in mended] == [("PodEgress", "True")]


def test_security_groups_by_ids_tags_or_the_primary() -> None:
    """In this order; tags that no group has are refused by the field's name."""
    node = instance(replace(interface(0), security_groups=("sg-p",)))

    assert groups.wanted(SecurityGroupSelector(ids=["sg-a"], tags={"x": "y"}), ["sg-t"], node) == ("sg-a",)
    assert groups.wanted(SecurityGroupSelector(tags={"x": "y"}), ["sg-t"], node) == ("sg-t",)
    assert groups.wanted(SecurityGroupSelector(), [], node) == ("sg-p",)
    with pytest.raises(InvalidInput, match=r"spec\.securityGroups\.tags"):
        groups.wanted(SecurityGroupSelector(tags={"x": "y"}), [], node)


def test_only_own_interfaces_get_other_groups() -> None:
    """Not the primary, others', special ones, none that is changing, and none that has them in another order."""
    old = ("sg-1",)
    node = instance(
        replace(interface(0, tagged={tags.CLUSTER: CLUSTER}), security_groups=old),
        replace(interface(1), security_groups=old),
        replace(interface(2, tagged={}), security_groups=old),
        replace(interface(3), security_groups=old, special=True),
        replace(interface(4, state=InterfaceState.ATTACHING), security_groups=old),
        replace(interface(5), security_groups=("sg-3", "sg-2")),
        replace(interface(6, tagged={tags.CLUSTER: "another"}), security_groups=old),
    )

    assert groups.differing(node, ("sg-2", "sg-3"), CLUSTER) == ("eni-1",)


def _home() -> Subnet:
    return replace(a_subnet("s"), cidrs=(ip_network("10.0.1.0/24"), ip_network("2001:db8::/64")), gateways=(None, None))


def test_blocks_find_their_subnet() -> None:
    """By where they lie, either family; those that lie in none are told."""
    blocks = reservations.parse(
        [
            SubnetReservation(cidr="10.0.1.64/26", use="prefix"),
            SubnetReservation(cidr="2001:db8:0:0:1::/80", use="fixed"),
            SubnetReservation(cidr="10.0.0.0/16", use="fixed"),
        ]
    )
    wishes, homeless = reservations.place(blocks, [_home()])

    assert set(wishes) == {
        Wish(SubnetId("s"), ip_network("10.0.1.64/26"), Use.PREFIX),
        Wish(SubnetId("s"), ip_network("2001:db8:0:0:1::/80"), Use.FIXED),
    }
    assert homeless == (ip_network("10.0.0.0/16"),)


def test_what_is_no_block_is_refused_by_name() -> None:
    """An address with bits beyond its mask is most likely a mistake."""
    asked = [SubnetReservation(cidr="10.0.1.64/26", use="prefix"), SubnetReservation(cidr="10.0.1.1/26", use="fixed")]

    with pytest.raises(InvalidInput, match=r"spec\.subnets\.reservations\[1\]\.cidr"):
        reservations.parse(asked)


def test_reservations_change_only_what_is_ours() -> None:
    """Ours that nobody wants goes, another use is dropped and made anew; others' stay, and serve; spared ones stay."""
    own, home = {tags.CLUSTER: CLUSTER}, SubnetId("s")

    def kept(number: int, use: Use, owner: Mapping[str, str]) -> Reservation:
        cidr = ip_network(f"10.0.1.{16 * number}/28")
        return Reservation(id=ReservationId(f"scr-{number}"), subnet=home, cidr=cidr, use=use, tags=owner)

    there = [
        kept(1, Use.PREFIX, own),
        kept(2, Use.PREFIX, own),
        kept(3, Use.PREFIX, own),
        kept(4, Use.PREFIX, {}),
        kept(5, Use.PREFIX, {tags.CLUSTER: "another"}),
        kept(6, Use.FIXED, {}),
        kept(7, Use.FIXED, own),
    ]
    wishes = [
        Wish(home, ip_network("10.0.1.16/28"), Use.PREFIX),
        Wish(home, ip_network("10.0.1.32/28"), Use.FIXED),
        Wish(home, ip_network("10.0.1.96/28"), Use.FIXED),
        Wish(home, ip_network("10.0.1.128/28"), Use.PREFIX),
    ]
    found = reservations.changes(wishes, there, CLUSTER, spared=[ip_network("10.0.1.112/28")])

    assert [item.id for item in found.drop] == ["scr-2", "scr-3"]
    assert list(found.make) == [wishes[1], wishes[3]]
