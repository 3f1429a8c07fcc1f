"""The encoder against the kernel: what is sent is what ``ip`` and ``nft`` show."""

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Literal

import pytest
from msgspec import structs

from support.netns_node import NodeWorld, inside, run
from underlay.cni.datapath import lookup, netlink, nft
from underlay.cni.datapath.channel import Channel
from underlay.cni.datapath.model import DOOMED_GROUP, Addr, Link, Neigh, Peer, Route, Rule, Sysctl
from underlay.cni.datapath.plan import Create, Remove, SetDown, SetUp, Step
from underlay.cni.datapath.wire import doom, encode
from underlay.core.identity import Mac

pytestmark = pytest.mark.netns

PAIR = Link(
    name="one",
    index=1001,
    kind="veth",
    mac=Mac("02:00:00:00:00:01"),
    mtu=1400,
    peer=Peer(name="two", index=1002, mac=Mac("02:00:00:00:00:02")),
)
INDEXES = {"one": 1001, "two": 1002}


@pytest.fixture
async def alone(world: NodeWorld) -> AsyncIterator["Alone"]:
    """An otherwise empty namespace with the pair ``one`` and ``two``, both up."""
    name = world.pod()
    channel = await inside(name, Channel)
    alone = Alone(world=world, name=name, channel=channel)
    alone.good(Create(PAIR), SetUp(PAIR), SetUp(Link(name="two", index=1002)))
    yield alone
    channel.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    world: NodeWorld
    name: str
    channel: Channel

    def good(self, *steps: Step) -> None:
        """Send the steps as one batch; none is refused."""
        assert self.channel.apply(encode(steps, indexes=INDEXES)) == []

    def show(self, *what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.world.show(self.name, *what)
        return found


def test_veth_pair_as_said(alone: Alone) -> None:
    """Both ends of a pair get the index, MAC, MTU and group that were chosen for them."""
    links = {link["ifname"]: link for link in alone.show("link", "show")}

    for name, index, mac in (("one", 1001, "02:00:00:00:00:01"), ("two", 1002, "02:00:00:00:00:02")):
        link = links[name]
        assert (link["ifindex"], link["address"], link["mtu"]) == (index, mac, 1400)
        assert int(link["group"]) == 0x756E
        assert "UP" in link["flags"]


def test_lookup_by_name(alone: Alone) -> None:
    """A link is found with what was given to it; a name that is not there, or cannot be, is none."""
    found = lookup.link(alone.channel, "two")

    assert found == lookup.Found(index=1002, name="two", mac=Mac("02:00:00:00:00:02"), mtu=1400, group=0x756E, up=True)
    assert lookup.link(alone.channel, "three") is None
    assert lookup.link(alone.channel, "a-name-that-is-too-long") is None


ADDRESSED = (
    Create(Addr(link="one", address=ip_interface("10.1.0.5/24"))),
    Create(Addr(link="one", address=ip_interface("fd00:1::5/64"))),
)


def test_addresses(alone: Alone) -> None:
    """Addresses of both families with their prefix; IPv6 without waiting for duplicates; and removed again."""
    alone.good(*ADDRESSED)

    (one,) = alone.show("addr", "show", "dev", "one", "scope", "global")
    assert {(a["local"], a["prefixlen"]) for a in one["addr_info"] if a} == {("10.1.0.5", 24), ("fd00:1::5", 64)}
    assert not any(a.get("tentative") for a in one["addr_info"])

    alone.good(
        Remove(Addr(link="one", address=ip_interface("10.1.0.5/32"))),
        Remove(Addr(link="one", address=ip_interface("fd00:1::5/64"))),
    )
    assert [a for link in alone.show("addr", "show", "scope", "global") for a in link["addr_info"] if a] == []


@pytest.mark.parametrize(
    ("route", "shown"),
    [
        pytest.param(
            Route(link="one", to=ip_network("0.0.0.0/0"), via=ip_address("10.1.0.1")),
            {"dst": "default", "gateway": "10.1.0.1", "dev": "one"},
            id="default",
        ),
        pytest.param(
            Route(link="one", to=ip_network("10.9.0.0/16"), via=ip_address("172.16.0.1"), on_link=True),
            {"dst": "10.9.0.0/16", "gateway": "172.16.0.1", "flags": ["onlink"]},
            id="gateway on-link",
        ),
        pytest.param(
            Route(
                link="two",
                to=ip_network("10.0.0.10/32"),
                source=ip_address("10.1.0.5"),
                table=500,
                scope="link",
                replace=True,
            ),
            {"dst": "10.0.0.10", "dev": "two", "scope": "link", "prefsrc": "10.1.0.5", "table": "500"},
            id="table 500 with source",
        ),
        pytest.param(
            Route(link="two", to=ip_network("0.0.0.0/0"), via=ip_address("10.1.0.9"), table=100, on_link=True),
            {"dst": "default", "gateway": "10.1.0.9", "table": "100"},
            id="table 100",
        ),
        pytest.param(
            Route(link="one", to=ip_network("fd00:2::/64"), via=ip_address("fd00:1::1")),
            {"dst": "fd00:2::/64", "gateway": "fd00:1::1", "dev": "one"},
            id="IPv6",
        ),
    ],
)
async def test_routes(alone: Alone, route: Route, shown: dict[str, object]) -> None:
    """Each form of route is shown by ``ip`` as meant, observed as the same value, and removed again."""
    family = f"-{route.to.version}"
    alone.good(*ADDRESSED)

    alone.good(Create(route))

    routes = alone.show(family, "route", "show", "table", "all")
    assert [r for r in routes if shown.items() <= {"table": "254", **r}.items()] != []
    observed = await inside(alone.name, netlink.observe)
    plain = structs.replace(route, replace=False)
    assert plain in {structs.replace(r, scope=plain.scope) for r in observed.routes}

    alone.good(Remove(route))
    assert [r for r in alone.show(family, "route", "show", "table", "all") if shown.items() <= r.items()] == []


@pytest.mark.parametrize("family", [4, 6])
async def test_rules(alone: Alone, family: Literal[4, 6]) -> None:
    """A rule by mark and a rule for everything, in a small and a large table; making one twice is no error."""
    marked = Rule(family=family, priority=1000, table=100, mark=1)
    plain = Rule(family=family, priority=1001, table=500)

    alone.good(Create(marked), Create(plain))
    alone.good(Create(marked))

    shown = {r["priority"]: r for r in alone.show(f"-{family}", "rule", "show")}
    assert (shown[1000]["fwmark"], shown[1000]["table"]) == ("0x1", "100")
    assert (shown[1001].get("fwmark"), shown[1001]["table"]) == (None, "500")
    assert {marked, plain} <= set((await inside(alone.name, netlink.observe)).rules)

    alone.good(Remove(marked), Remove(plain))
    assert not {1000, 1001} & {r["priority"] for r in alone.show(f"-{family}", "rule", "show")}


async def test_links_that_come_while_it_looks(alone: Alone) -> None:
    """Links with addresses come at any time: what was there before is observed, and nothing fails."""
    alone.good(*ADDRESSED)
    lines = (f"link add n{n} type veth peer p{n}\naddr add 10.9.0.1/32 dev n{n}\n" for n in range(200))
    coming = asyncio.create_task(asyncio.to_thread(run, "ip", "-n", alone.name, "-batch", "-", text="".join(lines)))

    looks = 0
    while not coming.done():
        observed = await inside(alone.name, netlink.observe)
        assert {"one", "two"} <= {link.name for link in observed.links}
        looks += 1
    await coming

    assert looks > 1


async def test_neighbours(alone: Alone) -> None:
    """A neighbour is permanent, takes an earlier one's place, and is removed again."""
    neigh = Neigh(link="one", address=ip_address("10.1.0.7"), mac=Mac("02:00:00:00:00:77"))

    alone.good(Create(structs.replace(neigh, mac=Mac("02:00:00:00:00:66"))), Create(neigh))

    (shown,) = alone.show("neigh", "show", "nud", "permanent")
    assert (shown["dst"], shown["lladdr"], shown["state"]) == ("10.1.0.7", "02:00:00:00:00:77", ["PERMANENT"])
    assert (await inside(alone.name, netlink.observe)).neighs == (neigh,)

    alone.good(Remove(neigh))
    assert alone.show("neigh", "show", "nud", "permanent") == []


async def test_settings_of_a_link(alone: Alone) -> None:
    """IPv4 settings travel in the batch and are what /proc/sys shows."""
    settings = [
        Sysctl(protocol="ipv4", link="one", key=key, value=value)
        for key, value in (("rp_filter", 2), ("arp_notify", 1), ("arp_ignore", 1), ("arp_announce", 2))
    ]

    alone.good(*map(Create, settings))

    for setting in settings:
        key = f"net.ipv4.conf.one.{setting.key}"
        assert alone.world.execute(alone.name, "sysctl", "-n", key).strip() == str(setting.value)
    assert set(settings) <= set((await inside(alone.name, netlink.observe)).sysctls)


def test_errors_name_their_message(alone: Alone) -> None:
    """Each refused message is told by its place, with the kernel's errno; the others of the batch are done."""
    address = Create(Addr(link="one", address=ip_interface("10.1.0.5/24")))
    nowhere = Create(Route(link="one", to=ip_network("10.9.0.0/16"), via=ip_address("172.16.0.1")))
    steps = (address, address, nowhere, SetDown(Link(name="two", index=1002)))

    failures = alone.channel.apply(encode(steps, indexes=INDEXES))

    assert [(failure.position, failure.errno) for failure in failures] == [(1, errno.EEXIST), (2, errno.ENETUNREACH)]
    assert failures[1].reason != ""
    (two,) = alone.show("link", "show", "two")
    assert "UP" not in two["flags"]
    alone.good(SetUp(Link(name="two", index=1002)))


def test_last_message_refused(alone: Alone) -> None:
    """A batch whose last message is refused ends all the same."""
    failures = alone.channel.apply(encode([Create(PAIR)], indexes=INDEXES))

    assert [(failure.position, failure.errno) for failure in failures] == [(0, errno.EEXIST)]
    assert alone.channel.apply([]) == []


def test_links_are_removed_together(alone: Alone) -> None:
    """One batch removes several links, and does not mind those that are gone."""
    more = structs.replace(
        PAIR, name="three", index=1003, peer=Peer(name="four", index=1004, mac=Mac("02:00:00:00:00:04"))
    )
    alone.good(Create(structs.replace(more, mac=Mac("02:00:00:00:00:03"))))

    failures = alone.channel.apply(doom([1001, 1003, 999]))

    assert [failure.errno for failure in failures] == [errno.ENODEV]
    assert alone.world.links(alone.name) == {"lo"}
    assert {failure.errno for failure in alone.channel.apply(doom([1001]))} == {errno.ENODEV}
    assert DOOMED_GROUP != 0x756E


async def test_pod_table_as_nft_shows_it(world: NodeWorld) -> None:
    """The constant bytes are the table of the docstring; putting it twice changes nothing; it can be removed."""
    pod = world.pod()
    channel = await inside(pod, nft.open_channel)
    try:
        assert nft.install_pod_table(channel) == []
        assert nft.install_pod_table(channel) == []

        listing = json.loads(world.execute(pod, "nft", "-j", "list", "ruleset"))["nftables"]
        chains = {c["chain"]["name"]: c["chain"] for c in listing if "chain" in c}
        rules = {r["rule"]["chain"]: r["rule"]["expr"] for r in listing if "rule" in r}
        assert {name: (c["type"], c["hook"], c["prio"]) for name, c in chains.items()} == {
            "arriving": ("filter", "prerouting", -150),
            "answering": ("route", "output", -150),
        }
        assert rules == {
            "arriving": [
                {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "veth0"}},
                {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}},
                {"mangle": {"key": {"ct": {"key": "mark"}}, "value": 1}},
            ],
            "answering": [
                {"match": {"op": "==", "left": {"ct": {"key": "mark"}}, "right": 1}},
                {"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}},
            ],
        }

        assert nft.remove_pod_table(channel) == []
        assert nft.remove_pod_table(channel) == []
        assert world.execute(pod, "nft", "list", "ruleset") == ""
    finally:
        channel.close()
