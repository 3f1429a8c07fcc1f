"""The demo's scenes, in order. Each does one thing a user does, checks what must hold, returns one line about it."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from world import readings, workload
from world.commands import run
from world.inside import echo_frame, http_get, listen_icmp, received, send_frame, unreachable
from world.moving import fixed_address
from world.runner import HOLD
from world.sandbox import Sandbox
from world.stage import PODS, Stage, address_of, all_answer, all_running, node_networks
from world.world import INSTANCE_TYPE, VPC, World, WorldFailed

Json = dict[str, Any]

GATEWAY = VPC[1]
FOREIGN_MAC = "02:de:ad:be:ef:01"
_DEPLOYMENT = f"/apis/apps/v1/namespaces/default/deployments/{workload.APP}"
_LATE = "late"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """``play`` returns the outcome in one line; it raises ``WorldFailed`` (or ``AssertionError``) when something does
    not hold.
    """

    title: str
    play: Callable[[Stage], Awaitable[str]]


async def cluster(stage: Stage) -> str:
    """Real control plane, simulated cloud, two machines, operator and agents."""
    await stage.world.start(stage.say)
    return f"2 nodes Ready ({INSTANCE_TYPE}: 3 interfaces x 6 addresses); pods will be on {stage.world.kind}"


async def provider(stage: Stage) -> str:
    """The one object an administrator writes."""
    world = stage.world
    name = await world.apply_provider()
    stage.say("addresses for the first pods are asked for")

    async def missing() -> str | None:
        networks = await node_networks(world)
        for spec in world.nodes:
            if spec.name not in networks:
                return f"the SpiderNodeNetwork of {spec.name}"
        offered = {(pool.node, pool.interface) for pool in await readings.pools(world) if pool.addresses}
        wanted = {(eni.node, eni.id) for eni in await readings.cloud(world) if eni.addresses}
        if {node for node, _ in wanted} != {spec.name for spec in world.nodes}:
            return "addresses at the cloud for every node"
        return None if offered == wanted else f"pools for {sorted(wanted - offered)}"

    await world.until("every node has a pool of addresses from the cloud", missing, within_seconds=30)
    pools = await readings.pools(world)
    addresses = sum(len(pool.addresses) for pool in pools)
    waits = "its cool-down (5 s) and release delay (6 s) are short, to be watched"
    return f"provider {name!r}: {addresses} addresses at the cloud, {len(pools)} pools; {waits}"


async def twelve_pods(stage: Stage) -> str:
    """A Deployment, scheduled by the real scheduler."""
    await stage.world.api.apply(workload.deployment(12))
    await all_running(stage, 12, within_seconds=60)
    return await _interfaces_line(stage.world, "12 pods Running, each with an address of an interface of its node")


async def everybody_pings(stage: Stage) -> str:
    """Within a node and across nodes, through the simulated VPC."""
    boxes = stage.world.sandboxes()
    await all_answer(stage, boxes)
    nodes = {spec.name: sum(box.node == spec.name for box in boxes.values()) for spec in stage.world.nodes}
    return f"{len(boxes) * (len(boxes) - 1)} pairs answer, within and across {len(nodes)} nodes"


async def spoofing(stage: Stage) -> str:
    """What a cloud drops, the fabric drops and counts."""
    world = stage.world
    source, target = _two_nodes(world)
    before = await world.fabric.drops()
    eni = next(eni.id for eni in await readings.cloud(world) if address_of(source) in eni.addresses)
    mac, gateway_mac = await _own_mac(source), await _gateway_mac(source)
    plugged = (await world.fabric.interfaces()).values()
    used = {IPv4Address(address) for interface in plugged for address in interface["addresses"]}
    used |= {address for interface in plugged for prefix in interface["prefixes"] for address in IPv4Network(prefix)}
    unassigned = next(address for address in list(VPC.hosts())[20:] if address not in used)
    marks = {kind: os.urandom(16) for kind in ("honest", "unassigned_source", "foreign_mac")}
    senders = {
        "honest": (mac, address_of(source)),
        "unassigned_source": (mac, unassigned),
        "foreign_mac": (FOREIGN_MAC, address_of(source)),
    }
    listener = listen_icmp(Path(target.netns))
    try:
        for kind, (source_mac, address) in senders.items():
            frame = echo_frame(
                source_mac=source_mac,
                target_mac=gateway_mac,
                source=address,
                target=address_of(target),
                mark=marks[kind],
            )
            for _ in range(3):
                send_frame(Path(source.netns), "eth0", frame)

        async def uncounted() -> str | None:
            drops = (await world.fabric.drops())[eni]
            less = [kind for kind in before[eni] if drops[kind] < before[eni][kind] + 3]
            return f"dropped frames in the counts {less}" if less else None

        await world.until("the fabric counts the forged frames", uncounted, within_seconds=5)
        seen = set()
        async with asyncio.timeout(5):
            while "honest" not in seen:
                seen |= {kind for kind, mark in marks.items() if received(listener, mark)}
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise WorldFailed("the honest frame did not arrive, so nothing is proved about the forged ones") from None
    finally:
        listener.close()
    if seen != {"honest"}:
        raise WorldFailed(f"forged frames arrived: {sorted(seen - {'honest'})}")
    return f"3 frames from {unassigned} and 3 with a foreign MAC dropped and counted; honest ones arrive"


async def service(stage: Stage) -> str:
    """A ClusterIP with one backend on the client's node and one on the other, by kube-proxy."""
    world = stage.world
    boxes = sorted(world.sandboxes().values(), key=lambda box: box.pod)
    client = boxes[0]
    local = next(box for box in boxes[1:] if box.node == client.node)
    remote = next(box for box in boxes if box.node != client.node)
    for backend in (local, remote):
        name = backend.pod.partition("/")[2]
        await world.api.patch(f"{PODS}/{name}", {"metadata": {"labels": {"backend": "yes"}}})
    made = await world.api.apply(workload.service("two", selector={"backend": "yes"}))
    address = IPv4Address(made["spec"]["clusterIP"])
    stage.say(f"http://{address}/")

    async def unanswered() -> str | None:
        seen: list[str] = []
        for _ in range(20):
            try:
                seen.append(await http_get(Path(client.netns), address, workload.PORT))
            except OSError as error:
                return f"an answer from {address} ({type(error).__name__} {error})"
        wanted = {local.pod, remote.pod}
        return None if set(seen) == wanted else f"answers of {sorted(wanted)}, found {sorted(set(seen))}"

    await world.until("the Service answers from both backends", unanswered, within_seconds=30)
    return f"http://{address}/ answered 20 of 20 times, by a backend here and one on {remote.node}"


