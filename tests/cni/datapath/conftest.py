"""A node in namespaces with a datapath, and wishes for its pods."""

from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from support.netns_node import GATEWAY, MASTER, NODE_ADDRESS, NodeWorld
from underlay.cni.datapath.attach import Want
from underlay.cni.datapath.calls import NodeFacts
from underlay.cni.datapath.shell import Datapath

NODE = NodeFacts(addresses=(ip_address(NODE_ADDRESS),), service_cidrs=(ip_network("10.96.0.0/16"),))


@pytest.fixture
def world() -> Iterator[NodeWorld]:
    with NodeWorld.built() as world:
        yield world


@pytest.fixture
async def datapath(world: NodeWorld) -> AsyncIterator[Datapath]:
    """Started on the world's host, its master ready."""
    datapath = Datapath(world.path(world.host), node=NODE, address_wait_seconds=0.5)
    await datapath.start()
    try:
        await datapath.prepare_master(MASTER)
        yield datapath
    finally:
        await datapath.close()


@pytest.fixture
def wanting(world: NodeWorld) -> Callable[..., Want]:
    """A wish for a macvlan pod in 10.0.1.0/24; anything can be said otherwise."""

    def want(pod: str, address: str = "10.0.1.10", **otherwise: object) -> Want:
        wish = {
            "container_id": f"{pod[::-1]}0123456789abcdef",
            "ifname": "eth0",
            "netns": str(world.path(pod)),
            "kind": "macvlan",
            "master": MASTER,
            "addresses": (ip_interface(f"{address}/24"),),
            "gateways": (ip_address(GATEWAY),),
        }
        return Want(**(wish | otherwise))  # type: ignore[arg-type]

    return want
