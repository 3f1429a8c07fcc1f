"""The operator in a large cluster: 5,000 nodes, 150,000 pods.

Real: API server, Node objects, SpiderNodeNetworks, pools, the operator's process, and a cloud simulator whose machines
have the addresses of their pods from the start, so that no hour is spent on calls for them. Synthetic: the pods, which
no etcd of a bench's size holds; a stand-in answers lists and watches of pods as an API server would, and hands all else
through. Agents: the bench writes into each pool's status who holds what.
"""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from bench import usage
from bench.cloud import of_requests, peak_mib
from bench.cloud_site import Behaviour, CloudSite, Machines, Say, listed
from bench.site import SiteFailed
from bench.synthetic_pods import Cluster
from underlay.core.api.ippool import PoolAllocation, SpiderIPPool, render_allocations

NODES = 5000
PODS = 150_000

_TYPE = "m5.24xlarge"
"""Fifty addresses per interface."""
_AT_ONCE = 16
_SETTLE_SECONDS = 5
"""Of the adoption, which would take a minute longer with the default."""
_IDLE_SECONDS = 10
_SPEC = {
    "interfaces": {"usePrimary": True, "existing": "adopt"},
    "addresses": {"batch": 1, "buffer": 0, "minimum": 0, "releaseDelaySeconds": 3600},
}


async def measure(folder: Path, say: Say, *, nodes: int = NODES, pods: int = PODS) -> dict[str, float]:
    """Figures ``scale_…``: ``adoption``, a first start without pods, in which the operator finds the addresses, waits
    for them to settle and makes records and pools; then those of a start in the whole, where all is made.
    """
    cluster, each = Cluster(pods=pods, nodes=nodes), -(-pods // nodes)
    machines = Machines(count=nodes, type=_TYPE, secondary=each, most=each)
    say(f"starting control plane and cloud; making {nodes} machines and Nodes")
    async with CloudSite(folder, machines, Behaviour(buckets=False)) as site:
        await site.provide(_SPEC)
        found = {"nodes": float(nodes), "pods": float(pods), "machine_load": os.getloadavg()[0]}
        found |= {f"adoption_{key}": value for key, value in (await _adopt(site, say, nodes, each)).items()}
        await _hold(site, cluster, say)
        say("waiting until the operator has told of it")
        await site.quiet(within_seconds=300)
        await site.stop_operator()
        say(f"starting the operator, which sees {pods} pods")
        offset, began = site.audit_log.stat().st_size, time.time()
        await site.start_operator(pods=pods)
        await _seen_every_node(site, offset, nodes)
        await site.quiet(within_seconds=600)
        if wrong := await site.wrong_nodes():
            raise SiteFailed(f"pools and cloud differ for {len(wrong)} nodes: {', '.join(wrong[:5])}")
        found |= {
            "synced_seconds": _synced_at(site.folder / "logs" / "operator.log") - began,
            "rested_seconds": time.time() - began,
            "cpu_seconds": usage.cpu([site.operator]).total,
            **of_requests(site.audit_log, offset, nodes),
            "rss_mib": usage.rss_mib(site.operator),
            "rss_peak_mib": peak_mib(site.operator),
        }
        found |= {"idle_cpu_share": await _idle_share(site), "machine_load_after": os.getloadavg()[0]}
    return {f"scale_{key}": value for key, value in found.items()}


async def _adopt(site: CloudSite, say: Say, nodes: int, each: int) -> dict[str, float]:
    offset = site.audit_log.stat().st_size
    seconds = await site.supply(
        say,
        lambda: site.start_operator(settleSeconds=_SETTLE_SECONDS),
        addresses=each,
        within_seconds=900,
    )
    say("waiting for the operator to rest")
    await site.quiet(within_seconds=300)
    return {
        "seconds": seconds[-1],
        "cpu_seconds": usage.cpu([site.operator]).total,
        **of_requests(site.audit_log, offset, nodes),
    }


async def _seen_every_node(site: CloudSite, offset: int, nodes: int) -> None:
    """The operator reads each node's record once when it begins with it."""

    async def seen() -> bool:
        await asyncio.sleep(2)
        return of_requests(site.audit_log, offset, nodes)["api_requests_per_node"] >= 1

    await site.until("every node's record is read", seen, within_seconds=900)


async def _idle_share(site: CloudSite) -> float:
    """Of a processor, while nothing happens."""
    before = usage.cpu([site.operator])
    await asyncio.sleep(_IDLE_SECONDS)
    return (usage.cpu([site.operator]) - before).total / _IDLE_SECONDS


def _synced_at(log: Path) -> float:
    """When the operator last said that it had read everything, seconds since 1970."""
    for line in reversed(log.read_text().splitlines()):
        if '"operator.synced"' in line:
            return datetime.fromisoformat(json.loads(line)["time"]).timestamp()
    raise SiteFailed(f"the operator never said that it had read everything: {log}")


async def _hold(site: CloudSite, cluster: Cluster, say: Say) -> None:
    """What agents write: each pod holds an address of its node's pool."""
    turn, written = asyncio.Semaphore(_AT_ONCE), 0
    pools = (await site.kube.list(SpiderIPPool)).items

    async def write(pool: SpiderIPPool) -> None:
        nonlocal written
        async with turn:
            status = _status(cluster, pool.spec.node_name or [], sorted(listed(pool)))
            await site.kube.merge_patch(SpiderIPPool, pool.metadata.name, {"status": status}, subresource="status")
        written += 1
        say(f"agents: {written} of {len(pools)} pools tell who holds what")

    async with asyncio.TaskGroup() as group:
        for pool in pools:
            group.create_task(write(pool))


def _status(cluster: Cluster, nodes: Sequence[str], addresses: Sequence[str]) -> dict[str, object]:
    numbers = [number for node in nodes for number in cluster.of_node(int(node.removeprefix("node-")))]
    allocations = {
        address: PoolAllocation(pod=f"{cluster.namespace(number)}/{cluster.name(number)}", pod_uid=cluster.uid(number))
        for address, number in zip(addresses, numbers, strict=False)
    }
    counts = {"totalIPCount": len(addresses), "allocatedIPCount": len(allocations)}
    return {"allocatedIPs": render_allocations(allocations), **counts}
