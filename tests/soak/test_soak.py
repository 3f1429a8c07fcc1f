"""One run: disturbed for as long as its counts ask, then calm, then empty."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from soak.decks import Decks
from soak.ground import Ground, ground, provider_of
from soak.machines import machine
from soak.operators import Operators
from soak.stage import Stage, staged
from soak.story import Story
from support.agreement import CLUSTER_TAG
from support.modes import IPV4
from support.operator_site import Site, end, eventually, free_lease, settings_for
from support.ownership import Ownership
from support.vigil import keeping_vigil
from underlay.core.kube.client import KubeClient
from underlay.providers.aws.calls import RATES

pytestmark = [pytest.mark.apiserver, pytest.mark.netns]

COOLDOWN_SECONDS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """``ends`` of operators. ``every``: each class of fault must have struck each operation. ``writes`` at the cloud
    come between two things that happen to the leader. ``seed``: None for another one in each run.
    """

    calls: int
    faults: int
    ends: int
    every: bool
    machines: int
    nodes: int
    minutes: float
    writes: tuple[int, int]
    seed: int | None = None


SHORT = Counts(calls=300, faults=30, ends=4, every=False, machines=1, nodes=5, minutes=4, writes=(3, 12), seed=1)
LONG = Counts(calls=5000, faults=500, ends=20, every=True, machines=3, nodes=12, minutes=30, writes=(10, 60))


@pytest.mark.parametrize(
    "counts", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.soak)]
)
async def test_whatever_happens_all_readings_agree_in_the_end(
    counts: Counts, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Faults of every class strike every operation, leaders are killed and stalled, pods and nodes come and go,
    interfaces are detached by hand: no address is ever owned twice; afterwards cloud, SpiderNodeNetworks, pools, blocks
    and pod namespaces agree exactly, and when all is gone nothing of ours is left.
    """
    seed = int(os.environ.get("SEED") or counts.seed or time.time())
    chance = Random(seed)
    began = time.monotonic()
    async with (
        staged(tmp_path / "soak", seed=seed) as stage,
        KubeClient.connect(stage.plane.kubeconfig, user_agent="soak/1") as client,
        keeping_vigil(stage.api) as vigil,
        asyncio.TaskGroup() as tasks,
    ):
        ownership = Ownership(cooldown_seconds=0)
        made = await ground(stage, client, ownership)
        site = made.site
        story = Story(
            ground=made,
            api=stage.api,
            ownership=ownership,
            vigil=vigil,
            chance=Random(chance.random()),
            tasks=tasks,
        )
        decks = Decks(stage.sim, Random(chance.random()), RATES)
        operators = _operators(stage, site, Random(chance.random()))
        background: list[asyncio.Task[None]] = []
        try:
            for number in range(1, counts.machines + 1):
                mode = IPV4[number % len(IPV4) - 1]
                real = await machine(stage, made, number, mode=mode, ownership=ownership)
                background.append(tasks.create_task(real.kubelet()))
                story.settle_in(real, provider_of(site, mode))
            for number in range(counts.nodes):
                await story.join(list(made.fleets)[number % len(made.fleets)])
            await free_lease(site)
            operators.start()
            disturbing = [
                tasks.create_task(decks.run()),
                tasks.create_task(operators.disturb(writes=counts.writes)),
            ]
            await _play(story, stage, decks, operators, counts, began)
            for task in disturbing:
                await end(task)
            decks.clear()
            calls = _calls(stage)
            print(_told(seed, stage, decks, operators, story, time.monotonic() - began))
            await operators.calm()
            await _come_to_rest(made, story)
            await _empty(made, story)
        finally:
            text = _told(seed, stage, decks, operators, story, time.monotonic() - began)
            record_property("told", text)
            print(text)
            for task in [*background, *(place.task for place in story.places.values() if place.task)]:
                await end(task)
            made.hands.close()
        assert ownership.problems == []
        assert [problem for agent in story.agents for problem in agent.problems] == []
        assert calls.total() >= counts.calls
        assert decks.struck.total() >= counts.faults
        assert operators.ends.total() >= counts.ends
        assert not counts.every or decks.missing == []


async def _come_to_rest(made: Ground, story: Story) -> None:
    """All readings agree, each pod has its own, and owners that start elsewhere have what they had."""
    await eventually(story.homeless, seconds=60)
    await eventually(story.differences, seconds=150)
    pods = {uid for fleet in made.fleets.values() for uid in fleet.pods.values()}
    assert set(story.ownership.owners.values()) == pods
    addresses = await made.owners.addresses()
    await story.move_owners()
    await eventually(story.differences, seconds=60)
    assert await made.owners.addresses() == addresses


async def _empty(made: Ground, story: Story) -> None:
    """When all is gone nothing of ours is left."""
    await made.owners.end()
    for place in list(story.places.values()):
        await story.scale(place, 0)
    await eventually(story.differences, seconds=120)
    for place in [place for place in story.places.values() if place.machine is None]:
        await story.leave(place)
    await eventually(lambda: _left(made.site), seconds=60)


async def _play(story: Story, stage: Stage, decks: Decks, operators: Operators, counts: Counts, began: float) -> None:
    """Until the counts are reached, or the time is up."""
    looked = 0.0
    while time.monotonic() - began < counts.minutes * 60:
        await story.act()
        if time.monotonic() - looked > 1:
            looked = time.monotonic()
            calls = (await asyncio.to_thread(_calls, stage)).total()
            enough = calls >= counts.calls and decks.struck.total() >= counts.faults
            if enough and operators.ends.total() >= counts.ends and not (counts.every and decks.missing):
                return


def _operators(stage: Stage, site: Site, chance: Random) -> Operators:
    settings = settings_for(
        site,
        stage.plane.kubeconfig,
        lease_seconds=6,
        renew_seconds=4,
        call_seconds=1.5,
        workers=16,
        log_level="warning",
    )
    return Operators(stage, settings, chance, sorted(RATES))


def _calls(stage: Stage) -> Counter[str]:
    """What was called at the cloud, by operation, whatever the answer."""
    return Counter({name: sum(codes.values()) for name, codes in stage.sim.control("GET", "/calls").items()})


async def _left(site: Site) -> list[str]:
    """What is ours at the cloud, beside what the machines that stay have, and records of those that went."""
    rows = (await asyncio.to_thread(site.sim.control, "GET", "/table"))["interfaces"]
    there = {
        row["id"]: row["attachment"]["instance"] if row["attachment"] else ""
        for row in rows
        if CLUSTER_TAG in row["tags"]
    }
    return [
        f"{interface} of {machine or 'nobody'}"
        for interface, machine in there.items()
        if machine not in site.nodes.values()
    ]


def _told(seed: int, stage: Stage, decks: Decks, operators: Operators, story: Story, seconds: float) -> str:
    calls, struck = _calls(stage), decks.struck
    by_class: Counter[str] = Counter()
    for (_, fault), count in struck.items():
        by_class[fault] += count
    lines = [
        f"SEED={seed}, {seconds:.0f} s: {calls.total()} cloud calls, {struck.total()} faults",
        "calls: " + _listed(calls),
        "faults by class: " + _listed(by_class),
        "faults by operation: " + _listed(_by_operation(struck)),
        "operators: " + _listed(operators.ends),
        "story: " + _listed(story.done),
        f"{len(decks.missing)} of all pairs of class and operation did not occur: {', '.join(decks.missing[:20])}",
    ]
    return "\n".join(lines)


def _by_operation(struck: Counter[tuple[str, str]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for (operation, _), count in struck.items():
        found[operation] += count
    return found


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
