"""The life of a node from its first address to the end of its machine, for tests that disturb it anywhere."""

from support.fleet import Fleet, fleet_of, numbered
from support.modes import Mode
from support.operator_site import Site, eventually
from underlay.core.api.kubernetes import Node
from world.api import Api


async def whole_life(site: Site, api: Api, mode: Mode, *, seconds: float = 60) -> None:
    """Few pods, many, none; every kind of write that the mode has happens, and readings agree after each. Then the
    machine ends, and nothing is left. The caller has an operator serve the site.
    """
    async with fleet_of(site, api, mode) as fleet:
        node = await site.add_node(instance=mode.small)
        pods = numbered(f"{node}-p", mode.many)
        async with fleet.stand_ins():
            for count in (mode.few, mode.many, 0):
                await fleet.start((pod, node) for pod in pods[:count])
                await fleet.stop(pods[count:])
                await fleet.settled(seconds=seconds)
            # With prefixes readings agree before the last step is made: a node may have more than it aims at.
            await eventually(lambda: _unemptied(fleet, node), seconds=seconds)
        site.terminate(node)
        await site.client.delete(Node, node)
        await eventually(lambda: site.pools(node))
        await eventually(lambda: site.network(node))


async def _unemptied(fleet: Fleet, node: str) -> str:
    """The interfaces that were made for many must be gone again, and nothing be under way."""
    reading = await fleet.reading()
    left = len(reading.cloud(node)) - 1
    return f"{left} interfaces are left" if left else "; ".join(reading.differences())
