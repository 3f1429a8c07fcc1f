"""Difference and inverse, over generated plans and over what a namespace may hold besides."""

from ipaddress import IPv4Address, ip_address, ip_interface, ip_network

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from underlay.cni.datapath.attach import HostFacts, HostLink, Numbers, Want, plan
from underlay.cni.datapath.model import EMPTY, Addr, Link, Namespace, Neigh, NftTable, Route, Rule, Sysctl
from underlay.cni.datapath.plan import Create, Remove, SetUp, Step, apply, diff, inverse
from underlay.core.identity import Mac

v4 = st.integers(0x0A000001, 0x0AFFFFFE).map(IPv4Address)
macs = st.binary(min_size=6, max_size=6).map(lambda b: Mac(bytes((b[0] & 0xFC | 2, *b[1:])).hex(":")))


@st.composite
def desired(draw: st.DrawFn) -> Namespace:
    """The pod's side of a plan that ``attach`` makes for some wish."""
    ips = draw(st.lists(v4, min_size=1, max_size=3, unique=True))
    kind = draw(st.sampled_from(["ipvlan", "macvlan"]))
    want = Want(
        container_id="0123456789ab",
        ifname=draw(st.sampled_from(["eth0", "net1"])),
        netns="/run/netns/pod",
        kind=kind,  # type: ignore[arg-type]
        master="eth1",
        addresses=tuple(ip_interface(f"{ip}/{draw(st.integers(8, 32))}") for ip in ips),
        gateways=tuple(draw(st.lists(v4, max_size=1))),
        host_path=draw(st.booleans()),
    )
    facts = HostFacts(
        links={"eth1": HostLink(index=3, name="eth1", mac=Mac("06:00:00:00:00:01"), mtu=1500, up=True)},
        node_addresses=tuple(draw(st.lists(v4, max_size=2, unique=True))),
        service_cidrs=(ip_network("10.96.0.0/16"),),
    )
    numbers = Numbers(
        slave_index=101,
        pod_index=102,
        host_index=103,
        slave_mac=draw(macs),
        pod_mac=draw(macs),
        host_mac=draw(macs),
    )
    return plan(want, facts, numbers).pod


strangers = Namespace(
    links=(Link(name="lo", index=1, group=0), Link(name="other", index=7, kind="veth", group=0, mtu=1500)),
    addrs=(Addr(link="other", address=ip_interface("192.168.7.7/24")),),
    routes=(Route(link="other", to=ip_network("192.168.0.0/16"), via=ip_address("192.168.7.1")),),
    neighs=(Neigh(link="other", address=ip_address("192.168.7.1"), mac=Mac("02:00:00:00:07:01")),),
    rules=(Rule(family=4, priority=32766, table=254),),
)


def contents(namespace: Namespace) -> frozenset[object]:
    """All objects, without order and without how they are to be made."""
    return frozenset(
        msgspec.structs.replace(item, replace=False) if isinstance(item, Route) else item
        for field in namespace.__struct_fields__
        for item in getattr(namespace, field)
    )


def joined(first: Namespace, second: Namespace) -> Namespace:
    """What both hold."""
    return Namespace(**{field: getattr(first, field) + getattr(second, field) for field in first.__struct_fields__})


@given(desired())
def test_from_nothing_to_the_wish(wish: Namespace) -> None:
    """The steps from nothing make exactly the wish."""
    assert contents(apply(EMPTY, diff(EMPTY, wish))) == contents(wish)


@given(desired())
def test_nothing_to_do(wish: Namespace) -> None:
    """What is as wished needs no step, also beside other people's objects (CHECK)."""
    assert diff(wish, wish) == ()
    assert diff(joined(strangers, wish), wish) == ()


@given(desired(), st.data())
def test_repair(wish: Namespace, data: st.DataObject) -> None:
    """From any part of the wish, among strangers, the steps lead to the whole, and strangers stay."""
    parts: dict[str, object] = {}
    for field in ("sysctls", "addrs", "neighs", "routes", "rules", "nft"):
        parts[field] = tuple(item for item in getattr(wish, field) if data.draw(st.booleans()))
    links = tuple(link if data.draw(st.booleans()) else msgspec.structs.replace(link, up=False) for link in wish.links)
    observed = joined(strangers, Namespace(links=links, **parts))  # type: ignore[arg-type]

    repaired = apply(observed, diff(observed, wish))

    assert contents(repaired) == contents(joined(strangers, wish))


@given(desired())
def test_wrong_link_is_made_anew(wish: Namespace) -> None:
    """A link of another kind under our name is removed first, and everything on it is made again."""
    first = wish.links[0]
    wrong = msgspec.structs.replace(first, kind="veth", index=55, group=0)
    observed = msgspec.structs.replace(wish, links=(wrong, *wish.links[1:]))

    steps = diff(observed, wish)

    assert steps[0] == Remove(wrong)
    assert contents(apply(observed, steps)) == contents(wish)


@given(desired())
def test_inverse_leads_back(wish: Namespace) -> None:
    """Undoing all steps leaves only what was there before; settings of the whole namespace may stay."""
    steps = diff(EMPTY, wish)

    after = apply(apply(strangers, steps), inverse(steps))

    assert contents(msgspec.structs.replace(after, sysctls=())) == contents(strangers)


@given(desired(), st.data())
def test_inverse_of_what_was_done(wish: Namespace, data: st.DataObject) -> None:
    """Whatever the kernel refused after the links: undoing the rest leaves nothing, and removes only what was made."""
    steps = diff(EMPTY, wish)
    done = [step for step in steps if is_link(step) or data.draw(st.booleans())]

    undone = inverse(done)

    after = apply(apply(strangers, done), undone)
    assert contents(msgspec.structs.replace(after, sysctls=())) == contents(strangers)
    assert {step.object for step in undone if isinstance(step, Remove)} <= {
        step.object for step in done if isinstance(step, Create)
    }


@given(desired())
def test_order(wish: Namespace) -> None:
    """A link is made before anything names it, gets its addresses before it comes up, and its routes after."""
    steps = diff(EMPTY, wish)

    for link in wish.links:
        made = steps.index(Create(link))
        up = steps.index(SetUp(link))
        on_it = [(n, step.object) for n, step in enumerate(steps) if isinstance(step, Create) and names(step, link)]
        assert all(made < n for n, _ in on_it)
        assert all(n < up for n, item in on_it if isinstance(item, Addr | Sysctl))
        assert all(up < n for n, item in on_it if isinstance(item, Route | Neigh))


def is_link(step: Step) -> bool:
    return isinstance(step, Create) and isinstance(step.object, Link)


def names(step: Create, link: Link) -> bool:
    return not isinstance(step.object, Link | Rule | NftTable) and step.object.link == link.name


def test_route_that_changed() -> None:
    """A route that leads elsewhere now is removed before the right one is made."""
    link = Link(name="eth0", index=2, kind="macvlan", mtu=1500)
    old = Route(link="eth0", to=ip_network("0.0.0.0/0"), via=ip_address("10.0.1.1"))
    new = msgspec.structs.replace(old, via=ip_address("10.0.1.2"))

    steps = diff(Namespace(links=(link,), routes=(old,)), Namespace(links=(link,), routes=(new,)))

    assert steps == (Remove(old), Create(new))


def test_setting_back_is_up_to_its_link() -> None:
    """A link's setting has no way back of its own: it goes with the link."""
    assert inverse([Create(Sysctl(protocol="ipv4", link="eth0", key="rp_filter", value=0))]) == ()
