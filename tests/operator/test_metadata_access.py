"""From the provider's field to the node's kernel: operator and agent, each whole, on one API server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.netns_node import MASTER, NodeWorld
from support.operator_site import Site, end, eventually, operator
from underlay.cni import main as agent
from underlay.cni.datapath.shell import Datapath
from underlay.cni.settings import Settings
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.api.nodenetwork import Service
from underlay.core.kube.client import KubeClient

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = [pytest.mark.apiserver, pytest.mark.netns]

METADATA = ("169.254.169.254", "fd00:ec2::254", "169.254.170.2")


@pytest.fixture
def world() -> Iterator[NodeWorld]:
    with NodeWorld.built() as world:
        yield world


async def test_the_providers_field_reaches_the_nodes_kernel(
    site: Site, apiserver: "ApiServer", client: KubeClient, world: NodeWorld, tmp_path: Path
) -> None:
    """AWS's metadata is withheld on a node as soon as it is served; with podMetadataAccess it is given to a running
    node, and taken again without, also while the cloud's credentials are gone; the node's record says which.
    """
    await site.add_provider()
    node = await site.add_node()
    rows = site.sim.control("GET", "/table")["interfaces"]
    (mac,) = (row["mac"] for row in rows if row["attachment"]["instance"] == site.nodes[node])
    world.execute(world.host, "ip", "link", "set", MASTER, "address", mac)

    async with operator(site, apiserver.kubeconfig), running_agent(node, apiserver, world, tmp_path):
        await eventually(lambda: lacks(site, node, world, withheld=True))
        named = await spec_of(site, node)
        assert {item.address for item in named if item.purpose == "metadata"} == set(METADATA)
        assert {item.purpose for item in named} == {"metadata", "dns", "time", "pod-identity"}

        for access, secret in ((True, site.name), (False, site.name), (True, "missing"), (False, "missing")):
            spec = {"podMetadataAccess": access, "credentialsSecretRef": {"name": secret, "namespace": "default"}}
            await client.merge_patch(SpiderNetworkProvider, site.name, {"spec": spec})
            await eventually(partial(lacks, site, node, world, withheld=not access))
            assert await spec_of(site, node) == named


async def lacks(site: Site, node: str, world: NodeWorld, *, withheld: bool) -> list[str]:
    """What record and kernel still lack."""
    network = await site.network(node)
    conditions = network.status.conditions if network and network.status else []
    shown = [(item.status, item.reason) for item in conditions if item.type == "MetadataWithheld"]
    wanted = ("True", "Withheld") if withheld else ("False", "PodMetadataAccess")
    problems = [] if shown == [wanted] else [f"condition {shown}"]
    rules = await asyncio.to_thread(world.execute, world.host, "nft", "list", "ruleset")
    if withheld and f'hook egress device "{MASTER}"' not in rules:
        problems.append(f"no filter on {MASTER}")
    return problems + [
        f"{address} in the rules: {not withheld}" for address in METADATA if (address in rules) != withheld
    ]


async def spec_of(site: Site, node: str) -> list[Service]:
    network = await site.network(node)
    assert network is not None
    return list(network.spec.services)


@contextlib.asynccontextmanager
async def running_agent(node: str, apiserver: "ApiServer", world: NodeWorld, folder: Path) -> AsyncIterator[None]:
    """The node's agent in this process, its kernel the world's host."""
    (folder / "netns").mkdir()
    settings = Settings(
        node_name=node,
        kubeconfig=str(apiserver.kubeconfig),
        state_dir=str(folder / "state"),
        socket=str(folder / "agent.sock"),
        spool=str(folder / "spool"),
        netns_folder=str(folder / "netns"),
    )
    task = asyncio.create_task(agent.run(settings, kernel=Datapath(world.path(world.host))))
    try:
        yield
        assert not task.done(), task
    finally:
        await end(task)
