"""The operator's decisions: pools of a node, releases under way, demand, subnets."""

from ipaddress import ip_address, ip_network

import pytest
from msgspec import structs

from underlay.core.api.ippool import NODE_LABEL, PoolAllocation, SpiderIPPool, SpiderIPPoolStatus, render_allocations
from underlay.core.api.kubernetes import Pod, PodSpec, PodStatus
from underlay.core.api.meta import ObjectMeta
from underlay.core.api.networkprovider import (
    AddressPolicy,
    SchedulingPolicy,
    SpiderNetworkProviderSpec,
    SubnetSelector,
)
from underlay.core.api.nodenetwork import (
    InterfaceStatus,
    Release,
    ReleaseDone,
    Service,
    SpiderNodeNetwork,
    SpiderNodeNetworkSpec,
)
from underlay.core.cloud.errors import Denied, Exhausted, LimitReached, NotFound
from underlay.core.cloud.model import Capabilities, Instance, InstanceState, InterfaceState, NetworkInterface, Subnet
from underlay.core.errors import InvalidInput
from underlay.core.identity import InstanceId, InterfaceId, Mac, SubnetId, node_label_value
from underlay.operator.reconcile import fences, pools, subnets, support
from underlay.operator.reconcile.advice import advise
from underlay.operator.reconcile.demand import need


def network(**spec: object) -> SpiderNodeNetwork:
    return SpiderNodeNetwork(
        metadata=ObjectMeta(name="node-1", uid="snn-uid"),
        spec=SpiderNodeNetworkSpec(provider="aws", node_uid="n", provider_id="aws:///a/i-1", **spec),  # type: ignore[arg-type]
    )


def interface(
    id_: str = "eni-1",
    *,
    primary: bool = False,
    state: str = "in-use",
    addresses: list[str],
    prefixes: list[str] | None = None,
) -> InterfaceStatus:
    return InterfaceStatus(
        id=id_,
        mac="02:00:00:00:00:01",
        device_index=0 if primary else 1,
        primary=primary,
        state=state,
        subnet="subnet-1",
        ipv4_cidr="10.0.0.0/24",
        ipv4_gateway="10.0.0.1",
        ipv6_cidr="2001:db8::/64",
        primary_address="10.0.0.4",
        addresses=addresses,
        prefixes=prefixes or [],
    )


def held(pool: SpiderIPPool, address: str) -> SpiderIPPool:
    claims = {address: PoolAllocation(pod="default/a", pod_uid="a-uid")}
    status = SpiderIPPoolStatus(allocated_ips=render_allocations(claims))
    return SpiderIPPool(metadata=pool.metadata, spec=pool.spec, status=status)


def test_a_pool_lists_its_interfaces_addresses_for_its_node_only() -> None:
    """One pool per interface: ranges, gateway and subnet of the interface, name, label and owner of the node."""
    (pool,) = pools.desired(
        network(), [interface(addresses=["10.0.0.7", "10.0.0.5", "10.0.0.6", "10.0.0.9"])], use_primary=False
    )

    assert pool.metadata.name == "node-1-eni-1-v4"
    assert pool.metadata.labels[NODE_LABEL] == node_label_value("node-1")
    assert [owner.uid for owner in pool.metadata.owner_references] == ["snn-uid"]
    assert (pool.spec.ips, pool.spec.gateway, pool.spec.subnet) == (
        ["10.0.0.5-10.0.0.7", "10.0.0.9"],
        "10.0.0.1",
        "10.0.0.0/24",
    )
    assert pool.spec.node_name == ["node-1"]


@pytest.mark.parametrize(
    ("entry", "use_primary", "count"),
    [
        pytest.param(interface(primary=True, addresses=["10.0.0.5"]), False, 0, id="primary-not-used"),
        pytest.param(interface(primary=True, addresses=["10.0.0.5"]), True, 1, id="primary-used"),
        pytest.param(interface(addresses=[]), True, 0, id="no-addresses"),
        pytest.param(interface(state="attaching", addresses=["10.0.0.5"]), True, 0, id="not-attached-yet"),
    ],
)
def test_which_interfaces_have_a_pool(entry: InterfaceStatus, use_primary: bool, count: int) -> None:  # noqa: FBT001
    """Only interfaces that carry traffic and have addresses for pods have a pool."""
    assert len(pools.desired(network(), [entry], use_primary=use_primary)) == count


