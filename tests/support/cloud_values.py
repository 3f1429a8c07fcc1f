"""Values of a cloud for tests: single ones with sensible defaults, generated ones, and a cloud that obeys a plan's
actions.
"""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from hypothesis import strategies as st

from underlay.core.api.networkprovider import AddressPolicy, InterfacePolicy
from underlay.core.cloud import tags
from underlay.core.cloud.model import (
    Instance,
    InstanceState,
    InterfaceState,
    IPAddress,
    Limits,
    NetworkInterface,
    Subnet,
)
from underlay.core.cloud.plan import Action, Assign, Create, Delete, NodeView, Plan, Release
from underlay.core.identity import InstanceId, InterfaceId, Mac, SubnetId

CLUSTER = "cluster-uid"
ZONE = "eu-central-1a"
T3_MEDIUM = Limits(interfaces=3, ipv4_per_interface=6, ipv6_per_interface=6)
"""EC2 instance types, "IP addresses per network interface": three interfaces of six addresses."""


def addresses(index: int, count: int, *, start: int = 1) -> frozenset[IPAddress]:
    """``count`` addresses that no interface of another index has."""
    return frozenset(IPv4Address(f"10.{index}.0.0") + start + number for number in range(count))


def interface(
    index: int,
    *,
    count: int = 0,
    subnet: str = "subnet-a",
    state: InterfaceState = InterfaceState.IN_USE,
    tagged: Mapping[str, str] | None = None,
) -> NetworkInterface:
    """The interface of device index ``index``: this cluster's own unless it is the primary or ``tagged`` says
    otherwise.
    """
    own = {} if index == 0 else {tags.CLUSTER: CLUSTER}
    return NetworkInterface(
        id=InterfaceId(f"eni-{index}"),
        instance=InstanceId("i-1"),
        subnet=SubnetId(subnet),
        mac=Mac(f"02:00:00:00:00:{index:02x}"),
        primary=index == 0,
        device_index=index,
        state=state,
        primary_address=IPv4Address(f"10.{index}.255.1"),
        addresses=addresses(index, count),
        tags=own if tagged is None else tagged,
    )


def instance(*interfaces: NetworkInterface, state: InstanceState = InstanceState.RUNNING) -> Instance:
    """A t3.medium."""
    return Instance(
        id=InstanceId("i-1"), type="t3.medium", zone=ZONE, network="vpc-1", state=state, interfaces=tuple(interfaces)
    )


def subnet(name: str = "subnet-a", *, free: int | None = 200, zone: str = ZONE) -> Subnet:
    """A subnet by name."""
    return Subnet(
        id=SubnetId(name),
        zone=zone,
        network="vpc-1",
        cidrs=(IPv4Network("10.0.0.0/8"),),
        gateways=(IPv4Address("10.0.0.1"),),
        free=free,
        tags={},
    )


def view(
    *interfaces: NetworkInterface,
    pods: int = 0,
    cooling: int = 0,
    limits: Limits = T3_MEDIUM,
    interface_policy: InterfacePolicy | None = None,
    policy: AddressPolicy | None = None,
    subnets: tuple[Subnet, ...] | None = None,
    held: frozenset[IPAddress] = frozenset(),
    leaving: frozenset[IPAddress] = frozenset(),
    now: float = 1000.0,
    surplus_since: float | None = None,
    state: InstanceState = InstanceState.RUNNING,
) -> NodeView:
    """A node whose primary interface pods may use, with a batch of 4 and half a batch spare."""
    return NodeView(
        instance=instance(*(interfaces or (interface(0),)), state=state),
        limits=limits,
        cluster=CLUSTER,
        interface_policy=interface_policy or InterfacePolicy(use_primary=True),
        addresses=policy or AddressPolicy(),
        subnets=(subnet(),) if subnets is None else subnets,
        pods=pods,
        cooling=cooling,
        held=held,
        leaving=leaving,
        appeared=frozenset(),
        now=now,
        surplus_since=surplus_since,
    )


def carried_out(seen: NodeView, plan: Plan) -> NodeView:
    """``seen`` after a cloud did all of ``plan``: the surplus clock runs on, subnets lose and regain what was taken
    and freed.
    """
    for action in plan.actions:
        seen = _after(seen, action)
    since = (seen.now if seen.surplus_since is None else seen.surplus_since) if plan.surplus else None
    return replace(seen, surplus_since=since)


