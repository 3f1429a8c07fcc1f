"""What a node had before Underlay came."""

from typing import TYPE_CHECKING, Any

import pytest

from support.operator_site import Site, agent, eventually, operator
from underlay.core.addresses import RangeSet
from underlay.core.api.ippool import INTERFACE_ANNOTATION
from underlay.core.api.kubernetes import Pod
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.kube import errors as kube_errors

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver


async def test_what_was_there_is_left_alone(site: Site, apiserver: "ApiServer") -> None:
    """An interface attached by hand and an address of the first one are no pod's, survive a new leader, shrinking and
    the provider's removal, and take their places of the instance's limits.
    """
    node = await site.add_node()
    instance = site.nodes[node]
    primary = next(iter(site.interfaces(node)))
    with site.ec2() as ec2:
        given = ec2.assign_private_ip_addresses(NetworkInterfaceId=primary, SecondaryPrivateIpAddressCount=2)
    by_hand = _attached_by_hand(site, instance)
    theirs = {item["PrivateIpAddress"] for item in given["AssignedPrivateIpAddresses"]} | by_hand["addresses"]
    await eventually(lambda: _detached(site, node, by_hand["id"]))
    before = site.interfaces(node)
    await site.add_provider()
    for _ in ("a leader", "the next one"):
        async with operator(site, apiserver.kubeconfig), agent(site, node) as stand_in:
            # A t3.medium has 3 interfaces of 5: what is left is 3 on the first and 5 on one more.
            await site.bind(node, 8)
            await eventually(lambda: _held(stand_in.held(), 8))
            assert not stand_in.held() & theirs
            assert theirs <= set().union(*site.interfaces(node).values())
            assert not await _listed(site, node) & theirs

            await site.bind(node, 0)
            await eventually(lambda: _no_more_than(site, node, theirs, 4))

    async with operator(site, apiserver.kubeconfig), agent(site, node):
        await site.client.delete(SpiderNetworkProvider, site.name)
        await eventually(lambda: _still_there(site), seconds=30)
        assert site.interfaces(node) == before


async def test_what_was_there_is_adopted(site: Site, apiserver: "ApiServer") -> None:
    """An interface that another plugin attached becomes the cluster's own: pods get its addresses, but not the one that
    a pod of that plugin has until it ends; in the end it goes back with all the others.
    """
    node = await site.add_node()
    by_hand = _attached_by_hand(site, site.nodes[node])
    await eventually(lambda: _detached(site, node, by_hand["id"]))
    kept, free = sorted(by_hand["addresses"])
    await site.bind(node, 1)
    status = {"status": {"phase": "Running", "podIP": kept, "podIPs": [{"ip": kept}]}}
    await site.client.merge_patch(Pod, f"{node}-0", status, namespace="default", subresource="status")
    await site.add_provider(interfaces={"usePrimary": False, "existing": "adopt"})
    async with operator(site, apiserver.kubeconfig), agent(site, node) as stand_in:
        await eventually(lambda: _unlisted(site, node, by_hand["id"], {free}))
        assert kept not in await _listed(site, node)
        await eventually(lambda: _outlives(site, by_hand["id"]))

        await site.bind(node, 0)
        await eventually(lambda: _unlisted(site, node, by_hand["id"], {kept}))
        # A t3.medium has two interfaces of 5 besides its first: eight pods do not fit on one.
        await site.bind(node, 8)
        await eventually(lambda: _held(stand_in.held(), 8))
        assert len(site.interfaces(node)) == 3
        assert len(site.interfaces(node)[by_hand["id"]] & stand_in.held()) >= 3

        await site.bind(node, 0)
        await site.client.delete(SpiderNetworkProvider, site.name)
        await eventually(lambda: _still_there(site), seconds=30)
        assert by_hand["id"] not in {row["id"] for row in site.sim.control("GET", "/table")["interfaces"]}


def _attached_by_hand(site: Site, instance: str) -> dict[str, Any]:
    with site.ec2() as ec2:
        made = ec2.create_network_interface(SubnetId=site.subnet, SecondaryPrivateIpAddressCount=2)["NetworkInterface"]
        ec2.attach_network_interface(NetworkInterfaceId=made["NetworkInterfaceId"], InstanceId=instance, DeviceIndex=1)
    addresses = {item["PrivateIpAddress"] for item in made["PrivateIpAddresses"] if not item["Primary"]}
    return {"id": made["NetworkInterfaceId"], "addresses": addresses}


async def _detached(site: Site, node: str, interface: str) -> str:
    return "" if interface in site.interfaces(node) else f"{interface} is not attached yet"


async def _held(held: set[str], count: int) -> str:
    return "" if len(held) == count else f"{len(held)} of {count} held"


async def _listed(site: Site, node: str) -> set[str]:
    network = await site.network(node)
    assert network is not None
    assert network.status is not None
    return {address for item in network.status.interfaces if item.managed for address in item.addresses}


async def _unlisted(site: Site, node: str, interface: str, addresses: set[str]) -> str:
    pools = [pool for pool in await site.pools(node) if pool.metadata.annotations[INTERFACE_ANNOTATION] == interface]
    listed = {str(ip) for pool in pools for ip in RangeSet.parse(pool.spec.ips or [], field="ips")}
    return "" if addresses <= listed else f"{interface} lists {listed}"


async def _outlives(site: Site, interface: str) -> str:
    rows = {row["id"]: row for row in site.sim.control("GET", "/table")["interfaces"]}
    return "" if rows[interface]["attachment"]["delete_on_termination"] else f"{interface} outlives its machine"


async def _no_more_than(site: Site, node: str, theirs: set[str], count: int) -> str:
    ours = set().union(*site.interfaces(node).values()) - theirs
    return "" if len(ours) <= count else f"{len(ours)} of ours"


async def _still_there(site: Site) -> str:
    try:
        provider = await site.client.get(SpiderNetworkProvider, site.name)
    except kube_errors.NotFound:
        return ""
    return f"provider is still there: {provider.status.conditions if provider.status else None}"
