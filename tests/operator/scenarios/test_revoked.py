"""Credentials end in the middle of growth."""

from functools import partial
from typing import TYPE_CHECKING

import pytest

from support import operator_site
from support.fleet import fleet_of, numbered, spread
from support.modes import MODES, Mode
from support.operator_site import KEY, Site, eventually, operator
from support.vigil import keeping_vigil
from underlay.core.kube.client import KubeClient
from world.api import Api

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver


@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_growth_goes_on_where_it_was_cut_off(
    mode: Mode, client: KubeClient, apiserver: "ApiServer", api: Api
) -> None:
    """Revoked while interfaces are being made, credentials are named by the provider, no pod loses its address; valid
    again, every pod gets one, nothing is left half-made, and nobody has to help.
    """
    async with operator_site.opened(client, subnet="10.80.0.0/22") as site, fleet_of(site, api, mode) as fleet:
        await fleet.add_provider(interfaces={"usePrimary": False})
        site.sim.control("POST", "/credentials", {"access_key": KEY, "secret": "secret"})
        await fleet.add_nodes(4, "m5.large")
        async with operator(site, apiserver.kubeconfig, workers=8), fleet.stand_ins(), keeping_vigil(api):
            await fleet.settled()
            await fleet.start(spread(numbered(f"{site.name}-p", 60), fleet.nodes))
            await eventually(partial(_not_growing, site))
            site.sim.control("DELETE", f"/credentials/{KEY}")
            await eventually(partial(_untold, site))
            have = dict(fleet.ownership.owners)
            assert await fleet.unserved()

            site.sim.control("POST", "/credentials", {"access_key": KEY, "secret": "secret"})
            await fleet.settled(seconds=60)

            assert have.items() <= fleet.ownership.owners.items()


async def _not_growing(site: Site) -> str:
    attached = site.calls().get("AttachNetworkInterface", {}).get("OK", 0)
    return "" if attached > 4 else f"{attached} interfaces attached"


async def _untold(site: Site) -> str:
    condition = await site.ready()
    told = condition is not None and (condition.status, condition.reason) == ("False", "CredentialsRefused")
    return "" if told else str(condition)
