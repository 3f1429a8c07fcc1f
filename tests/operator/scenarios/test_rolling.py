"""Pods are replaced in waves, the new ones bound before the old are gone."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.fake_node import real_agents
from support.fleet import fleet_on
from support.modes import Mode, cases
from support.operator_site import PATIENT, eventually, operator
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


@pytest.mark.parametrize("mode", cases("auto"))
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
    async with fleet_on(client, api, mode, subnet="10.80.0.0/22", ownership=ownership) as fleet:
        await fleet.add_provider(addresses={"cooldownSeconds": COOLDOWN_SECONDS})
        # An m5.xlarge has 4 interfaces of 15 addresses, 56 of them for pods.
        await fleet.add_nodes(NODES, "m5.xlarge")
        old, new = ([f"{fleet.nodes[n % NODES]}-{name}{n}" for n in range(PODS)] for name in ("a", "b"))
        async with (
            operator(fleet.site, apiserver.kubeconfig, workers=16, **PATIENT),
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

            assert len(ownership.owners) == PODS * mode.each
            assert ownership.given == 2 * PODS * mode.each
            assert ownership.most > PODS * mode.each
            record_property("told", f"{ownership.given} addresses given, {vigil.seen} versions of pools seen")
