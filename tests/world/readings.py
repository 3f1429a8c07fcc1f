"""Four independent readings of who has which address: kernel, cloud, pools, endpoints."""

import asyncio
import json
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_interface
from typing import Any

from world.commands import run
from world.world import World

Json = dict[str, Any]

SPIDERPOOL = "/apis/spiderpool.spidernet.io/v2beta1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReading:
    """A SpiderIPPool: its addresses, and who holds one (address → ``namespace/name``)."""

    name: str
    node: str
    interface: str
    addresses: frozenset[IPv4Address]
    held: dict[IPv4Address, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudInterface:
    """An attached interface as the simulator knows it; ``addresses`` are the secondary ones."""

    id: str
    node: str
    device_index: int
    mac: str
    addresses: frozenset[IPv4Address]


async def kernel(world: World) -> dict[str, IPv4Address]:
    """The address on eth0 of every pod's namespace."""
    boxes = world.sandboxes()
    texts = await asyncio.gather(
        *(run("ip", "-n", box.name, "-j", "-4", "addr", "show", "eth0") for box in boxes.values())
    )
    return {
        pod: IPv4Address(json.loads(text)[0]["addr_info"][0]["local"]) for pod, text in zip(boxes, texts, strict=True)
    }


async def cloud(world: World) -> list[CloudInterface]:
    """The simulator's own table, not what its API tells."""
    nodes = {spec.provider_id.rpartition("/")[2]: spec.name for spec in world.nodes}
    return [
        CloudInterface(
            id=eni["id"],
            node=nodes[eni["attachment"]["instance"]],
            device_index=eni["attachment"]["device_index"],
            mac=eni["mac"],
            addresses=frozenset(map(IPv4Address, eni["addresses"])),
        )
        for eni in await world.simulator.interfaces()
        if eni["attachment"] is not None
    ]


async def pools(world: World) -> list[PoolReading]:
    """Spec and ``status.allocatedIPs`` of all pools; the interface's id is their annotation."""
    found = []
    for pool in await world.api.items(f"{SPIDERPOOL}/spiderippools"):
        held = json.loads(pool.get("status", {}).get("allocatedIPs") or "{}")
        meta = pool["metadata"]
        found.append(
            PoolReading(
                name=meta["name"],
                node=next((owner["name"] for owner in meta.get("ownerReferences", [])), ""),
                interface=meta.get("annotations", {}).get("underlay.spidernet.io/interface", ""),
                addresses=frozenset(address for text in pool["spec"].get("ips") or [] for address in _range(text)),
                held={IPv4Address(address): entry["pod"] for address, entry in held.items()},
            )
        )
    return found


async def endpoints(world: World) -> dict[str, IPv4Address]:
    """What the SpiderEndpoints say."""
    return {
        f"{endpoint['metadata']['namespace']}/{endpoint['metadata']['name']}": IPv4Address(ip_interface(ip["ipv4"]).ip)
        for endpoint in await world.api.items(f"{SPIDERPOOL}/spiderendpoints")
        for ip in endpoint["status"]["current"]["ips"]
    }


async def disagreement(world: World) -> str | None:
    """The first difference between the four; None when they agree."""
    in_kernel, at_cloud, in_pools, in_endpoints = await asyncio.gather(
        kernel(world), cloud(world), pools(world), endpoints(world)
    )
    if len(set(in_kernel.values())) != len(in_kernel):
        return f"two pods have one address: {_by_address(in_kernel)}"
    held = {pod: address for pool in in_pools for address, pod in pool.held.items()}
    if held != in_kernel:
        return f"pools against kernel: {_difference(held, in_kernel)}"
    if in_endpoints != in_kernel:
        return f"endpoints against kernel: {_difference(in_endpoints, in_kernel)}"
    nodes = {pod: box.node for pod, box in world.sandboxes().items()}
    where = {address: eni.node for eni in at_cloud for address in eni.addresses}
    for pod, address in in_kernel.items():
        if where.get(address) != nodes.get(pod):
            return f"{pod} on {nodes.get(pod)} has {address}, which the cloud has on {where.get(address)}"
    # A pool without an interface holds fixed addresses, which no node's pool offers.
    fixed = {address for pool in in_pools if not pool.interface for address in pool.held}
    offered = {pool.interface: pool.addresses for pool in in_pools if pool.interface and pool.addresses}
    assigned = {eni.id: eni.addresses - fixed for eni in at_cloud if eni.addresses - fixed}
    if offered != assigned:
        return f"pools against cloud: {offered} and {assigned}"
    return None


def _range(text: str) -> list[IPv4Address]:
    first, _, last = text.partition("-")
    low, high = int(IPv4Address(first)), int(IPv4Address(last or first))
    return [IPv4Address(number) for number in range(low, high + 1)]


def _by_address(pods: dict[str, IPv4Address]) -> str:
    return ", ".join(f"{address} {pod}" for pod, address in sorted(pods.items(), key=lambda item: item[1]))


def _difference(left: dict[str, IPv4Address], right: dict[str, IPv4Address]) -> str:
    differing = sorted(set(left.items()) ^ set(right.items()))
    return ", ".join(f"{pod} {address}" for pod, address in differing[:4])