def test_a_pool_lists_prefixes_as_ranges() -> None:
    """A /28 is sixteen addresses beside the single ones."""
    (pool,) = pools.desired(
        network(), [interface(addresses=["10.0.0.31"], prefixes=["10.0.0.32/28"])], use_primary=False
    )

    assert pool.spec.ips == ["10.0.0.31-10.0.0.47"]


def test_each_family_has_a_pool_of_its_own() -> None:
    """IPv6: the single addresses and the first 1,024 of a prefix, the subnet's IPv6 block, a gateway if it is known."""
    entry = interface(addresses=["10.0.0.5", "2001:db8::5"], prefixes=["2001:db8:0:0:1::/80"])
    four, six = pools.desired(network(families=["ipv4", "ipv6"]), [entry], use_primary=False)
    told = structs.replace(entry, ipv6_gateway="fe80::1")
    *_, with_gateway = pools.desired(network(families=["ipv6"]), [told], use_primary=False)

    assert (four.metadata.name, four.spec.ip_version, four.spec.ips) == ("node-1-eni-1-v4", 4, ["10.0.0.5"])
    assert (six.metadata.name, six.spec.ip_version, six.spec.subnet) == ("node-1-eni-1-v6", 6, "2001:db8::/64")
    assert six.spec.ips == ["2001:db8::5", "2001:db8:0:0:1::-2001:db8::1:0:0:3ff"]
    assert six.metadata.labels["ipam.spidernet.io/ippool-cidr"] == "2001-db8---64"
    assert (six.spec.gateway, with_gateway.spec.gateway) == (None, "fe80::1")


def test_no_pool_of_what_follows_alone() -> None:
    """With both families an interface that has only IPv6 has no pool; with IPv4 alone its IPv6 addresses have none."""
    only = interface(addresses=[], prefixes=["2001:db8:0:0:1::/80"])
    both = interface(addresses=["10.0.0.5", "2001:db8::5"])

    assert pools.desired(network(families=["ipv6", "ipv4"]), [only], use_primary=False) == ()
    assert [pool.spec.ip_version for pool in pools.desired(network(), [both], use_primary=False)] == [4]


def test_writes_lead_from_what_is_to_what_should_be() -> None:
    """Missing pools are made, changed ones reshaped, superfluous ones deleted unless a pod still holds an address."""
    wanted = pools.desired(
        network(),
        [interface("eni-1", addresses=["10.0.0.5"]), interface("eni-2", addresses=["10.0.0.6"])],
        use_primary=False,
    )
    old = pools.desired(
        network(),
        [interface(id_, addresses=["10.0.0.9"]) for id_ in ("eni-2", "eni-3", "eni-4")],
        use_primary=False,
    )
    existing = [old[0], old[1], held(old[2], "10.0.0.9")]
    todo = pools.writes(wanted, existing)

    assert [pool.metadata.name for pool in todo.create] == ["node-1-eni-1-v4"]
    assert [(pool.metadata.name, pool.spec.ips) for pool in todo.reshape] == [("node-1-eni-2-v4", ["10.0.0.6"])]
    assert [pool.metadata.name for pool in todo.delete] == ["node-1-eni-3-v4"]


def test_only_what_was_asked_and_fenced_leaves() -> None:
    """An agent's answer counts only for addresses the release names; unanswered releases wait."""
    spec = network(
        release=[
            Release(id="r1", pool="p", pool_uid="u", addresses=["10.0.0.5", "10.0.0.6"]),
            Release(id="r2", pool="p", pool_uid="u", addresses=["10.0.0.7"]),
        ]
    ).spec
    (answer,) = fences.answered(spec, {"r1": ["10.0.0.5", "10.0.0.99"], "r9": ["10.0.0.7"]})

    assert answer.release.id == "r1"
    assert answer.fenced == {ip_address("10.0.0.5")}
    assert fences.leaving(spec, {}) == {ip_address(f"10.0.0.{last}") for last in (5, 6, 7)}
    assert fences.leaving(spec, {"r1": ["10.0.0.5"]}) == {ip_address(f"10.0.0.{last}") for last in (5, 7)}


