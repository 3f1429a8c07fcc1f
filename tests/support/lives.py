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
            await _emptied(fleet, node)
        site.terminate(node)
        await site.client.delete(Node, node)
        await eventually(lambda: site.pools(node))
        await eventually(lambda: site.network(node))


async def _emptied(fleet: Fleet, node: str) -> None:
    """The interfaces that were made for many are gone again."""
    assert len((await fleet.reading()).cloud(node)) == 1
