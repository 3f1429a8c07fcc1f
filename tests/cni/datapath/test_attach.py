"""From a wish and facts to a plan: the objects of pod and host, in order."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from underlay.cni.datapath.attach import HostFacts, HostLink, Numbers, Want, plan
from underlay.cni.datapath.batches import arrange
from underlay.cni.datapath.coordinator import host_veth_name
from underlay.cni.datapath.model import Addr, Link, Neigh, NftTable, Peer, Route, Rule, Sysctl
from underlay.cni.datapath.plan import Create, SetUp
from underlay.core.errors import InvalidInput
from underlay.core.identity import Mac

MASTER = HostLink(index=3, name="eth1", mac=Mac("06:00:00:00:00:01"), mtu=9001, up=True)
FACTS = HostFacts(
    links={"eth1": MASTER},
    node_addresses=(ip_address("10.0.0.10"), ip_address("fd00::10")),
    service_cidrs=(ip_network("10.96.0.0/16"), ip_network("fd96::/112")),
    hijack_cidrs=(ip_network("169.254.20.10/32"),),
)
NUMBERS = Numbers(
    slave_index=101,
    pod_index=102,
    host_index=103,
    slave_mac=Mac("02:00:00:00:00:01"),
    pod_mac=Mac("02:00:00:00:00:02"),
    host_mac=Mac("02:00:00:00:00:03"),
)


def wish(**otherwise: object) -> Want:
    """A pod on one address of 10.0.1.0/24."""
    said = {
        "container_id": "0123456789abcdef",
        "ifname": "eth0",
        "netns": "/run/netns/pod",
        "kind": "macvlan",
        "master": "eth1",
        "addresses": (ip_interface("10.0.1.5/24"),),
        "gateways": (ip_address("10.0.1.1"),),
    }
    return Want(**(said | otherwise))  # type: ignore[arg-type]


def test_macvlan_pod() -> None:
    """The whole plan of a macvlan pod with its way to the node; tables, mark and priority are Spiderpool's."""
    made = plan(wish(), FACTS, NUMBERS)

    pod, node = ip_address("10.0.1.5"), ip_address("10.0.0.10")
    everything = ip_network("0.0.0.0/0")
    assert made.pod.links == (
        Link(name="eth0", index=101, kind="macvlan", master=3, mac=NUMBERS.slave_mac, mtu=9001),
        Link(
            name="veth0",
            index=102,
            kind="veth",
            mac=NUMBERS.pod_mac,
            mtu=9001,
            peer=Peer(name="veth0123456789a", index=103, mac=NUMBERS.host_mac),
        ),
    )
    assert made.pod.addrs == (Addr(link="eth0", address=ip_interface("10.0.1.5/24")),)
    assert made.pod.routes == (
        Route(link="eth0", to=everything, via=ip_address("10.0.1.1")),
        Route(link="veth0", to=ip_network("10.0.0.10/32"), source=pod, scope="link"),
        Route(link="veth0", to=ip_network("10.96.0.0/16"), via=node, source=pod),
        Route(link="veth0", to=ip_network("169.254.20.10/32"), via=node, source=pod),
        Route(link="veth0", to=everything, via=node, table=100),
    )
    assert made.pod.neighs == (Neigh(link="veth0", address=node, mac=NUMBERS.host_mac),)
    assert made.pod.rules == (Rule(family=4, priority=1000, table=100, mark=1),)
    assert made.pod.nft == (NftTable(name="underlay"),)
    assert made.host.links[0].name == "veth0123456789a"
    assert made.host.neighs == (Neigh(link="veth0123456789a", address=pod, mac=NUMBERS.pod_mac),)
    assert made.host.routes == (
        Route(
            link="veth0123456789a",
            to=ip_network("10.0.1.5/32"),
            source=node,
            table=500,
            scope="link",
            replace=True,
        ),
    )


def test_ipvlan_pod_has_no_mac() -> None:
    """An ipvlan slave is planned without a MAC of its own; the rest is as with macvlan."""
    ipvlan, macvlan = plan(wish(kind="ipvlan"), FACTS, NUMBERS), plan(wish(), FACTS, NUMBERS)

    assert ipvlan.pod.links[0] == Link(name="eth0", index=101, kind="ipvlan", master=3, mtu=9001)
    assert (ipvlan.pod.routes, ipvlan.host) == (macvlan.pod.routes, macvlan.host)


