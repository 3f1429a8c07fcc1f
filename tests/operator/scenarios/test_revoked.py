"""Credentials end in the middle of growth."""

from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.fleet import fleet_on, numbered, spread
from support.modes import Mode, cases
from support.operator_site import KEY, Site, eventually, operator
from support.vigil import keeping_vigil
from underlay.core.kube.client import KubeClient
from world.api import Api

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

NODES = 8


@pytest.mark.parametrize("mode", cases("prefix"))
async def test_growth_goes_on_where_it_was_cut_off(
    mode: Mode, client: KubeClient, apiserver: "ApiServer", api: Api
) -> None:
    """Revoked while interfaces are being made, credentials are named by the provider, no pod loses its address; valid
    again, every pod gets one, nothing is left half-made, and nobody has to help.
    """
    async with fleet_on(client, api, mode, subnet="10.80.0.0/22") as fleet:
        site = fleet.site
        await fleet.add_provider()
        site.sim.control("POST", "/credentials", {"access_key": KEY, "secret": "secret"})
        await fleet.add_nodes(NODES, mode.small)
        async with operator(site, apiserver.kubeconfig, workers=8), fleet.stand_ins(), keeping_vigil(api):
            await fleet.settled()
            # Two interfaces are attached at once, all others take their time, so that it is cut off amid growth.
            slow = {"operation": "AttachNetworkInterface", "kind": "delay", "seconds": 1.5, "nth": 3, "count": 100}
            site.sim.control("POST", "/faults", slow)
            await fleet.start(spread(numbered(f"{site.name}-p", NODES * mode.many), fleet.nodes))
            await eventually(partial(_not_growing, site))
            site.sim.control("DELETE", f"/credentials/{KEY}")
            site.sim.control("DELETE", "/faults")
            await eventually(partial(_untold, site))
            have = dict(fleet.ownership.owners)
            assert await fleet.unserved()

            site.sim.control("POST", "/credentials", {"access_key": KEY, "secret": "secret"})
            await fleet.settled(seconds=60)

            assert have.items() <= fleet.ownership.owners.items()


async def _not_growing(site: Site) -> str:
    attached = site.calls().get("AttachNetworkInterface", {}).get("OK", 0)
    return "" if attached >= 2 else f"{attached} interfaces attached"


async def _untold(site: Site) -> str:
    condition = await site.ready()
    told = condition is not None and (condition.status, condition.reason) == ("False", "CredentialsRefused")
    return "" if told else str(condition)
