"""Which address an attachment gets: one owner each, least recently used first, never one that is not the node's to
give.
"""

from ipaddress import IPv4Address, IPv4Interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from underlay.cni.datapath.attach import HostLink
from underlay.cni.nodepools import serving
from underlay.cni.records import NodeSeen
from underlay.cni.state import State
from underlay.core.addresses import IPAddress
from underlay.core.api.ippool import MAC_ANNOTATION, SpiderIPPool, SpiderIPPoolSpec
from underlay.core.api.meta import ObjectMeta
from underlay.core.api.nodenetwork import (
    InterfaceStatus,
    SpiderNodeNetwork,
    SpiderNodeNetworkSpec,
    SpiderNodeNetworkStatus,
)
from underlay.core.identity import Attachment, Mac, PodRef
from underlay.core.ipam.allocate import Assigned, NodePool, Request, Shortage, allocate
from underlay.core.ipam.claims import Claim, Fence, Ledger, PoolAddress

COOLDOWN = 30.0
MAC_1, MAC_2 = Mac("02:00:00:00:00:01"), Mac("02:00:00:00:00:02")


def node_pool(name: str, *addresses: str, mac: Mac = MAC_1, family: int = 4, refusal: str = "") -> NodePool:
    return NodePool(
        name=name,
        uid=f"uid-{name}",
        family=family,
        subnet=ip_network("10.0.0.0/16" if family == 4 else "fd00::/64"),
        gateway=None,
        addresses=frozenset(map(_ip, addresses)),
        mac=mac,
        refusal=refusal,
    )


def _ip(text: str) -> IPAddress:
    return IPv4Interface(text).ip if "." in text else ip_network(text).network_address


def request(number: int, *, families: tuple[int, ...] = (4,)) -> Request:
    return Request(
        attachment=Attachment(container_id=f"c{number}", ifname="eth0"),
        pod=PodRef(namespace="ns", name=f"p{number}", uid=f"u{number}"),
        families=families,
    )


def claim_of(wanted: Request, assigned: Assigned, now: float) -> Claim:
    return Claim(
        attachment=wanted.attachment,
        pod=wanted.pod,
        network="n",
        netns="",
        addresses=tuple(
            PoolAddress(address=grant.address, pool=grant.pool.name, pool_uid=grant.pool.uid)
            for grant in assigned.grants
        ),
        since=now,
    )


def given_to(outcome: Assigned | Shortage) -> list[str]:
    assert isinstance(outcome, Assigned), str(outcome)
    return [str(grant.address) for grant in outcome.grants]