def test_a_prefix_waits_until_all_of_it_is_fenced() -> None:
    """A release that fenced part of a prefix stays open; a second one for what pods left makes both ripe. Single
    addresses do not wait for it.
    """
    block = ip_network("10.0.0.16/28")
    parts = {"most": [str(block[n]) for n in range(13)], "rest": [str(block[n]) for n in (13, 14, 15)]}
    spec = network(
        release=[
            Release(id="most", pool="p", pool_uid="u", addresses=[str(address) for address in block]),
            Release(id="single", pool="p", pool_uid="u", addresses=["10.0.0.5"]),
            Release(id="rest", pool="p", pool_uid="u", addresses=parts["rest"]),
        ]
    ).spec
    first = fences.answered(spec, {"most": parts["most"], "single": ["10.0.0.5"]})
    then = fences.answered(spec, {**parts, "single": ["10.0.0.5"]})

    assert [answer.release.id for answer in fences.ripe(first, [block])] == ["single"]
    assert [answer.release.id for answer in fences.ripe(then, [block])] == ["most", "single", "rest"]


def test_a_release_of_which_all_is_held_is_over() -> None:
    """Pods took every address before the agent saw the wish: nothing drains."""
    block = ip_network("10.0.0.16/28")
    spec = network(release=[Release(id="r", pool="p", pool_uid="u", addresses=[str(block[0])])]).spec

    assert [answer.release.id for answer in fences.ripe(fences.answered(spec, {"r": []}), [block])] == ["r"]


def test_a_closed_release_is_reported_until_the_agent_has_dropped_it() -> None:
    """Closing moves a release to releaseDone with its generation; entries the agent no longer reports are forgotten,
    and everything else of the spec stays.
    """
    spec = network(
        services=[Service(address="169.254.169.254", purpose="metadata")],
        pod_metadata_access=True,
        release=[Release(id="r1", pool="p", pool_uid="u", addresses=["10.0.0.5"])],
        release_done=[
            ReleaseDone(id="r0", pool="p", pool_uid="u", generation=3),
            ReleaseDone(id="old", pool="p", pool_uid="u", generation=2),
        ],
    ).spec
    closed = fences.close(spec, {"r1": 7}, still_reported=["r0", "r1"])

    assert (closed.services, closed.pod_metadata_access) == (spec.services, True)
    assert closed.release == []
    assert [(done.id, done.generation) for done in closed.release_done] == [("r0", 3), ("r1", 7)]


def pod(name: str, *, node: str = "node-1", host_network: bool = False, phase: str = "Pending") -> Pod:
    return Pod(
        metadata=ObjectMeta(name=name, uid=f"{name}-uid"),
        spec=PodSpec(node_name=node, host_network=host_network),
        status=PodStatus(phase=phase),
    )


def test_demand_counts_pods_that_need_or_hold_an_address_once() -> None:
    """Bound pods count from binding on; ended and host-network pods do not, unless they still hold an address."""
    (pool,) = pools.desired(network(), [interface(addresses=["10.0.0.5", "10.0.0.6"])], use_primary=False)
    pods = [
        pod("a"),
        pod("b", host_network=True),
        pod("c", phase="Succeeded"),
        pod("d", node=""),
        pod("e", phase="Running"),
    ]
    claims = {
        "10.0.0.5": PoolAllocation(pod="default/a", pod_uid="a-uid"),
        "10.0.0.6": PoolAllocation(pod="default/gone", pod_uid="gone-uid"),
    }
    holding = SpiderIPPool(
        metadata=pool.metadata, spec=pool.spec, status=SpiderIPPoolStatus(allocated_ips=render_allocations(claims))
    )
    found = need(pods, [holding])

    assert found.pods == len({"a", "e", "gone"})
    assert found.held == {ip_address("10.0.0.5"), ip_address("10.0.0.6")}


def subnet(id_: str, *, free: int | None, zone: str = "a") -> Subnet:
    cidr = ip_network("10.0.0.0/24")
    return Subnet(id=SubnetId(id_), zone=zone, network="vpc", cidrs=(cidr,), gateways=(cidr[1],), free=free, tags={})


