"""The life of a node from its first address to the end of its machine, for tests that disturb it anywhere."""

from support.agreement import allocations
from support.fleet import Fleet, fleet_of, numbered
from support.modes import Mode
from support.operator_site import Site, eventually
from underlay.core.api.kubernetes import Node
from world.api import Api


async def whole_life(site: Site, api: Api, mode: Mode, *, seconds: float = 120) -> None:
    """Few pods, many, none; every kind of write that the mode has happens, and readings agree after each. Then the
    machine ends, and nothing is left. The caller has an operator serve the site.
    """
    async with fleet_of(site, api, mode) as fleet:
        node = await site.add_node(instance=mode.small)
        async with fleet.stand_ins():
            for count in (mode.few, mode.many, 0):
                await _want(fleet, node, count)
                await fleet.settled(seconds=seconds)
            if (await fleet.reading()).made(node):
                # Which addresses stay idle depends on who had left when others went, so they may be on an interface
                # that was made for many. Now none goes before all have left, hence those of that interface do.
                await _want(fleet, node, mode.many)
                await fleet.settled(seconds=seconds)
                await site.cordon(node, cordoned=True)
                await _want(fleet, node, 0)
                await eventually(lambda: _held(fleet), seconds=seconds)
                await site.cordon(node, cordoned=False)
                await eventually(lambda: _grown(fleet, node), seconds=seconds)
        site.terminate(node)
        await site.client.delete(Node, node)
        await eventually(lambda: site.pools(node))
        await eventually(lambda: site.network(node))


async def _want(fleet: Fleet, node: str, count: int) -> None:
    pods = numbered(f"{node}-p", fleet.mode.many)
    await fleet.start((pod, node) for pod in pods[:count])
    await fleet.stop(pods[count:])


async def _grown(fleet: Fleet, node: str) -> list[str]:
    """The interfaces that were made for many must be gone again, and nothing be under way."""
    reading = await fleet.reading()
    return [f"{row['id']} is left" for row in reading.made(node)] or reading.differences()


async def _held(fleet: Fleet) -> list[str]:
    """Addresses that the pools say are a pod's."""
    return [address for pool in (await fleet.reading()).pools for address in allocations(pool)]