class Node(RuleBasedStateMachine):
    """A node in the course of time: pods come and go, addresses are fenced, the clock runs."""

    pools = (node_pool("a", "10.0.0.1", "10.0.0.2", "10.0.0.3"), node_pool("b", "10.0.1.1", "10.0.1.2", mac=MAC_2))
    everything = frozenset().union(*(pool.addresses for pool in pools))

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.now = 1000.0
        self.used: dict[IPAddress, float] = {}

    @rule(number=st.integers(1, 8))
    def add(self, number: int) -> None:
        wanted = request(number)
        before = self.ledger.claims.get(wanted.attachment)
        outcome = allocate(
            pools=self.pools, ledger=self.ledger, request=wanted, now=self.now, cooldown_seconds=COOLDOWN
        )
        free = {
            ip
            for ip in self.everything - self.ledger.held.keys() - self.ledger.fenced
            if self.used.get(ip, 0) + COOLDOWN <= self.now
        }
        if isinstance(outcome, Shortage):
            assert before is None
            assert not free
            assert set(outcome.reasons) == {"a", "b"}
            return
        address = outcome.grants[0].address
        assert address in outcome.grants[0].pool.addresses
        if before:
            assert before.addresses[0].address == address
            return
        assert address in free
        siblings = free & outcome.grants[0].pool.addresses
        assert all(self.used.get(address, -1) <= self.used.get(other, -1) for other in siblings)
        self.ledger = self.ledger.claim(claim_of(wanted, outcome, self.now))

    @rule(number=st.integers(1, 8))
    def delete(self, number: int) -> None:
        claim = self.ledger.claims.get(request(number).attachment)
        self.ledger = self.ledger.release(request(number).attachment, at=self.now)
        for item in claim.addresses if claim else ():
            self.used[item.address] = self.now

    @rule(seconds=st.sampled_from([1.0, 10.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: len(self.ledger.fences) < 2)
    @rule(address=st.sampled_from(sorted(everything, key=int)))
    def fence(self, address: IPAddress) -> None:
        if address not in self.ledger.held:
            self.ledger = self.ledger.fence(
                Fence(id=str(address), pool="a", pool_uid="uid-a", fenced=frozenset({address}))
            )

    @rule()
    def lift(self) -> None:
        for key in list(self.ledger.fences):
            self.ledger = self.ledger.lift(key)

    @invariant()
    def one_owner(self) -> None:
        owners = [item.address for claim in self.ledger.claims.values() for item in claim.addresses]
        assert len(owners) == len(set(owners))
        assert set(owners) == set(self.ledger.held)
        assert not set(owners) & self.ledger.fenced


TestNode = Node.TestCase


@given(st.integers(1, 40), st.floats(0, 1e6))
def test_releasing_undoes_allocating(size: int, now: float) -> None:
    """Allocate ∘ release is the identity, but for the memory of when the address was used."""
    pool = node_pool("a", *(str(IPv4Address("10.0.0.0") + n) for n in range(size)))
    outcome = allocate(pools=(pool,), ledger=Ledger(), request=request(1), now=now, cooldown_seconds=COOLDOWN)
    assert isinstance(outcome, Assigned)

    after = Ledger().claim(claim_of(request(1), outcome, now)).release(request(1).attachment, at=now)

    assert after == Ledger(freed={outcome.grants[0].address: now})


def test_the_longest_unused_address_comes_first() -> None:
    """Never used before used; then in the order of release, not of address."""
    pool = node_pool("a", "10.0.0.1", "10.0.0.2", "10.0.0.3")
    ledger = Ledger(freed={_ip("10.0.0.1"): 50.0, _ip("10.0.0.2"): 10.0})
    order = []
    for number in range(3):
        outcome = allocate(pools=(pool,), ledger=ledger, request=request(number), now=200.0, cooldown_seconds=COOLDOWN)
        order += given_to(outcome)
        assert isinstance(outcome, Assigned)
        ledger = ledger.claim(claim_of(request(number), outcome, 200.0))

    assert order == ["10.0.0.3", "10.0.0.2", "10.0.0.1"]


def test_a_shortage_says_when_to_look_again() -> None:
    """The earliest moment at which a cooling address may be given; before it none is, at it one is."""
    pool = node_pool("a", "10.0.0.1", "10.0.0.2")
    ledger = Ledger(freed={_ip("10.0.0.1"): 100.0, _ip("10.0.0.2"): 90.0})

    early = allocate(pools=(pool,), ledger=ledger, request=request(1), now=119.9, cooldown_seconds=COOLDOWN)
    late = allocate(pools=(pool,), ledger=ledger, request=request(1), now=120.0, cooldown_seconds=COOLDOWN)

    assert early == Shortage(reasons={"a": "none of its 2 addresses is free (2 cooling down)"}, retry_at=120.0)
    assert given_to(late) == ["10.0.0.2"]


def test_dual_stack_is_all_or_nothing_on_one_interface() -> None:
    """An interface that lacks a family is passed over, and says so; both addresses come from one interface."""
    pools = (
        node_pool("a4", "10.0.0.1"),
        node_pool("b4", "10.0.1.1", mac=MAC_2),
        node_pool("b6", "fd00::1", mac=MAC_2, family=6),
    )
    wanted = request(1, families=(4, 6))

    both = allocate(pools=pools, ledger=Ledger(), request=wanted, now=0, cooldown_seconds=0)
    none = allocate(pools=pools[:2], ledger=Ledger(), request=wanted, now=0, cooldown_seconds=0)

    assert given_to(both) == ["10.0.1.1", "fd00::1"]
    assert isinstance(none, Shortage)
    assert none.reasons["a4"] == f"interface {MAC_1} has no IPv6 pool"


def test_a_repeated_request_takes_its_claim_only_while_the_pool_serves() -> None:
    """A claim whose address has left the pool is not given again; another address is."""
    before, after = node_pool("a", "10.0.0.1", "10.0.0.2"), node_pool("a", "10.0.0.2")
    outcome = allocate(pools=(before,), ledger=Ledger(), request=request(1), now=0, cooldown_seconds=0)
    assert isinstance(outcome, Assigned)
    ledger = Ledger().claim(claim_of(request(1), outcome, 0))

    same = allocate(pools=(before,), ledger=ledger, request=request(1), now=5, cooldown_seconds=0)
    other = allocate(pools=(after,), ledger=ledger, request=request(1), now=5, cooldown_seconds=0)

    assert (given_to(same), given_to(other)) == (["10.0.0.1"], ["10.0.0.2"])


def test_an_excluded_address_is_passed_over() -> None:
    """What the host itself has is no pod's."""
    pool = node_pool("a", "10.0.0.1", "10.0.0.2")
    outcome = allocate(
        pools=(pool,),
        ledger=Ledger(),
        request=request(1),
        now=0,
        cooldown_seconds=0,
        excluded={_ip("10.0.0.1"): "eth0"},
    )

    assert given_to(outcome) == ["10.0.0.2"]


def state(**changes: object) -> State:
    """A node that serves one pool."""
    meta = ObjectMeta(name="a", uid="uid-a", generation=1, annotations={MAC_ANNOTATION: MAC_1.upper()})
    pool = SpiderIPPool(
        metadata=meta, spec=SpiderIPPoolSpec(subnet="10.0.0.0/16", ips=["10.0.0.1-10.0.0.3"], exclude_ips=["10.0.0.2"])
    )
    spec = SpiderNodeNetworkSpec(provider="p", node_uid="node-uid", provider_id="aws:///z/i-1")
    interfaces = [
        InterfaceStatus(id=f"eni-{index}", mac=mac, device_index=index, primary=index == 0, state="in-use", subnet="s")
        for index, mac in enumerate((MAC_2, MAC_1))
    ]
    network = SpiderNodeNetwork(
        metadata=ObjectMeta(name="n"), spec=spec, status=SpiderNodeNetworkStatus(interfaces=interfaces)
    )
    values: dict[str, object] = {
        "settled": True,
        "pools": {"a": pool},
        "node_network": network,
        "node": NodeSeen(uid="node-uid", provider_id="aws:///z/i-1", addresses=[]),
    }
    return State(**(values | changes))  # type: ignore[arg-type]


LINK = HostLink(index=2, name="eth1", mac=MAC_1, mtu=9001, up=True)


def test_a_pool_serves_its_own_addresses() -> None:
    """Ips without excludeIPs, by the interface whose MAC the annotation names, in whatever case."""
    [pool] = serving(state(), "n", {MAC_1: LINK}, {}).pools

    assert (pool.refusal, pool.mac) == ("", MAC_1)
    assert pool.addresses == {_ip("10.0.0.1"), _ip("10.0.0.3")}


@pytest.mark.parametrize(
    ("changes", "links", "reason"),
    [
        pytest.param({"node_network": None}, {MAC_1: LINK}, "no SpiderNodeNetwork n", id="no-node-network"),
        pytest.param({"node": None}, {MAC_1: LINK}, "Node n has not been read yet", id="no-node"),
        pytest.param(
            {"node": NodeSeen(uid="other", provider_id="aws:///z/i-1", addresses=[])},
            {MAC_1: LINK},
            "belongs to Node uid node-uid, this Node's is other",
            id="node-made-again",
        ),
        pytest.param(
            {"node": NodeSeen(uid="node-uid", provider_id="aws:///z/i-2", addresses=[])},
            {MAC_1: LINK},
            "belongs to aws:///z/i-1, this Node's providerID is aws:///z/i-2",
            id="another-machine",
        ),
        pytest.param({"settled": False}, {MAC_1: LINK}, "journal is new", id="unsettled-epoch"),
        pytest.param({}, {}, "is not on this node yet", id="no-link"),
        pytest.param(
            {}, {MAC_1: HostLink(index=2, name="eth1", mac=MAC_1, mtu=1, up=False)}, "eth1 (MAC 02:00", id="link-down"
        ),
    ],
)
def test_a_pool_that_may_not_serve_says_why(
    changes: dict[str, object], links: dict[Mac, HostLink], reason: str
) -> None:
    """Identity, epoch and link: each alone keeps the pool from serving."""
    [pool] = serving(state(**changes), "n", links, {}).pools

    assert reason in pool.refusal