@pytest.mark.parametrize(
    ("selector", "order"),
    [
        (SubnetSelector(ids=["s3", "s1", "s2"], policy="ordered"), ["s3", "s1", "s2"]),
        (SubnetSelector(policy="mostFree"), ["s2", "s3", "s1"]),
        (SubnetSelector(policy="spread"), ["s3", "s1", "s2"]),
    ],
)
def test_subnets_are_offered_by_policy(selector: SubnetSelector, order: list[str]) -> None:
    """Ordered follows the ids, mostFree the free count, spread what the node uses least; full ones are left out."""
    primary = NetworkInterface(
        id=InterfaceId("eni-0"),
        instance=InstanceId("i-1"),
        subnet=SubnetId("s2"),
        mac=Mac("02:00:00:00:00:01"),
        primary=True,
        device_index=0,
        state=InterfaceState.IN_USE,
        primary_address=ip_address("10.0.0.4"),
        tags={},
    )
    instance = Instance(
        id=InstanceId("i-1"),
        type="t3.medium",
        zone="a",
        network="vpc",
        state=InstanceState.RUNNING,
        interfaces=(primary,),
    )
    offered = [
        subnet("s1", free=10),
        subnet("s2", free=30),
        subnet("s3", free=20),
        subnet("full", free=0),
        subnet("far", free=99, zone="b"),
        subnet("blocked", free=99),
    ]
    found = subnets.candidates(offered, selector, instance, {SubnetId("blocked"): 100.0}, now=50.0)

    assert [item.id for item in found] == order


def about(error: type[NotFound] | type[Denied] | type[Exhausted] | type[LimitReached], **more: str) -> NotFound:
    made = error(provider="aws", operation="CreateNetworkInterface", code="X", message="m")
    for name, value in more.items():
        setattr(made, name, value)
    return made  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("error", "reason", "says"),
    [
        (
            about(Denied, permission="ec2:CreateNetworkInterface"),
            "PermissionMissing",
            "allow ec2:CreateNetworkInterface",
        ),
        (about(Denied), "CredentialsRefused", "credentialsSecretRef"),
        (about(Exhausted, subnet="subnet-9"), "SubnetExhausted", "subnet-9"),
        (about(LimitReached, what="instance"), "InterfaceLimit", "larger instance type"),
        (about(LimitReached, what="interface"), "AddressLimit", "larger instance type"),
        (about(LimitReached, what="account"), "AccountLimit", "quota"),
        (about(NotFound), "NotFound", "providerID"),
        (InvalidInput("spec.driver", found="x", expected="one of aws"), "InvalidValue", "spec.driver"),
    ],
)
def test_advice_says_what_to_do(error: NotFound, reason: str, says: str) -> None:
    """Each kind of trouble has its reason and a text that names what a person changes."""
    advice = advise(error)

    assert advice.reason == reason
    assert says in advice.message


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (
            SpiderNetworkProviderSpec(driver="aws", scheduling=SchedulingPolicy(mode="resource", resource="a.b/c")),
            "spec.scheduling.mode",
        ),
    ],
)
def test_what_is_not_supported_yet_is_refused_by_name(spec: SpiderNetworkProviderSpec, field: str) -> None:
    """A wish that would be ignored is an error that names the field."""
    with pytest.raises(InvalidInput) as refused:
        support.check(spec)

    assert refused.value.field == field


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        pytest.param(AddressPolicy(mode="prefix"), "spec.addresses.mode", id="prefix"),
        pytest.param(AddressPolicy(families=["ipv4", "ipv6"]), "spec.addresses.families", id="ipv6"),
        pytest.param(AddressPolicy(mode="auto"), "", id="auto is never refused"),
    ],
)
def test_what_the_driver_cannot_do_is_refused_by_name(policy: AddressPolicy, field: str) -> None:
    """A driver without prefixes or IPv6 is not asked for them; one that has them is."""
    spec = SpiderNetworkProviderSpec(driver="cloud", addresses=policy)
    support.check_driver(spec, "cloud", Capabilities(interfaces=True, addresses=True, prefixes=True, ipv6=True))
    little = Capabilities(interfaces=True, addresses=True)

    if not field:
        support.check_driver(spec, "cloud", little)
        return
    with pytest.raises(InvalidInput) as refused:
        support.check_driver(spec, "cloud", little)

    assert refused.value.field == field
