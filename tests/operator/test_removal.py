"""A provider that is deleted, or that a node leaves, takes back everything it gave, and nothing else."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest
from boto3.session import Session

from support.operator_site import KEY, REGION, Site, agent, eventually, operator
from underlay.core.api.kubernetes import Namespace, Node
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.cloud.tags import CLUSTER
from underlay.core.kube import errors as kube_errors
from underlay.operator.removal import FINALIZER

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import TagTypeDef

    from conftest import ApiServer

pytestmark = pytest.mark.apiserver


async def test_a_deleted_provider_returns_everything_and_then_goes(site: Site, apiserver: "ApiServer") -> None:
    """Idle addresses go at once, held ones with their pods; meanwhile a condition names the node and what to do; in
    the end the cloud is as it was before, strangers' interfaces included, and no object is left.
    """
    node = await site.add_node()
    strange = _made_by_hand(site, {"team": "blue"})
    before = _truth(site)
    await site.add_provider()
    async with operator(site, apiserver.kubeconfig), agent(site, node) as stand_in:
        await site.bind(node, 6)
        await site.rest(node, addresses=8)
        await eventually(lambda: _count(stand_in.held(), 6))
        held = stand_in.held()

        await site.client.delete(SpiderNetworkProvider, site.name)
        await eventually(lambda: _idle_left(site, node, held))
        await eventually(lambda: _untold(site, node))
        assert stand_in.held() == held

        await site.bind(node, 0)
        await eventually(lambda: _still_there(site), seconds=30)
        assert _truth(site) == before
        assert strange in before
        assert await site.network(node) is None
        assert await site.pools(node) == []


async def test_an_interface_that_lost_its_machine_goes_with_its_provider(site: Site, apiserver: "ApiServer") -> None:
    """What is attached to nothing and claimed by no node is deleted before the provider goes, however young it is."""
    await site.add_provider()
    async with operator(site, apiserver.kubeconfig):
        await eventually(lambda: _unheld(site))
        orphan = _made_by_hand(site, {CLUSTER: await _cluster(site)})
        assert orphan in _truth(site)

        await site.client.delete(SpiderNetworkProvider, site.name)

        await eventually(lambda: _still_there(site))
        assert orphan not in _truth(site)


async def test_a_node_that_no_provider_selects_any_more_gives_back(site: Site, apiserver: "ApiServer") -> None:
    """Its label is taken away: its addresses return and its SpiderNodeNetwork goes, the other node keeps its own; when
    another provider selects it, it is served anew.
    """
    await site.add_provider()
    node, other = await site.add_node(), await site.add_node("other")
    async with operator(site, apiserver.kubeconfig), agent(site, node), agent(site, other):
        await site.rest(node, addresses=4)
        await site.rest(other, addresses=4)

        await site.client.merge_patch(Node, node, {"metadata": {"labels": {"site": "nobody"}}})

        await eventually(lambda: site.network(node))
        assert sum(map(len, site.interfaces(node).values())) == 0
        await site.rest(other, addresses=4)

        second = f"{site.name}-second"
        await site.add_provider(second)
        await site.client.merge_patch(Node, node, {"metadata": {"labels": {"site": second}}})
        await site.rest(node, addresses=4)
        network = await site.network(node)
        assert network is not None
        assert network.spec.provider == second


def _truth(site: Site) -> dict[str, set[str]]:
    """All interfaces of the account, with their secondary addresses."""
    return {row["id"]: set(row["addresses"]) for row in site.sim.control("GET", "/table")["interfaces"]}


def _made_by_hand(site: Site, tags: Mapping[str, str]) -> str:
    """An interface with one secondary address, attached to nothing."""
    session = Session(aws_access_key_id=KEY, aws_secret_access_key="any", region_name=REGION)  # noqa: S106
    named: list[TagTypeDef] = [{"Key": key, "Value": value} for key, value in tags.items()]
    made = session.client("ec2", endpoint_url=site.sim.url).create_network_interface(
        SubnetId=site.subnet,
        SecondaryPrivateIpAddressCount=1,
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": named}],
    )
    return made["NetworkInterface"]["NetworkInterfaceId"]


async def _cluster(site: Site) -> str:
    return (await site.client.get(Namespace, "kube-system")).metadata.uid or ""


async def _count(held: set[str], count: int) -> str:
    return "" if len(held) == count else f"{len(held)} of {count} held"


async def _idle_left(site: Site, node: str, held: set[str]) -> str:
    have = set().union(*site.interfaces(node).values())
    return "" if have == held else f"{have} != {held}"


async def _untold(site: Site, node: str) -> str:
    provider = await site.client.get(SpiderNetworkProvider, site.name)
    found = [item for item in provider.status.conditions if item.type == "Returned"] if provider.status else []
    told = any(item.status == "False" and node in item.message and "To do: " in item.message for item in found)
    return "" if told else f"not told: {found}"


async def _still_there(site: Site) -> str:
    try:
        provider = await site.client.get(SpiderNetworkProvider, site.name)
    except kube_errors.NotFound:
        return ""
    return f"provider is still there: {provider.status.conditions if provider.status else None}"


async def _unheld(site: Site) -> str:
    provider = await site.client.get(SpiderNetworkProvider, site.name)
    return "" if FINALIZER in provider.metadata.finalizers else "no finalizer yet"
