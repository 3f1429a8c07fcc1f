"""The scene of a fixed address: its pod is deleted and comes up on the other node, and whoever talks to it goes on."""

import asyncio
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from world import readings
from world.inside import Pinging
from world.sandbox import Sandbox
from world.stage import PODS, Stage, address_of, node_networks
from world.world import WorldFailed

Json = dict[str, Any]

_SET = "db"
_POD = f"{_SET}-0"


async def fixed_address(stage: Stage) -> str:
    """Pod deleted, rescheduled to the other node: the same address, and a ping from a third pod continues."""
    world = stage.world
    await world.apply_fixed_address("SpiderIPPool")
    await world.until("every node knows of fixed addresses", lambda: _untold(stage), within_seconds=10)
    await world.apply_fixed_address("StatefulSet")
    before = await _running(stage, without="")
    address, old = address_of(before), before.node
    if await _where(stage, address) != old:
        raise WorldFailed(f"{_POD} on {old} has {address}, which the cloud has on {await _where(stage, address)}")
    others = (box for box in world.sandboxes().values() if box.pod != before.pod)
    # Preferably one that has known it as a neighbour on its own node and must find it elsewhere now.
    third = min(others, key=lambda box: (box.node != old, box.pod))
    pinging = Pinging(Path(third.netns), address)
    try:
        await pinging.until_answered(within_seconds=5)
        stage.say(f"{third.pod} pings {address}; {old} is cordoned and {_POD} deleted")
        await world.api.patch(f"/api/v1/nodes/{old}", {"spec": {"unschedulable": True}})
        await world.api.delete(f"{PODS}/{_POD}")
        after = await _running(stage, without=before.uid)
        await pinging.until_answered(within_seconds=5)
        await asyncio.sleep(1.0)  # what comes back stays
    finally:
        counted = await pinging.end()
        await world.api.patch(f"/api/v1/nodes/{old}", {"spec": {"unschedulable": False}})
    if address_of(after) != address or after.node == old:
        raise WorldFailed(f"{_POD} had {address} on {old}, now has {address_of(after)} on {after.node}")
    if (where := await _where(stage, address)) != after.node:
        raise WorldFailed(f"the cloud has {address} on {where}, not on {after.node}")
    if counted.trailing_lost:
        raise WorldFailed(f"the last {counted.trailing_lost} of {counted.sent} echo requests got no answer")
    moved = await _moved(stage)
    await _delete_owner(stage, address)
    return (
        f"{_POD}: {address} on {old}, deleted, {address} on {after.node}; {counted.sent} pings from {third.pod}"
        f" on {third.node},"
        f" {counted.lost} unanswered, all within {counted.gap_seconds:.1f} s; {moved}; given back with its owner"
    )


async def _delete_owner(stage: Stage, address: IPv4Address) -> None:
    """The address goes back to the cloud with the StatefulSet, not with its pod."""
    world = stage.world
    await world.api.delete(f"/apis/apps/v1/namespaces/default/statefulsets/{_SET}")

    async def left() -> str | None:
        if f"default/{_POD}" in world.sandboxes():
            return f"the end of {_POD}"
        where = await _where(stage, address)
        return f"the end of {address}, which {where} still has" if where else None

    await world.until("the address goes back to the cloud", left, within_seconds=40)


async def _untold(stage: Stage) -> str | None:
    """From then on no agent gives a StatefulSet's pod an ordinary address unasked."""
    networks = await node_networks(stage.world)
    without = [name for name, network in networks.items() if not network["spec"].get("fixedAddress")]
    return f"spec.fixedAddress of {', '.join(without)}" if without else None


async def _running(stage: Stage, *, without: str) -> Sandbox:
    """The pod's sandbox, of another incarnation than ``without``, Ready."""
    found: Sandbox | None = None

    async def missing() -> str | None:
        nonlocal found
        box = stage.world.sandboxes().get(f"default/{_POD}")
        if box is None or box.uid == without:
            return f"a new {_POD} with an address{await _said(stage)}"
        pod = await stage.world.api.get(f"{PODS}/{_POD}")
        if pod["metadata"]["uid"] != box.uid or pod["status"].get("podIP") != box.addresses[0]:
            return f"{_POD} Running"
        found = box
        return None

    await stage.world.until(f"{_POD} runs", missing, within_seconds=60)
    if found is None:
        raise WorldFailed(f"{_POD} does not run")
    return found


async def _where(stage: Stage, address: IPv4Address) -> str:
    return ", ".join(eni.node for eni in await readings.cloud(stage.world) if address in eni.addresses)


async def _said(stage: Stage) -> str:
    events = await stage.world.api.items("/api/v1/namespaces/default/events")
    texts = [event["message"] for event in events if event["involvedObject"]["name"] == _POD]
    return f" ({texts[-1]})" if texts else ""


async def _moved(stage: Stage) -> str:
    """The operator's Event says so, too."""

    async def unsaid() -> str | None:
        return None if await _reasons(stage) else "an Event FixedAddressMoved"

    await stage.world.until("the move is told", unsaid, within_seconds=10)
    return "Event FixedAddressMoved"


async def _reasons(stage: Stage) -> list[Json]:
    events = await stage.world.api.items("/api/v1/namespaces/default/events")
    return [
        event for event in events if event["involvedObject"]["name"] == _POD and event["reason"] == "FixedAddressMoved"
    ]
