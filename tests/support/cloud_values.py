"""Values of a cloud for tests: single ones with sensible defaults, generated ones, and a cloud that obeys a plan's
actions.
"""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import strategies as st

from underlay.core.api.networkprovider import AddressPolicy, InterfacePolicy
from underlay.core.cloud import items, tags
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import (
    Instance,
    InstanceState,
    InterfaceState,
    IPAddress,
    IPNetwork,
    Kind,
    Limits,
    NetworkInterface,
    Subnet,
)
from underlay.core.cloud.planning.actions import Action, Assign, Create, Delete, Release
from underlay.core.cloud.planning.plan import Plan
from underlay.core.cloud.planning.pressure import Pressure
from underlay.core.cloud.planning.view import NodeView
from underlay.core.identity import InstanceId, InterfaceId, Mac, SubnetId

CLUSTER = "cluster-uid"
ZONE = "eu-central-1a"
T3_MEDIUM = Limits(interfaces=3, ipv4_per_interface=6, ipv6_per_interface=6, prefixes=True, cards=(3,))
"""EC2 instance types, "IP addresses per network interface": three interfaces of six addresses."""


def addresses(index: int, count: int, *, start: int = 1) -> frozenset[IPAddress]:
    """``count`` addresses that no interface of another index has."""
    return frozenset(IPv4Address(f"10.{index}.0.0") + start + number for number in range(count))


def addresses6(index: int, count: int, *, start: int = 1) -> frozenset[IPAddress]:
    """Likewise of IPv6."""
    return frozenset(IPv6Address("2001:db8::") + (index << 64) + start + number for number in range(count))


def block(index: int, number: int) -> IPNetwork:
    """A /28 that no single address and no other interface has."""
    return IPv4Network((int(IPv4Address(f"10.{index}.128.0")) + 16 * number, 28))


def block6(index: int, number: int = 0) -> IPNetwork:
    """A /80 likewise."""
    return IPv6Network((int(IPv6Address("2001:db8::")) + (index << 64) + ((number + 1) << 48), 80))


def interface(
    index: int,
    *,
    count: int = 0,
    blocks: int = 0,
    ipv6: int = 0,
    blocks6: int = 0,
    card: int = 0,
    subnet: str = "subnet-a",
    state: InterfaceState = InterfaceState.IN_USE,
    tagged: Mapping[str, str] | None = None,
) -> NetworkInterface:
    """The interface of device index ``index``: this cluster's own unless it is the primary or ``tagged`` says
    otherwise. It has ``count`` secondary addresses and ``blocks`` prefixes, and so many of IPv6.
    """
    own = {} if index == 0 else {tags.CLUSTER: CLUSTER}
    device, index = index, index + 32 * card
    return NetworkInterface(
        id=InterfaceId(f"eni-{index}"),
        instance=InstanceId("i-1"),
        subnet=SubnetId(subnet),
        mac=Mac(f"02:00:00:00:00:{index:02x}"),
        primary=index == 0,
        device_index=device,
        network_card=card,
        state=state,
        primary_address=IPv4Address(f"10.{index}.255.1"),
        addresses=addresses(index, count) | addresses6(index, ipv6),
        prefixes=frozenset(
            {*(block(index, number) for number in range(blocks)), *(block6(index, number) for number in range(blocks6))}
        ),
        tags=own if tagged is None else tagged,
    )


def instance(*interfaces: NetworkInterface, state: InstanceState = InstanceState.RUNNING) -> Instance:
    """A t3.medium."""
    return Instance(
        id=InstanceId("i-1"), type="t3.medium", zone=ZONE, network="vpc-1", state=state, interfaces=tuple(interfaces)
    )


def subnet(name: str = "subnet-a", *, free: int | None = 200, zone: str = ZONE, ipv6: bool = True) -> Subnet:
    """A subnet by name."""
    cidrs: tuple[IPNetwork, ...] = (IPv4Network("10.0.0.0/8"),)
    gateways: tuple[IPAddress, ...] = (IPv4Address("10.0.0.1"),)
    return Subnet(
        id=SubnetId(name),
        zone=zone,
        network="vpc-1",
        cidrs=(*cidrs, IPv6Network("2001:db8::/64")) if ipv6 else cidrs,
        gateways=(*gateways, IPv6Address("fe80::1")) if ipv6 else gateways,
        free=free,
        tags={},
    )


