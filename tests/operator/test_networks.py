"""What surrounds the nodes' interfaces at the cloud is found, kept as the provider says, and given back."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from support.operator_site import KEY, REGION, ZONE, Site, agent, eventually, operator, time_passes
from underlay.core.api.kubernetes import Node
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.kube import errors as kube_errors

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

    from conftest import ApiServer

pytestmark = pytest.mark.apiserver
OFTEN = {"resync_seconds": 1.0}


@pytest.fixture
def ec2(site: Site) -> Iterator["EC2Client"]:
    """With it people change what is at the cloud."""
    client = boto3.client(
        "ec2",
        endpoint_url=site.sim.url,
        region_name=REGION,
        aws_access_key_id=KEY,
        aws_secret_access_key="any",  # noqa: S106 the simulator checks none
    )
    yield client
    client.close()


def _group(site: Site, name: str, **tags: str) -> str:
    return str(site.sim.control("POST", "/security-groups", {"vpc": site.vpc, "name": name, "tags": tags})["id"])


def _rows(site: Site, node: str) -> list[dict[str, Any]]:
    rows = site.sim.control("GET", "/table")["interfaces"]
    return [row for row in rows if row["attachment"] and row["attachment"]["instance"] == site.nodes[node]]


def _made(site: Site, node: str) -> list[dict[str, Any]]:
    return [row for row in _rows(site, node) if row["attachment"]["device_index"]]


async def _unlike(site: Site, node: str, *groups: str) -> str:
    found = [row["groups"] for row in _made(site, node)]
    return "" if found and all(set(item) == set(groups) for item in found) else f"{found}, not {groups}"


async def _condition(site: Site, kind: str) -> tuple[str, str, str]:
    value = await site.client.get(SpiderNetworkProvider, site.name)
    found = [item for item in (value.status.conditions if value.status else []) if item.type == kind]
    return (found[0].status, found[0].reason, found[0].message) if found else ("", "", "")


async def _not_told(site: Site, kind: str, status: str, reason: str, text: str = "") -> str:
    found = await _condition(site, kind)
    return "" if found[:2] == (status, reason) and text in found[2] else f"{kind}: {found}"


async def test_groups_follow_tags(site: Site, ec2: "EC2Client", apiserver: "ApiServer") -> None:
    """New interfaces have the groups with the provider's tags; when another group gets them, so do the interfaces. The
    primary interface keeps its own.
    """
    one, two = _group(site, "one", pods="yes"), _group(site, "two")
    await site.add_provider(securityGroups={"tags": {"pods": "yes"}}, interfaces={"usePrimary": False})
    node = await site.add_node()
    before = {row["id"]: row["groups"] for row in _rows(site, node)}
    async with operator(site, apiserver.kubeconfig, **OFTEN), agent(site, node):
        await site.bind(node, 2)
        await eventually(lambda: _unlike(site, node, one), seconds=30)
        ec2.create_tags(Resources=[two], Tags=[{"Key": "pods", "Value": "yes"}])
        await eventually(lambda: _unlike(site, node, one, two), seconds=30)

        assert {row["id"]: row["groups"] for row in _rows(site, node) if row["id"] in before} == before
        settled = site.calls()["ModifyNetworkInterfaceAttribute"]["OK"]
        await site.rest(node, addresses=4, interfaces=2)
        assert site.calls()["ModifyNetworkInterfaceAttribute"]["OK"] == settled


async def test_groups_follow_the_primary_interface(site: Site, ec2: "EC2Client", apiserver: "ApiServer") -> None:
    """Without ids and tags they are the primary interface's, also after somebody changed those; then the provider's."""
    one, two = _group(site, "one"), _group(site, "two")
    await site.add_provider(interfaces={"usePrimary": False})
    node = await site.add_node()
    (primary,) = _rows(site, node)
    async with operator(site, apiserver.kubeconfig, **OFTEN), agent(site, node):
        await site.bind(node, 2)
        await eventually(lambda: _unlike(site, node, *primary["groups"]), seconds=30)
        ec2.modify_network_interface_attribute(NetworkInterfaceId=primary["id"], Groups=[one])
        await eventually(lambda: _unlike(site, node, one), seconds=30)
        await site.client.apply(
            SpiderNetworkProvider, site.name, {"spec": {"securityGroups": {"ids": [two]}}}, manager="person"
        )
        await eventually(lambda: _unlike(site, node, two), seconds=30)


async def test_tags_of_no_group(site: Site, apiserver: "ApiServer") -> None:
    """No interface is made with the cloud's default group instead: the node says which field is wrong, and why."""
    await site.add_provider(securityGroups={"tags": {"pods": "yes"}}, interfaces={"usePrimary": False})
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig, **OFTEN), agent(site, node):
        await site.bind(node, 2)

        async def untold() -> str:
            found = await site.sufficient(node)
            return "" if found and "spec.securityGroups.tags" in found.message else f"{found}"

        await eventually(untold, seconds=30)
        network = await site.network(node)
        assert network is not None
        assert network.status is not None
        assert network.status.intents == []
        assert _made(site, node) == []