async def scale_up(stage: Stage) -> str:
    """More pods than two interfaces have room for."""
    before = len(await readings.cloud(stage.world))
    await _scale(stage.world, 24)
    await all_running(stage, 24, within_seconds=60)
    await all_answer(stage, stage.world.sandboxes())
    after = len(await readings.cloud(stage.world))
    if after <= before:
        raise WorldFailed(f"no interface was added: {before} before, {after} after")
    return await _interfaces_line(stage.world, f"24 pods Running, {after - before} interfaces more, 552 pairs answer")


async def scale_down(stage: Stage) -> str:
    """What nobody needs goes back: to the pools after the cool-down, to the cloud when it stays surplus."""
    world = stage.world
    before = await readings.cloud(world)
    await _scale(world, 4)
    cooled = 0

    async def unfinished() -> str | None:
        nonlocal cooled
        networks = await node_networks(world)
        demand = {name: network["status"].get("demand") or {} for name, network in networks.items()}
        cooling = sum(found.get("cooling", 0) for found in demand.values())
        cooled = max(cooled, cooling)
        if (pods := len(world.sandboxes())) != 4:
            return f"4 pods, found {pods}"
        if cooling:
            return f"the end of the cool-down of {cooling} addresses"
        now = await readings.cloud(world)
        for name, found in demand.items():
            assigned = sum(len(eni.addresses) for eni in now if eni.node == name)
            stage.say(f"{sum(len(eni.addresses) for eni in now)} addresses on {len(now)} interfaces")
            if assigned != found.get("target"):
                return f"{found.get('target')} addresses on {name}, found {assigned}"
        if empty := [eni.id for eni in now if eni.device_index and not eni.addresses]:
            return f"the end of {', '.join(empty)}, which serve nobody"
        return await readings.disagreement(world)

    await world.until("surplus addresses are back at the cloud", unfinished, within_seconds=60)
    after = await readings.cloud(world)
    for spec in world.nodes:
        if sum(eni.node == spec.name for eni in after) >= sum(eni.node == spec.name for eni in before):
            raise WorldFailed(f"{spec.name} still has all its interfaces: {[eni.id for eni in after]}")
    if not cooled:
        raise WorldFailed("no address was seen cooling down")
    gone = sum(len(eni.addresses) for eni in before) - sum(len(eni.addresses) for eni in after)
    return f"{cooled} addresses cooled down; {gone} and {len(before) - len(after)} interfaces went back to the cloud"


