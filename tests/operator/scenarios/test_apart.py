"""Writes that only some providers lead to, reserving blocks and adopting interfaces: cut off, or without a reply."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support import operator_site
from support.crashing import CrashAt, immortal
from support.operations import SENT, WRITES
from support.operator_site import Site, agent, eventually, settings_for
from underlay.core.api.kubernetes import Namespace
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.cloud.tags import CLUSTER
from underlay.core.kube.client import KubeClient
from underlay.operator.steps import WarmStep

pytestmark = [pytest.mark.apiserver, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

APART = sorted(WRITES - SENT)
CRASHES = [f"{step}:{operation}" for operation in APART for step in (WarmStep.SENDING, WarmStep.ANSWERED)]
AT_ONCE = 3
BLOCKS = ({"cidr": "10.80.1.64/26", "use": "prefix"}, {"cidr": "10.80.1.32/28", "use": "fixed"})


async def test_whatever_becomes_of_such_a_write_it_is_done_once(client: KubeClient, tmp_path: Path) -> None:
    """Every such write is cut off before and after it, and its reply is lost: in the end the blocks are kept once, the
    interface is ours and in a pool, and the blocks go when nobody wants them any more. Together the lives send them
    all.
    """
    undisturbed = await _life(client, tmp_path, crash="", lost="")
    assert undisturbed & WRITES >= set(APART)

    lives = [("", operation) for operation in APART] + [(label, "") for label in CRASHES]
    places = asyncio.Semaphore(AT_ONCE)

    async def disturbed(crash: str, lost: str) -> None:
        async with places:
            await _life(client, tmp_path, crash=crash, lost=lost)

    outcomes = await asyncio.gather(*(disturbed(*life) for life in lives), return_exceptions=True)
    failed = [(life, told) for life, told in zip(lives, outcomes, strict=True) if isinstance(told, BaseException)]
    assert failed == []


async def _life(client: KubeClient, folder: Path, *, crash: str, lost: str) -> frozenset[str]:
    """What was called."""
    async with operator_site.opened(client) as site:
        node = await site.add_node()
        theirs = await asyncio.to_thread(_attach, site, site.nodes[node])
        await eventually(lambda: _unattached(site, node, theirs))
        if lost:
            site.sim.control("POST", "/faults", {"operation": lost, "kind": "lost_reply"})
        crashing, settings = CrashAt([crash]), settings_for(site, folder)
        policy = {"usePrimary": False, "existing": "adopt"}
        for blocks in (BLOCKS, ()):
            subnets = {"ids": [site.subnet], "reservations": list(blocks)}
            await site.add_provider(interfaces=policy, subnets=subnets)
            async with immortal(site, settings, crashing), agent(site, node):
                await site.bind(node, 2 if blocks else 0)
                await eventually(partial(_unkept, site, blocks), seconds=60)
                if blocks:
                    await eventually(lambda: _not_ours(site, theirs), seconds=60)
                # An interface that were not ours yet would be in no pool.
                await eventually(partial(site.disagreements, node), seconds=60)
        assert site.sim.control("GET", "/faults")["faults"] == [], f"{lost} was not struck"
        assert crashing.crashes.total() == bool(crash), f"{crash} was not reached"
        return frozenset(site.calls())


def _attach(site: Site, machine: str) -> str:
    with site.ec2() as ec2:
        made = ec2.create_network_interface(SubnetId=site.subnet, SecondaryPrivateIpAddressCount=2)["NetworkInterface"]
        ec2.attach_network_interface(NetworkInterfaceId=made["NetworkInterfaceId"], InstanceId=machine, DeviceIndex=1)
    return str(made["NetworkInterfaceId"])


def _row(site: Site, interface: str) -> dict[str, Any]:
    return next(row for row in site.sim.control("GET", "/table")["interfaces"] if row["id"] == interface)


async def _unattached(site: Site, node: str, interface: str) -> str:
    return "" if interface in site.interfaces(node) else f"{interface} is not attached yet"


async def _unkept(site: Site, blocks: Sequence[dict[str, str]]) -> str:
    """The blocks must be there, and the provider say so, which is what a next leader goes by."""
    (row,) = [row for row in site.sim.control("GET", "/table")["subnets"] if row["id"] == site.subnet]
    found = sorted(held["cidr"] for held in row["reservations"])
    status = (await site.client.get(SpiderNetworkProvider, site.name)).status
    told = [item.reason for item in (status.conditions if status else []) if item.type == "Reserved"]
    wanted = sorted(block["cidr"] for block in blocks), ["Reserved" if blocks else "NothingReserved"]
    return "" if (found, told) == wanted else f"{found}, {told}"


async def _not_ours(site: Site, interface: str) -> str:
    uid = (await site.client.get(Namespace, "kube-system")).metadata.uid
    tags = _row(site, interface)["tags"]
    return "" if tags.get(CLUSTER) == uid else f"{tags}"
