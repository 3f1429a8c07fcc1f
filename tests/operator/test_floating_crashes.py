"""The operator ends between any two effects for a fixed address, or never learns what the cloud did."""

import asyncio
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from support import operator_site
from support.crashing import CrashAt, immortal
from support.fixed_site import FixedSite
from support.operator_site import Site, agent, eventually, settings_for
from underlay.core.api.ipblock import BlockEntry, SpiderIPBlock
from underlay.core.api.kubernetes import StatefulSet
from underlay.core.ipam.blocks import Claimant, Taken
from underlay.core.ipam.ownership import Owner
from underlay.core.kube.client import KubeClient
from underlay.core.kube.reflector import Reflector
from underlay.operator.fixed.blocks import Blocks
from underlay.operator.settings import Settings
from underlay.operator.steps import FixedStep, WarmStep

pytestmark = [pytest.mark.apiserver, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

LABELS = (
    *(step.value for step in FixedStep),
    WarmStep.INTENDING.value,
    WarmStep.RECORDED.value,
    *(
        f"{step}:{operation}"
        for step in (WarmStep.SENDING, WarmStep.ANSWERED)
        for operation in ("AssignPrivateIpAddresses", "UnassignPrivateIpAddresses")
    ),
)
STORIES = 4
"""So many lives of an address take all crashes between them."""


@pytest.mark.parametrize("nth", [1, 2])
async def test_a_crash_at_any_step_changes_nothing_in_the_end(
    nth: int, client: KubeClient, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Claimed, moved to another node and given up: pod, block, cloud, SpiderNodeNetworks and pool agree in the end, and
    never have two pods the address.
    """
    crashes = [CrashAt(LABELS[first::STORIES], nth) for first in range(STORIES)]

    async def story(number: int) -> None:
        async with operator_site.opened(client, subnet=f"10.80.{number + 10}.0/24") as site:
            await _live_and_die(site, f"10.80.{number + 10}", settings_for(site, tmp_path), crashes[number])

    await asyncio.gather(*map(story, range(STORIES)))

    hits, crashed = Counter[str](), Counter[str]()
    for crash in crashes:
        hits.update(crash.hits)
        crashed.update(crash.crashes)
    record_property("hits", ", ".join(f"{label} {hits[label]} ({crashed[label]} crashes)" for label in LABELS))
    assert set(LABELS) <= set(hits)
    assert nth > 1 or set(crashed) == set(LABELS)


@pytest.mark.parametrize(
    "fault", [{"kind": "lost_reply"}, {"kind": "error", "code": "InternalError"}, {"kind": "hang"}]
)
async def test_what_the_cloud_does_not_answer_is_found_out(
    fault: dict[str, object], client: KubeClient, tmp_path: Path
) -> None:
    """A reply lost after the address was assigned, an error, and no reply."""
    async with operator_site.opened(client, subnet="10.80.30.0/24") as site:
        for operation in ("AssignPrivateIpAddresses", "UnassignPrivateIpAddresses"):
            site.sim.control("POST", "/faults", {"operation": operation, **fault})
        await _live_and_die(site, "10.80.30", settings_for(site, tmp_path, call_seconds=1), CrashAt())
        assert site.sim.control("GET", "/faults")["faults"] == []


async def test_of_two_claims_on_one_address_one_is_refused(client: KubeClient) -> None:
    """Writers that both saw it free: the API server lets one write through, the other decides anew and is refused;
    beside each other they fill a window without loss.
    """
    views = [Reflector(client, SpiderIPBlock) for _ in range(8)]
    writers = [Blocks(client, view, lambda _nodes: None) for view in views]

    async def claim(number: int, address: str) -> str:
        owner = Owner(kind="StatefulSet", namespace="ns", name=f"db-{number}")
        who = Claimant(owner=owner, pod=f"ns/db-{number}", uid=str(number), node="n")
        try:
            await writers[number].claim(ip_address(address), who, now="2026-01-02T03:04:05Z", cooldown_seconds=30)
        except Taken as taken:
            return f"refused: {taken.by}"
        return str(owner)

    try:
        one = await asyncio.gather(*(claim(number, "10.81.0.1") for number in range(8)))
        many = await asyncio.gather(*(claim(number, f"10.81.0.{10 + number}") for number in range(8)))

        block = await client.get(SpiderIPBlock, "10.81.0.0")
        entries: dict[str, BlockEntry] = block.status.entries
        [winner] = [text for text in one if not text.startswith("refused")]
        assert set(one) == {winner, f"refused: {winner}"}
        assert entries["10.81.0.1"].owner == winner
        assert [entries[f"10.81.0.{10 + number}"].owner for number in range(8)] == many
        assert (block.status.held, len(entries)) == (9, 9)
    finally:
        await client.delete(SpiderIPBlock, "10.81.0.0")


async def _live_and_die(site: Site, network: str, settings: Settings, crash: CrashAt) -> None:
    """On node a, then on node b, then its owner is deleted; ordinary pods beside."""
    fixed, mine = FixedSite(site=site), f"{network}.200"
    try:
        await site.add_provider(fixedAddress="required")
        with site.ec2() as ec2:  # else the cloud might give one of them to a node by its own choice
            ec2.create_subnet_cidr_reservation(SubnetId=site.subnet, Cidr=f"{mine}/30", ReservationType="explicit")
        await fixed.pool([f"{network}.200-{network}.203"], subnet=f"{network}.0/24")
        await fixed.stateful_set(1)
        a, b = await site.add_node("a"), await site.add_node("b")
        async with immortal(site, settings, crash), agent(site, a) as on_a, agent(site, b) as on_b:
            await site.bind(a, 2)
            first = await fixed.set_pod(a)
            await eventually(lambda: fixed.lacks(on_a, first, mine, a), seconds=60)
            await fixed.delete_set_pod()
            second = await fixed.set_pod(b)
            await eventually(lambda: fixed.lacks(on_b, second, mine, b), seconds=60)
            assert mine not in on_a.fixed.values()
            await site.client.delete(StatefulSet, f"{site.name}-db", "default")
            await fixed.delete_set_pod()
            await eventually(lambda: _still(fixed, mine), seconds=60)
            for node in (a, b):
                await eventually(lambda node=node: site.disagreements(node), seconds=60)  # type: ignore[misc]
            assert len(on_a.held()) == 2
    finally:
        await fixed.clean()


async def _still(fixed: FixedSite, address: str) -> str:
    entry = await fixed.entry(address)
    if where := fixed.at_cloud(address):
        return f"at the cloud on {where}"
    return "" if entry is None or entry.cooling_since is not None else f"block says {entry}"