async def outage(stage: Stage) -> str:
    """The API server is away and an agent starts anew; a pod that was bound before still gets its network."""
    world = stage.world
    node = world.nodes[0].name
    await world.api.apply(workload.pod(_LATE, node=node, annotations={HOLD: "until the outage"}))

    async def unbound() -> str | None:
        bound = (await world.api.get(f"{PODS}/{_LATE}"))["spec"].get("nodeName")
        counted = {
            name: network["status"].get("demand") or {} for name, network in (await node_networks(world)).items()
        }
        have = sum(box.node == node for box in world.sandboxes().values())
        return None if bound and counted[node].get("pods") == have + 1 else "the late pod bound and counted"

    await world.until("the scheduler binds the late pod", unbound, within_seconds=20)
    await asyncio.sleep(1.0)  # the agent writes down what it heard of a bound pod within that time
    await world.stop_apiserver()
    stage.say(f"kube-apiserver is stopped, the agent of {node} killed and started again")
    try:
        await world.restart_agent(node)
        world.release_held_pods()

        async def unstarted() -> str | None:
            return None if f"default/{_LATE}" in world.sandboxes() else "its address"

        await world.until("the late pod starts without the API server", unstarted, within_seconds=40)
        box = world.sandboxes()[f"default/{_LATE}"]
        await all_answer(stage, world.sandboxes())
    finally:
        stage.say("kube-apiserver comes back")
        await world.start_apiserver()
    await all_running(stage, 5, within_seconds=60)
    return f"without kube-apiserver and with a new agent the bound pod got {box.addresses[0]} and answers all others"


async def agreement(stage: Stage) -> str:
    """Four independent readings."""
    await stage.world.until(
        "kernel, cloud, pools and endpoints agree", lambda: readings.disagreement(stage.world), within_seconds=40
    )
    boxes = stage.world.sandboxes()
    await all_answer(stage, boxes)
    return f"`ip addr` of {len(boxes)} pods, the cloud's table, pools and endpoints tell the same"


SCENES: tuple[Scene, ...] = (
    Scene(title="A cluster of two nodes at a cloud", play=cluster),
    Scene(title="kubectl apply -f examples/aws/provider.yaml", play=provider),
    Scene(title="A Deployment of 12 pods", play=twelve_pods),
    Scene(title="Every pod pings every other", play=everybody_pings),
    Scene(title="A pod forges its sender", play=spoofing),
    Scene(title="A Service, by kube-proxy", play=service),
    Scene(title="Scaled to 24", play=scale_up),
    Scene(title="Scaled to 4", play=scale_down),
    Scene(title="A StatefulSet's pod moves with its address", play=fixed_address),
    Scene(title="kube-apiserver away, an agent restarted", play=outage),
    Scene(title="Four readings agree", play=agreement),
)


async def _scale(world: World, replicas: int) -> None:
    body = {"spec": {"replicas": replicas}}
    await world.api.patch(f"{_DEPLOYMENT}/scale", body, media="merge-patch+json")


async def _interfaces_line(world: World, begin: str) -> str:
    enis = await readings.cloud(world)
    counts = [f"{spec.name} {sum(eni.node == spec.name for eni in enis)}" for spec in world.nodes]
    return f"{begin} (interfaces: {', '.join(counts)})"


def _two_nodes(world: World) -> tuple[Sandbox, Sandbox]:
    """A pod here and one on another node."""
    boxes = sorted(world.sandboxes().values(), key=lambda box: box.pod)
    return boxes[0], next(box for box in boxes if box.node != boxes[0].node)


async def _own_mac(box: Sandbox) -> str:
    [link] = json.loads(await run("ip", "-n", box.name, "-j", "link", "show", "eth0"))
    return str(link["address"])


async def _gateway_mac(box: Sandbox) -> str:
    """As the VPC answers ARP for its gateway; the ping makes the pod ask."""
    await unreachable({address_of(box): Path(box.netns)}, [GATEWAY])
    [neighbour] = json.loads(await run("ip", "-n", box.name, "-j", "neigh", "show", str(GATEWAY)))
    return str(neighbour["lladdr"])
