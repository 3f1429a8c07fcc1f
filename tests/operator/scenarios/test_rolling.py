"""Pods are replaced in waves, the new ones bound before the old are gone."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import operator_site
from support.fake_node import real_agents
from support.fleet import fleet_of
from support.modes import MODES, Mode
from support.operator_site import eventually, operator
from support.ownership import Ownership
from support.vigil import keeping_vigil
from underlay.core.kube.client import KubeClient
from world.api import Api

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

PODS = 300
NODES = 8
WAVE = 40
COOLDOWN_SECONDS = 2


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_a_rolling_update_never_gives_an_address_twice(
    mode: Mode,
    client: KubeClient,
    apiserver: "ApiServer",
    api: Api,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """300 pods are replaced on 8 nodes with real agents: at no instant do two pods have one address, in kernels or in
    any version of any pool; no address is given again before its cool-down; readings agree in the end.
    """
    ownership = Ownership(cooldown_seconds=COOLDOWN_SECONDS)
    async with (
        operator_site.opened(client, subnet="10.80.0.0/22") as site,
        fleet_of(site, api, mode, ownership) as fleet,
    ):
        await fleet.add_provider(addresses={"cooldownSeconds": COOLDOWN_SECONDS})
        # An m5.xlarge has 4 interfaces of 15 addresses, 56 of them for pods.
        await fleet.add_nodes(NODES, "m5.xlarge")
        old, new = ([f"{fleet.nodes[n % NODES]}-{name}{n}" for n in range(PODS)] for name in ("a", "b"))
        async with (
            operator(site, apiserver.kubeconfig, workers=16),
            real_agents(fleet, apiserver.kubeconfig, tmp_path),
            keeping_vigil(api) as vigil,
        ):
            await fleet.start((pod, pod.rpartition("-")[0]) for pod in old)
            await eventually(fleet.unserved, seconds=90)

            for wave in range(0, PODS, WAVE):
                await fleet.start((pod, pod.rpartition("-")[0]) for pod in new[wave : wave + WAVE])
                await eventually(fleet.unserved, seconds=60)
                await fleet.stop(old[wave : wave + WAVE])
            await fleet.settled(seconds=90)

            assert len(ownership.owners) == PODS
            assert ownership.given == 2 * PODS
            assert ownership.most > PODS
            record_property("told", f"{ownership.given} addresses given, {vigil.seen} versions of pools seen")
