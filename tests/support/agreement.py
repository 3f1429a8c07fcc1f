"""Whether cloud, SpiderNodeNetworks, pools, SpiderIPBlocks and whoever holds addresses tell the same.

Each is read for itself, as JSON: the simulator's table, the API's objects, and what the caller saw in kernels or
agents. Nothing of the product decodes or compares here.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from support.ranges import NONE, Ranges, has, merged, of_family, overlap, ranges, size, text, union, without
from world.api import Api

Json = dict[str, Any]
Holders = Mapping[str, str]
"""Address → UID of the pod that has it."""

SPIDERPOOL = "/apis/spiderpool.spidernet.io/v2beta1"
CLUSTER_TAG = "underlay.spidernet.io/cluster"
INTERFACE = "underlay.spidernet.io/interface"
NODE = "underlay.spidernet.io/node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """``machines``: Node → instance id. ``owners``: who holds what, in kernels or agents, of the whole site.

    ``loose``: nodes that need not have precisely what they aim at while they have pods: with whole prefixes there may
    be more.
    """

    machines: Mapping[str, str]
    interfaces: list[Json]
    networks: Mapping[str, Json]
    pools: list[Json]
    blocks: list[Json]
    pods: list[Json]
    owners: Holders
    loose: Collection[str] = ()

    def differences(self) -> list[str]:
        """Empty: all agree and nothing is under way or left behind."""
        found = list(self._twice())
        found += [f"orphan {row['id']} of {row['subnet']}" for row in self.interfaces if self._is_orphan(row)]
        found += [f"outlives its machine: {row['id']}" for row in self.interfaces if _outlives(row)]
        for node in self.machines:
            found += [f"{node}: {what}" for what in self._of_node(node)]
        found += list(self._of_pods())
        found += list(self._of_blocks())
        return found

    def cloud(self, node: str) -> Mapping[str, Ranges]:
        """Interface → what pods can get of it; the primary address of an interface is never theirs."""
        return {
            row["id"]: usable(row)
            for row in self.interfaces
            if row["attachment"]
            and row["attachment"]["instance"] == self.machines[node]
            and row["attachment"]["state"] == "attached"
        }

    def made(self, node: str) -> list[Json]:
        """Interfaces of its machine that it did not have from the beginning and that are ours."""
        machine = self.machines[node]
        attached = (row for row in self.interfaces if row["attachment"] and row["attachment"]["instance"] == machine)
        return [row for row in attached if CLUSTER_TAG in row["tags"] and row["attachment"]["device_index"]]

    def _of_node(self, node: str) -> Iterator[str]:
        network, cloud = self.networks.get(node), self.cloud(node)
        if network is None:
            yield "no SpiderNodeNetwork"
            return
        status, spec = network.get("status", {}), network["spec"]
        stated = {
            entry["id"]: _for_pods(
                [*entry.get("addresses", []), *entry.get("prefixes", []), *(item["address"] for item in _fixed(entry))]
            )
            for entry in status.get("interfaces", [])
        }
        if stated != cloud:
            yield f"cloud {shown(cloud)} but status {shown(stated)}"
        pools: dict[str, list[Ranges]] = {}
        for pool in self.pools:
            if pool["spec"].get("nodeName") == [node]:
                pools.setdefault(pool["metadata"]["annotations"][INTERFACE], []).append(ranges(pool["spec"]["ips"]))
        offered = {interface: union(parts) for interface, parts in pools.items()}
        apart = ranges(item["address"] for entry in status.get("interfaces", []) for item in _fixed(entry))
        cloud = {interface: without(got, apart) for interface, got in cloud.items()}
        if offered != {interface: got for interface, got in cloud.items() if got}:
            yield f"cloud {shown(cloud)} but pools {shown(offered)}"
        under_way = [("intent", status.get("intents")), ("release done", spec.get("releaseDone"))]
        under_way.append(("recall", spec.get("recall")))
        if not self._may_drain(node):
            under_way += [("release", spec.get("release")), ("answer", status.get("released"))]
        for where, entries in under_way:
            yield from (f"{where} {entry['id']} is left" for entry in entries or [])
        families = {4 if name == "ipv4" else 6 for name in spec.get("families", ["ipv4"])}
        # A pod with two families has both addresses of one interface.
        usable_count = sum(min(size(of_family(got, family)) for family in families) for got in cloud.values())
        demand = status.get("demand")
        if demand is None:
            yield "no demand"
        elif not self._may_drain(node) and not demand["usable"] == demand["target"] == usable_count:
            yield f"addresses for {usable_count} pods, demand {demand}"
        yield from (f"{row['id']} has nothing" for row in self.made(node) if not usable(row))

    def _may_drain(self, node: str) -> bool:
        """A prefix is released as a whole: the release stays open for as long as a pod has an address of it."""
        pods = {pod["metadata"]["uid"] for pod in self.pods if pod["spec"].get("nodeName") == node}
        return node in self.loose and bool(pods)

    def _twice(self) -> Iterator[str]:
        at_cloud = [(row["id"], usable(row)) for row in self.interfaces]
        listed = [(pool["metadata"]["name"], ranges(pool["spec"].get("ips") or [])) for pool in self.pools]
        for things in (at_cloud, listed):
            for place, (name, mine) in enumerate(things):
                yield from (
                    f"{name} and {other} share an address" for other, its in things[:place] if overlap(mine, its)
                )

    def _of_pods(self) -> Iterator[str]:
        """Every bound pod has its addresses, of its own node, and the pools say so."""
        node_of = {pod["metadata"]["uid"]: pod["spec"].get("nodeName") for pod in self.pods}
        told: dict[str, str] = {}
        for pool in self.pools:
            for address, entry in allocations(pool).items():
                told[address] = entry["podUid"]
        if told != dict(self.owners):
            changed = sorted(told.items() ^ self.owners.items())[:6]
            yield f"pools' allocatedIPs and the holders differ by {changed}"
        usable_of = {node: union(self.cloud(node).values()) for node in self.machines}
        for address, uid in self.owners.items():
            if not has(usable_of.get(node_of.get(uid) or "", NONE), address):
                yield f"{address} of pod {uid} is not its node's ({node_of.get(uid)})"
        counted = Counter(self.owners.values())
        bare = [uid for uid, node in node_of.items() if node in self.machines and not counted[uid]]
        if bare:
            yield f"{len(bare)} pods have no address: {bare[:3]}"

    def _of_blocks(self) -> Iterator[str]:
        """Whoever holds a fixed address by a block has it, on the node that the block names; nobody else has one."""
        uids = {pod["metadata"]["uid"] for pod in self.pods}
        entries = [item for block in self.blocks for item in block.get("status", {}).get("entries", {}).items()]
        held = {
            address: entry
            for address, entry in entries
            if (entry["node"] in self.machines or entry["uid"] in uids) and not entry.get("coolingSince")
        }
        for address, entry in held.items():
            if self.owners.get(address) != entry["uid"]:
                yield f"a SpiderIPBlock gives {address} to {entry['uid']}, who has not got it"
        listed = {
            item["address"]: (node, item.get("podUID", ""))
            for node in self.machines
            for interface in self.networks.get(node, {}).get("status", {}).get("interfaces", [])
            for item in _fixed(interface)
        }
        recorded = {address: (entry["node"], entry["uid"]) for address, entry in held.items()}
        if listed != recorded:
            changed = sorted(listed.items() ^ recorded.items())
            yield f"fixed addresses: SpiderNodeNetworks and blocks differ by {changed}"
        shared = union(
            ranges(pool["spec"]["ips"]) for pool in self.pools if pool["metadata"]["labels"].get(NODE) == "shared"
        )
        for address, uid in self.owners.items():
            if has(shared, address) and address not in held:
                yield f"{address} of a pool of fixed addresses is with {uid}, and no block says so"

    def _is_orphan(self, row: Json) -> bool:
        held = row["attachment"]["instance"] if row["attachment"] else ""
        return CLUSTER_TAG in row["tags"] and held not in self.machines.values()


def _fixed(interface: Json) -> Iterable[Json]:
    """Fixed addresses that are on the interface at the cloud."""
    return (item for item in interface.get("floating", []) if not item.get("arriving"))


def usable(row: Json) -> Ranges:
    """What pods can get of an interface, by the simulator's table."""
    return _for_pods([*row["addresses"], *row["prefixes"], *row["ipv6_addresses"], *row["ipv6_prefixes"]])


