"""Which services a node's pods are kept from, and what the agent does about it. The kernel's side: test_metadata."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from support.node import NodeUnderTest
from support.observing import added, journaled, reported, settled
from underlay.cni.state import State
from underlay.cni.withholding import wanted
from underlay.core.api.meta import ObjectMeta
from underlay.core.api.nodenetwork import Service, SpiderNodeNetwork, SpiderNodeNetworkSpec
from underlay.core.identity import Attachment, PodRef
from underlay.core.ipam.claims import Claim, Ledger, PoolAddress

if TYPE_CHECKING:
    from underlay.core.api.nodenetwork import SpiderNodeNetworkStatus

METADATA, RESOLVER = "169.254.169.254", "169.254.169.253"
SERVICES = [
    Service(address=METADATA, purpose="metadata"),
    Service(address="fd00:ec2::254", purpose="metadata"),
    Service(address=RESOLVER, purpose="dns"),
    Service(address="169.254.169.123", purpose="time"),
    Service(address="169.254.170.23", purpose="pod-identity"),
]
WISH = [{"address": METADATA, "purpose": "metadata"}, {"address": RESOLVER, "purpose": "dns"}]


def node_network(*, services: Sequence[Service] = (), access: bool = False) -> SpiderNodeNetwork:
    spec = SpiderNodeNetworkSpec(
        provider="p",
        node_uid="u",
        provider_id="aws:///z/i-1",
        services=list(services),
        pod_metadata_access=access,
    )
    return SpiderNodeNetwork(metadata=ObjectMeta(name="n"), spec=spec)


def held() -> Ledger:
    claim = Claim(
        attachment=Attachment(container_id="c", ifname="eth0"),
        pod=PodRef(namespace="d", name="p", uid="u"),
        network="n",
        netns="/run/netns/c",
        addresses=(PoolAddress(address=ip_address("10.0.0.9"), pool="p", pool_uid="u"),),
        since=0.0,
    )
    return Ledger().claim(claim)


@pytest.mark.parametrize(
    ("state", "services"),
    [
        (State(node_network=node_network(services=SERVICES)), {METADATA, "fd00:ec2::254"}),
        (State(node_network=node_network(services=SERVICES, access=True)), set()),
        (State(node_network=node_network()), set()),
        (
            State(node_network=node_network(services=[Service(address="x", purpose="metadata"), *SERVICES[:1]])),
            {METADATA},
        ),
        (State(), set()),
        (State(ledger=held()), None),
    ],
    ids=["the node's credentials", "access", "no cloud", "no address", "no provider", "no provider, pods left"],
)
def test_what_is_withheld(state: State, services: set[str] | None) -> None:
    """Metadata alone, unless the provider gives access; without a provider nothing, but not while its pods live."""
    assert wanted(state) == (None if services is None else frozenset(map(ip_address, services)))


@pytest.mark.apiserver
async def test_pods_are_routed_and_filtered_as_the_node_network_says(node: NodeUnderTest) -> None:
    """Before its first pod a node withholds metadata on the pool's link and routes all services through the node."""
    await node.wish(services=WISH)
    await node.pool("a", ["10.9.0.10"])
    await node.pod("web")
    await node.start()

    await added(node, "web", "c1")

    await settled(lambda: node.kernel.withheld == (frozenset({ip_address(METADATA)}), frozenset({"eth0"})))
    await settled(lambda: set(node.kernel.node.hijack_cidrs) == {ip_network(METADATA), ip_network(RESOLVER)})
    status = await reported(node, lambda status: "MetadataWithheld" in conditions(status))
    assert conditions(status)["MetadataWithheld"] == ("True", "Withheld")

    await node.wish(podMetadataAccess=True)
    await settled(lambda: node.kernel.withheld == (frozenset(), frozenset({"eth0"})))


@pytest.mark.apiserver
async def test_a_restarted_agent_withholds_from_its_journal(node: NodeUnderTest) -> None:
    """An agent that starts while the API server cannot be reached withholds what the journal says before it serves."""
    await node.wish(services=WISH)
    await node.pool("a", ["10.9.0.10"])
    await node.start()
    withheld = frozenset({ip_address(METADATA)}), frozenset({"eth0"})
    await settled(lambda: node.kernel.withheld == withheld)
    await settled(lambda: wanted(journaled(node)) == withheld[0] and bool(journaled(node).pools))
    await node.stop()
    node.kernel.withheld = frozenset(), frozenset()
    node.point_at("https://127.0.0.1:1")

    await node.start()

    assert node.kernel.withheld == withheld


@pytest.mark.apiserver
async def test_a_kernel_that_cannot_filter_is_a_condition(node: NodeUnderTest) -> None:
    """Where neither nft nor tc can filter a master, the record names the link and the reason."""
    node.kernel.lacks_egress = True
    await node.wish(services=WISH)
    await node.pool("a", ["10.9.0.10"])
    await node.start()

    status = await reported(node, lambda status: conditions(status).get("MetadataWithheld", ("",))[0] == "False")

    (shown,) = (item for item in status.conditions if item.type == "MetadataWithheld")
    assert shown.reason == "NoEgressFilter"
    assert "on eth0 the kernel has no filter (no such hook)" in shown.message
    assert METADATA in shown.message


def conditions(status: "SpiderNodeNetworkStatus") -> dict[str, tuple[str, str]]:
    return {item.type: (item.status, item.reason) for item in status.conditions}