def _after(seen: NodeView, action: Action) -> NodeView:
    held = {item.id: item for item in seen.instance.interfaces}
    match action:
        case Assign(interface=id_, count=count):
            index = held[id_].device_index or 0
            held[id_] = replace(
                held[id_], addresses=held[id_].addresses | addresses(index, count, start=_fresh(held[id_]))
            )
            subnets = _drawn(seen.subnets, held[id_].subnet, count)
        case Create(subnet=where, device_index=index, count=count):
            made = interface(index, count=count, subnet=where)
            assert made.id not in held, "a device index is given once"
            held[made.id] = made
            subnets = _drawn(seen.subnets, where, count + 1)
        case Release(interface=id_, addresses=going):
            held[id_] = replace(held[id_], addresses=held[id_].addresses - going)
            subnets = _drawn(seen.subnets, held[id_].subnet, -len(going))
        case Delete(interface=id_):
            subnets = _drawn(seen.subnets, held.pop(id_).subnet, -1)
    return replace(seen, instance=replace(seen.instance, interfaces=tuple(held.values())), subnets=subnets)


def _fresh(item: NetworkInterface) -> int:
    return max((int(address) & 0xFFFF for address in item.addresses), default=0) + 1


def _drawn(subnets: tuple[Subnet, ...], id_: SubnetId, count: int) -> tuple[Subnet, ...]:
    return tuple(
        replace(item, free=item.free - count) if item.id == id_ and item.free is not None else item for item in subnets
    )


address_policies = st.builds(
    AddressPolicy,
    batch=st.integers(1, 8),
    buffer=st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5]),
    minimum=st.integers(0, 6),
    max_idle=st.integers(0, 6),
    release_delay_seconds=st.integers(0, 300),
)
interface_policies = st.builds(
    InterfacePolicy,
    max=st.integers(0, 4),
    reserved=st.integers(0, 2),
    use_primary=st.booleans(),
)
_SUBNETS = ("subnet-a", "subnet-b", "subnet-c")
_OTHERS: tuple[Mapping[str, str], ...] = ({}, {tags.CLUSTER: "another cluster"}, {"user": "tag"})


@st.composite
def node_views(draw: st.DrawFn) -> NodeView:
    """Nodes in any state EC2 allows: own and foreign interfaces, any of them changing, subnets nearly empty."""
    limits = Limits(
        interfaces=draw(st.integers(1, 5)), ipv4_per_interface=draw(st.integers(2, 8)), ipv6_per_interface=0
    )
    indexes = [0, *sorted(draw(st.sets(st.integers(1, 6), max_size=limits.interfaces - 1)))]
    interfaces = [
        interface(
            index,
            count=draw(st.integers(0, limits.ipv4_per_interface - 1)),
            subnet=draw(st.sampled_from(_SUBNETS)),
            state=draw(st.sampled_from([InterfaceState.IN_USE] * 4 + list(InterfaceState)))
            if index
            else InterfaceState.IN_USE,
            tagged=draw(st.sampled_from([None, None, *_OTHERS])) if index else {},
        )
        for index in indexes
    ]
    everything = sorted({address for item in interfaces for address in item.addresses})
    some = st.sets(st.sampled_from(everything)).map(frozenset) if everything else st.just(frozenset[IPAddress]())
    subnets = [
        subnet(
            name,
            free=draw(st.none() | st.integers(0, 20)),
            zone=draw(st.sampled_from([ZONE, ZONE, ZONE, "eu-central-1b"])),
        )
        for name in draw(st.permutations(_SUBNETS))[: draw(st.integers(0, 3))]
    ]
    return NodeView(
        instance=instance(*interfaces),
        limits=limits,
        cluster=CLUSTER,
        interface_policy=draw(interface_policies),
        addresses=draw(address_policies),
        subnets=tuple(subnets),
        pods=draw(st.integers(0, 40)),
        cooling=draw(st.integers(0, 5)),
        held=draw(some),
        leaving=draw(some),
        appeared=frozenset(),
        now=1000.0,
        surplus_since=draw(st.none() | st.floats(0, 1000)),
    )