def _for_pods(items: Iterable[str]) -> Ranges:
    """Of a prefix of IPv6 pods get the first 1,024 addresses."""
    return merged(
        (family, first, min(last, first + 1023) if family == 6 and "/" in item else last)
        for item in items
        for family, first, last in ranges([item])
    )


def allocations(pool: Json) -> Mapping[str, Json]:
    """``status.allocatedIPs``."""
    found: dict[str, Json] = json.loads(pool.get("status", {}).get("allocatedIPs") or "{}")
    return found


async def read(
    api: Api,
    table: Callable[[], Json],
    *,
    machines: Mapping[str, str],
    owners: Callable[[], Holders],
    loose: Collection[str] = (),
) -> Reading:
    """All of it, now: of the cluster what belongs to ``machines``."""
    networks, pools, blocks, pods = await asyncio.gather(
        *(api.items(f"{SPIDERPOOL}/{kind}") for kind in ("spidernodenetworks", "spiderippools", "spideripblocks")),
        api.items("/api/v1/namespaces/default/pods"),
    )
    interfaces: list[Json] = (await asyncio.to_thread(table))["interfaces"]
    return Reading(
        machines=dict(machines),
        interfaces=interfaces,
        networks={network["metadata"]["name"]: network for network in networks},
        pools=[pool for pool in pools if set(pool["spec"].get("nodeName") or []) <= machines.keys()],
        blocks=blocks,
        pods=[pod for pod in pods if pod["spec"].get("nodeName") in machines],
        owners=owners(),
        loose=loose,
    )


def shown(of: Mapping[str, Ranges]) -> dict[str, str]:
    """For people."""
    return {name: text(held) for name, held in of.items()}


def _outlives(row: Json) -> bool:
    return CLUSTER_TAG in row["tags"] and row["attachment"] and not row["attachment"]["delete_on_termination"]
