"""How soon an address is there for a pod that was bound to a node, in a quiet cluster, on an interface with room.

The clock runs from the API server's answer to the binding (here: the creation of a pod with its node's name) to the
watch event of the pool that lists one more address. No address is kept in reserve, so each pod needs a cloud call.
"""

import asyncio
import os
from pathlib import Path
from statistics import quantiles

from bench.cloud_site import Behaviour, CloudSite, Machines, Say, listed
from bench.site import SiteFailed
from underlay.core.api.ippool import SpiderIPPool
from underlay.core.kube.reflector import Change, Removed

NODES = 20
PODS_PER_NODE = 8
"""The primary interface of the machines has room for nine addresses."""

_SPEC = {"interfaces": {"usePrimary": True}, "addresses": {"batch": 1, "buffer": 0, "minimum": 0}}
_PAUSE_SECONDS = 0.2
_LONGEST_SECONDS = 30.0


async def measure(
    folder: Path, say: Say, *, nodes: int = NODES, pods_per_node: int = PODS_PER_NODE
) -> dict[str, float]:
    """Figures ``reaction_…``, in milliseconds."""
    say("starting control plane, cloud and operator")
    async with CloudSite(folder, Machines(count=nodes), Behaviour()) as site:
        await site.start_operator()
        await site.provide(_SPEC)
        await site.quiet(within_seconds=60)
        load = os.getloadavg()[0]
        found = await _react(site, say, nodes, pods_per_node)
    cuts = quantiles(found, n=100, method="inclusive")
    return {
        "reaction_samples": float(len(found)),
        "reaction_p50_ms": cuts[49] * 1000,
        "reaction_p99_ms": cuts[98] * 1000,
        "reaction_max_ms": max(found) * 1000,
        "reaction_machine_load": load,
    }


async def _react(site: CloudSite, say: Say, nodes: int, pods_per_node: int) -> list[float]:
    """Seconds, one pod after the other."""
    loop = asyncio.get_running_loop()
    sizes: dict[str, int] = {}
    changed = asyncio.Event()

    def seen(change: Change[SpiderIPPool]) -> None:
        if not isinstance(change, Removed):
            sizes.update(dict.fromkeys(change.object.spec.node_name or [], len(listed(change.object))))
            changed.set()

    found: list[float] = []
    async with site.watching(seen):
        for number in range(nodes * pods_per_node):
            node, wanted = f"node-{number % nodes}", number // nodes + 1
            await _bind(site, f"pod-{number}", node)
            bound = loop.time()
            while sizes.get(node, 0) < wanted:
                if (left := bound + _LONGEST_SECONDS - loop.time()) <= 0:
                    raise SiteFailed(f"{node} has no address for its pod {wanted}; logs: {site.folder / 'logs'}")
                changed.clear()
                await asyncio.wait([asyncio.ensure_future(changed.wait())], timeout=left)
            found.append(loop.time() - bound)
            say(f"{number + 1} of {nodes * pods_per_node} pods have an address")
            await asyncio.sleep(_PAUSE_SECONDS)
    return found


async def _bind(site: CloudSite, name: str, node: str) -> None:
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "none"}]}
    await site.api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