async def test_subnets_are_discovered(site: Site, ec2: "EC2Client", apiserver: "ApiServer") -> None:
    """With neither ids nor tags, interfaces are made in subnets whose role is for pods; the node's own is not for
    pods.
    """
    place = {"vpc": site.vpc, "zone": ZONE, "cidr": "10.80.2.0/24", "tags": {"kubernetes.io/role/cni": "1"}}
    pods = site.sim.control("POST", "/subnets", place)["id"]
    site.sim.control("POST", "/subnets", {"vpc": site.vpc, "zone": ZONE, "cidr": "10.80.4.0/22"})
    ec2.create_tags(Resources=[site.subnet], Tags=[{"Key": "kubernetes.io/role/cni", "Value": "0"}])
    await site.add_provider(interfaces={"usePrimary": False})
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig), agent(site, node):
        await site.bind(node, 2)
        await site.rest(node, addresses=4, interfaces=2)

    assert [row["subnet"] for row in _made(site, node)] == [pods]


async def test_pods_without_a_way_out(site: Site, apiserver: "ApiServer") -> None:
    """A subnet with an internet gateway and no NAT is a condition of the provider that names it, until that changes."""
    table = {"vpc": site.vpc, "subnets": [site.subnet], "default": "internet-gateway"}
    site.sim.control("POST", "/route-tables", table)
    await site.add_provider(subnets={"ids": [site.subnet]})
    async with operator(site, apiserver.kubeconfig):
        await eventually(lambda: _not_told(site, "PodEgress", "False", "NoPublicAddress", site.subnet))


async def test_blocks_are_kept_and_given_back(site: Site, apiserver: "ApiServer") -> None:
    """Blocks are reserved for their use, once, though a reply was lost; what the provider no longer asks for, and all
    of ours when it is deleted, is given back. Somebody else's stays.
    """
    blocks = [{"cidr": "10.80.1.64/26", "use": "prefix"}, {"cidr": "10.80.1.128/28", "use": "fixed"}]
    site.sim.control("POST", "/faults", {"operation": "CreateSubnetCidrReservation", "kind": "lost_reply"})
    await site.add_provider(subnets={"ids": [site.subnet], "reservations": blocks})

    async def unlike(*expected: tuple[str, str]) -> str:
        (row,) = [row for row in site.sim.control("GET", "/table")["subnets"] if row["id"] == site.subnet]
        found = {(held["cidr"], held["type"]) for held in row["reservations"]}
        return "" if found == set(expected) else f"{found}"

    async with operator(site, apiserver.kubeconfig):
        await eventually(lambda: unlike(("10.80.1.64/26", "prefix"), ("10.80.1.128/28", "explicit")), seconds=50)
        await eventually(lambda: _not_told(site, "Reserved", "True", "Reserved", "10.80.1.64/26"), seconds=50)
        await site.add_provider(subnets={"ids": [site.subnet], "reservations": blocks[:1]})
        await eventually(lambda: unlike(("10.80.1.64/26", "prefix")), seconds=50)
        await site.add_provider(
            subnets={"ids": [site.subnet], "reservations": [{"cidr": "10.9.0.0/28", "use": "fixed"}]}
        )
        await eventually(lambda: _not_told(site, "Reserved", "False", "NoSubnet", "10.9.0.0/28"), seconds=50)
        await site.add_provider(subnets={"ids": [site.subnet], "reservations": blocks})
        await eventually(lambda: _not_told(site, "Reserved", "True", "Reserved"), seconds=50)
        await site.client.delete(SpiderNetworkProvider, site.name)
        await eventually(lambda: _still_there(site), seconds=50)

    assert await unlike() == ""


async def test_blocks_are_kept_in_subnets_that_nodes_show(site: Site, apiserver: "ApiServer") -> None:
    """Where the provider names no subnets a block is reserved as soon as a node has shown the one it lies in; the next
    leader takes it from the provider's status, whether or not there is a node.
    """
    await site.add_provider(subnets={"reservations": [{"cidr": "10.80.1.64/28", "use": "prefix"}]})
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig):
        await eventually(lambda: _not_told(site, "Reserved", "True", "Reserved"))
    await site.client.delete(Node, node)
    site.terminate(node)
    read = sum(site.calls()["GetSubnetCidrReservations"].values())

    async def unread() -> bool:
        return sum(site.calls()["GetSubnetCidrReservations"].values()) == read

    async with operator(site, apiserver.kubeconfig):
        await eventually(unread)
        await time_passes(2)
        assert await _not_told(site, "Reserved", "True", "Reserved") == ""


async def test_a_block_that_somebody_else_has(site: Site, ec2: "EC2Client", apiserver: "ApiServer") -> None:
    """What overlaps another's reservation is a condition that names it; the other's is never touched."""
    foreign = ec2.create_subnet_cidr_reservation(SubnetId=site.subnet, Cidr="10.80.1.64/28", ReservationType="explicit")
    reservation = foreign["SubnetCidrReservation"]["SubnetCidrReservationId"]
    blocks = [{"cidr": "10.80.1.64/26", "use": "prefix"}]
    await site.add_provider(subnets={"ids": [site.subnet], "reservations": blocks})
    async with operator(site, apiserver.kubeconfig):
        await eventually(lambda: _not_told(site, "Reserved", "False", "Rejected", reservation), seconds=50)

    held = ec2.get_subnet_cidr_reservations(SubnetId=site.subnet)["SubnetIpv4CidrReservations"]
    assert [item["SubnetCidrReservationId"] for item in held] == [reservation]


async def _still_there(site: Site) -> str:
    try:
        await site.client.get(SpiderNetworkProvider, site.name)
    except kube_errors.NotFound:
        return ""
    return "the provider is still there"