def test_both_families() -> None:
    """Each family has its own routes, rule and host route, with the node's address of that family as source."""
    made = plan(
        wish(
            addresses=(ip_interface("10.0.1.5/24"), ip_interface("fd00:1::5/64")),
            gateways=(ip_address("10.0.1.1"), ip_address("fe80::1")),
        ),
        FACTS,
        NUMBERS,
    )

    assert [rule.family for rule in made.pod.rules] == [4, 6]
    assert [(str(route.to), str(route.source)) for route in made.host.routes] == [
        ("10.0.1.5/32", "10.0.0.10"),
        ("fd00:1::5/128", "fd00::10"),
    ]
    defaults = [route for route in made.pod.routes if route.to.prefixlen == 0 and route.table == 254]
    assert [(str(route.via), route.on_link) for route in defaults] == [("10.0.1.1", False), ("fe80::1", True)]


def test_family_the_node_does_not_have() -> None:
    """A family in which the node has no address gets no way to the node, and does not stand in the way of the other."""
    facts = HostFacts(links={"eth1": MASTER}, node_addresses=(ip_address("fd00::10"),))

    made = plan(wish(), facts, NUMBERS)

    assert [route.link for route in made.pod.routes] == ["eth0"]
    assert (made.pod.rules, made.host.routes, made.host.neighs) == ((), (), ())


def test_further_interface() -> None:
    """Without host path there is the slave and nothing else, and nothing on the host."""
    made = plan(wish(ifname="net1", gateways=(), host_path=False), FACTS, NUMBERS)

    assert [link.name for link in made.pod.links] == ["net1"]
    assert (made.pod.routes, made.pod.rules, made.pod.nft, made.host.links) == ((), (), (), ())


@pytest.mark.parametrize(
    ("otherwise", "field"),
    [
        pytest.param({"kind": "ipvlan", "mac": Mac("02:00:00:00:00:09")}, "mac", id="a MAC for ipvlan"),
        pytest.param({"addresses": ()}, "addresses", id="no address"),
        pytest.param({"mtu": 9002}, "mtu", id="an MTU above the master's"),
        pytest.param(
            {"gateways": (ip_address("10.0.1.1"), ip_address("10.0.1.2"))}, "gateways", id="two gateways of a family"
        ),
    ],
)
def test_wishes_that_cannot_be(otherwise: dict[str, object], field: str) -> None:
    """What no kernel state can fulfil is refused with the field's name."""
    with pytest.raises(InvalidInput) as refused:
        plan(wish(**otherwise), FACTS, NUMBERS)

    assert refused.value.field == field


@pytest.mark.parametrize("container", ["ab", "0123456789abcdef" * 4])
def test_host_veth_name_fits(container: str) -> None:
    """The host's end has a name the kernel takes (15 characters at most) and that tells the container."""
    name = host_veth_name(container)

    assert len(name) <= 15
    assert name == "veth" + container[:11]


def test_host_veth_names_of_ids_that_begin_alike_differ() -> None:
    """Container ids with a common beginning that is not hexadecimal get names of their own."""
    names = {host_veth_name(f"cnitool-{digit}0d2a") for digit in "0123456789"}

    assert len(names) == 10
    assert all(len(name) <= 15 for name in names)


def test_batches() -> None:
    """Links are made first and by themselves; a link comes up after its address, and before what needs it up."""
    batches = arrange(plan(wish(), FACTS, NUMBERS))

    made = [step.object for step in batches.links if isinstance(step, Create)]
    assert [link.name for link in made if isinstance(link, Link)] == ["eth0", "veth0"]
    assert len(made) == len(batches.links) == 2
    assert isinstance(batches.host[0], SetUp)
    assert {(sysctl.protocol, sysctl.link, sysctl.key) for sysctl in batches.files} == {
        ("ipv6", "default", "accept_ra"),
        ("ipv4", "all", "rp_filter"),
    }
    kinds = [type(step.object) if isinstance(step, Create) else "up" for step in batches.pod]
    assert kinds == [Sysctl] * 3 + [Addr] + ["up"] * 2 + [Neigh] + [Route] * 5 + [Rule]
    assert batches.tables == (NftTable(name="underlay"),)