_SUBNETS = ("subnet-a", "subnet-b", "subnet-c")
HOMES = {SubnetId(name): subnet(name) for name in _SUBNETS}
"""All subnets in which an interface of these tests may be."""


def view(
    *interfaces: NetworkInterface,
    pods: int = 0,
    cooling: int = 0,
    limits: Limits = T3_MEDIUM,
    interface_policy: InterfacePolicy | None = None,
    policy: AddressPolicy | None = None,
    subnets: tuple[Subnet, ...] | None = None,
    pressures: Mapping[SubnetId, Pressure] | None = None,
    whole_blocks: Mapping[SubnetId, int] | None = None,
    held: frozenset[IPAddress] = frozenset(),
    leaving: frozenset[IPAddress] = frozenset(),
    asking: bool = False,
    account_full: bool = False,
    max_pods: int | None = None,
    cordoned: bool = False,
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
        homes=HOMES,
        pressures=pressures or {},
        whole_blocks=whole_blocks or {},
        pods=pods,
        cooling=cooling,
        held=held,
        leaving=leaving,
        asking=asking,
        appeared=frozenset(),
        account_full=account_full,
        max_pods=max_pods,
        cordoned=cordoned,
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
        case Assign(interface=id_, kind=kind, count=count):
            held[id_] = _with(held[id_], kind, count)
            subnets = _drawn(seen.subnets, held[id_].subnet, _ipv4(kind, count))
        case Create(subnet=where, device_index=index, network_card=card, wanted=wanted):
            made = interface(index, card=card, subnet=where)
            assert made.id not in held, "a device index is given once"
            assert len({kind.family for kind in wanted}) == len(wanted), "one kind of a family"
            for kind, count in wanted.items():
                made = _with(made, kind, count)
            held[made.id] = made
            subnets = _drawn(seen.subnets, where, 1 + sum(_ipv4(kind, count) for kind, count in wanted.items()))
        case Release(interface=id_, items=going, fence=fence):
            # The agent fences; what that makes whole goes, and at once what no pool lists.
            leaving = seen.leaving | fence
            whole = {item for item in going if not fence or items.addresses({item}) <= leaving}
            held[id_] = items.having(held[id_], items.of_interface(held[id_]) - whole)
            seen = replace(seen, leaving=leaving - items.addresses(whole))
            subnets = _drawn(
                seen.subnets, held[id_].subnet, -sum(len(items.addresses({i})) for i in whole if i.version == 4)
            )
        case Delete(interface=id_):
            assert not items.addresses(items.of_interface(held[id_])) & seen.held, "nobody uses what is deleted"
            subnets = _drawn(seen.subnets, held.pop(id_).subnet, -1)
    return replace(seen, instance=replace(seen.instance, interfaces=tuple(held.values())), subnets=subnets)


def _with(item: NetworkInterface, kind: Kind, count: int) -> NetworkInterface:
    """The interface with more, none of which it has."""
    index = (item.device_index or 0) + 32 * item.network_card
    have: frozenset[Item] = items.of_interface(item)
    for number in range(1, 4096):
        if not count:
            break
        offered: Item = {
            Kind.IPV4: next(iter(addresses(index, 1, start=number))),
            Kind.IPV6: next(iter(addresses6(index, 1, start=number))),
            Kind.IPV4_PREFIX: block(index, number - 1),
            Kind.IPV6_PREFIX: block6(index, number - 1),
        }[kind]
        if offered not in have:
            have, count = have | {offered}, count - 1
    return items.having(item, have)


def _ipv4(kind: Kind, count: int) -> int:
    return count * kind.size if kind.family == 4 else 0


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
    mode=st.sampled_from(["secondaryIP", "secondaryIP", "prefix", "auto"]),
    families=st.sampled_from([["ipv4"], ["ipv4"], ["ipv4", "ipv6"], ["ipv6", "ipv4"], ["ipv6"]]),
)
interface_policies = st.builds(
    InterfacePolicy,
    max=st.integers(0, 4),
    reserved=st.integers(0, 2),
    use_primary=st.booleans(),
)
_OTHERS: tuple[Mapping[str, str], ...] = ({}, {tags.CLUSTER: "another cluster"}, {"user": "tag"})


