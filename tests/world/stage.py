"""What the demo's scenes share: the world they play in, and what most of them wait for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from world import readings
from world.api import ApiError
from world.inside import unreachable
from world.sandbox import Sandbox
from world.world import World, WorldFailed

Json = dict[str, Any]

PODS = "/api/v1/namespaces/default/pods"


@dataclass(kw_only=True)
class Stage:
    """What the scenes share. ``say`` shows what the running scene waits for."""

    world: World
    say: Callable[[str], None]
    answered: set[str] = field(default_factory=set)
    """Pods that every other pod got an answer from, when last asked."""


async def node_networks(world: World) -> dict[str, Json]:
    found = await world.api.items(f"{readings.SPIDERPOOL}/spidernodenetworks")
    return {network["metadata"]["name"]: network for network in found if network.get("status")}


async def all_running(stage: Stage, count: int, *, within_seconds: float) -> None:
    """So many pods are Ready, none other is there, and each has an address of an interface of its own node."""
    world = stage.world

    async def missing() -> str | None:
        pods = await world.api.items(PODS)
        ready = [pod for pod in pods if _is_ready(pod)]
        stage.say(f"{len(ready)} of {count} pods are Ready")
        if len(ready) == count == len(pods):
            return None
        waiting = [pod["metadata"]["name"] for pod in pods if pod not in ready]
        return f"{count} Ready pods, found {len(ready)} of {len(pods)}; {await _why(world, waiting)}"

    await world.until(f"{count} pods are Ready", missing, within_seconds=within_seconds)
    nodes = {address: eni.node for eni in await readings.cloud(world) for address in eni.addresses}
    for pod in await world.api.items(PODS):
        address, node = IPv4Address(pod["status"]["podIP"]), pod["spec"]["nodeName"]
        if nodes.get(address) != node:
            raise WorldFailed(f"{pod['metadata']['name']} on {node} has {address}, an address of {nodes.get(address)}")


async def _why(world: World, waiting: list[str]) -> str:
    """What the newest Events say about the first waiting pod."""
    try:
        events = await world.api.items("/api/v1/namespaces/default/events")
    except ApiError:
        return ""
    texts = [event["message"] for event in events if event["involvedObject"]["name"] in waiting[:1]]
    return f"{waiting[0]}: {texts[-1]}" if texts else f"waiting: {', '.join(waiting[:4])}"


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    ready = any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


async def all_answer(stage: Stage, boxes: dict[str, Sandbox]) -> None:
    """Every pod gets an answer from every other, and none from itself is asked for."""
    pods = {address_of(box): box for box in boxes.values()}
    silent = await unreachable({address: Path(box.netns) for address, box in pods.items()}, list(pods))
    stage.answered = {pods[address].pod for address in pods.keys() - {target for _, target in silent}}
    if silent:
        source, target = min(silent)
        raise WorldFailed(
            f"{len(silent)} of {len(pods) * (len(pods) - 1)} pairs do not answer, for example {pods[source].pod}"
            f" ({source}, {pods[source].node}) → {pods[target].pod} ({target}, {pods[target].node})"
        )


def address_of(box: Sandbox) -> IPv4Address:
    return IPv4Address(box.addresses[0])
