"""Nodes go with their pods, and their names are used again by other machines."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.agreement import Json
from support.fake_node import real_agents
from support.fleet import Fleet, fleet_on
from support.modes import Mode, cases
from support.operator_site import Site, eventually, operator, time_passes
from support.ranges import has, union
from support.vigil import keeping_vigil
from underlay.core.api.kubernetes import Node
from underlay.core.kube.client import KubeClient
from world.api import Api

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

LONG_SECONDS = 3
"""Enough for an agent and an operator to do what they must not."""


@pytest.mark.parametrize("mode", cases("dual"))
@pytest.mark.parametrize("machine_ends", [pytest.param(True, id="gone"), pytest.param(False, id="runs-on")])
async def test_a_name_used_again_gets_nothing_of_the_machine_before(
    mode: Mode,
    machine_ends: bool,  # noqa: FBT001 - the case
    client: KubeClient,
    apiserver: "ApiServer",
    api: Api,
    tmp_path: Path,
) -> None:
    """A node is deleted with its pods and another machine takes its name: no address of the old machine is given on the
    new one. While the old one runs the new one waits; once it has gone the new one is served with its own.
    """
    async with fleet_on(client, api, mode) as fleet:
        site = fleet.site
        await fleet.add_provider()
        node, other = await site.add_node("n0", instance="m5.large"), await site.add_node("n1", instance="m5.large")
        old, new, kept = ([f"{where}-{n}{what}" for n in range(12)] for where, what in _batches(node, other))
        async with (
            operator(site, apiserver.kubeconfig),
            real_agents(fleet, apiserver.kubeconfig, tmp_path) as machines,
            keeping_vigil(api) as vigil,
        ):
            await fleet.start([*((pod, node) for pod in old), *((pod, other) for pod in kept)])
            await fleet.settled()
            machine, before = site.nodes[node], union((await fleet.reading()).cloud(node).values())
            of_others = {address: uid for address, uid in fleet.ownership.owners.items() if uid in _uids(fleet, kept)}

            # The node's agent stops; then pods and Node go. Nobody frees what the agent's journal still holds.
            await machines.unplug(node)
            await fleet.stop(old)
            await client.delete(Node, node)
            if machine_ends:
                vigil.bury(_interfaces(site), machine)
                site.terminate(node)
            made = site.add_instance("m5.large")
            await site.add_node("n0", provider_id=made["providerID"])
            await fleet.start((pod, node) for pod in new)
            await machines.start(node)
            if not machine_ends:
                await eventually(partial(_unread, site))
                await time_passes(LONG_SECONDS)
                assert not _uids(fleet, new) & set(fleet.ownership.owners.values())
                vigil.bury(_interfaces(site), machine)
                site.sim.control("DELETE", f"/instances/{machine}")
            await fleet.settled(seconds=90)

            got = {address for address, uid in fleet.ownership.owners.items() if uid in _uids(fleet, new)}
            assert len(got) == len(new) * mode.each
            # The cloud rests what it got back for a minute, so none can have come to the new machine rightly.
            assert [address for address in got if has(before, address)] == []
            assert of_others.items() <= fleet.ownership.owners.items()


def _batches(node: str, other: str) -> list[tuple[str, str]]:
    return [(node, "old"), (node, "new"), (other, "kept")]


def _interfaces(site: Site) -> list[Json]:
    rows: list[Json] = site.sim.control("GET", "/table")["interfaces"]
    return rows


def _uids(fleet: Fleet, names: list[str]) -> set[str]:
    return {uid for name, uid in fleet.pods.items() if name in names}


async def _unread(site: Site) -> str:
    """The operator has looked for the old machine, and found it."""
    return "" if site.calls().get("DescribeInstances", {}).get("OK", 0) > 3 else "no look at the old machine yet"