@st.composite
def node_views(draw: st.DrawFn) -> NodeView:
    """Nodes in any state EC2 allows: every mode and family, own and foreign interfaces with any mixture of addresses
    and prefixes, any of them changing, subnets nearly empty, prefixes half drained.
    """
    limits = Limits(
        interfaces=draw(st.integers(1, 5)),
        ipv4_per_interface=draw(st.integers(2, 8)),
        ipv6_per_interface=draw(st.integers(0, 8)),
        prefixes=draw(st.booleans()),
    )
    indexes = [0, *sorted(draw(st.sets(st.integers(1, 6), max_size=limits.interfaces - 1)))]
    interfaces = [draw(_interfaces(index, limits)) for index in indexes]
    subnets = [
        subnet(
            name,
            free=draw(st.none() | st.integers(0, 60)),
            zone=draw(st.sampled_from([ZONE, ZONE, ZONE, "eu-central-1b"])),
        )
        for name in draw(st.permutations(_SUBNETS))[: draw(st.integers(0, 3))]
    ]
    everything = sorted(
        {
            address
            for item in interfaces
            for address in (*item.addresses, *(prefix[n] for prefix in item.prefixes for n in (0, 1, 7)))
        },
        key=lambda address: (address.version, int(address)),
    )
    some = st.sets(st.sampled_from(everything)).map(frozenset) if everything else st.just(frozenset[IPAddress]())
    held = draw(some)
    return NodeView(
        instance=instance(*interfaces),
        limits=limits,
        cluster=CLUSTER,
        interface_policy=draw(interface_policies),
        addresses=draw(address_policies),
        subnets=tuple(subnets),
        homes=HOMES,
        pressures=draw(st.dictionaries(st.sampled_from(sorted(HOMES)), st.sampled_from(Pressure))),
        whole_blocks=draw(st.dictionaries(st.sampled_from(sorted(HOMES)), st.integers(0, 2), max_size=1)),
        pods=draw(st.integers(0, 60)),
        cooling=draw(st.integers(0, 5)),
        held=held,
        # An IPv6 prefix is never drained.
        leaving=frozenset(address for address in draw(some) - held if not _of_block6(interfaces, address)),
        asking=draw(st.booleans()),
        appeared=frozenset(),
        account_full=draw(st.sampled_from([False, False, False, True])),
        max_pods=draw(st.none() | st.integers(0, 110)),
        cordoned=draw(st.sampled_from([False, False, False, True])),
        now=1000.0,
        surplus_since=draw(st.none() | st.floats(0, 1000)),
    )


@st.composite
def _interfaces(draw: st.DrawFn, index: int, limits: Limits) -> NetworkInterface:
    places, places6 = limits.ipv4_per_interface - 1, limits.ipv6_per_interface
    blocks = draw(st.integers(0, places)) if limits.prefixes else 0
    blocks6 = draw(st.integers(0, min(1, places6))) if limits.prefixes else 0
    return interface(
        index,
        count=draw(st.integers(0, places - blocks)),
        blocks=blocks,
        ipv6=draw(st.integers(0, places6 - blocks6)),
        blocks6=blocks6,
        subnet=draw(st.sampled_from(_SUBNETS)),
        state=draw(st.sampled_from([InterfaceState.IN_USE] * 4 + list(InterfaceState)))
        if index
        else InterfaceState.IN_USE,
        tagged=draw(st.sampled_from([None, None, *_OTHERS])) if index else {},
    )


def _of_block6(interfaces: list[NetworkInterface], address: IPAddress) -> bool:
    return any(address in prefix for item in interfaces for prefix in item.prefixes if prefix.version == 6)
