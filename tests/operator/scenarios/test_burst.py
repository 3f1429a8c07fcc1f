"""Hundreds of pods are bound within seconds."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from support.fleet import fleet_on, numbered, spread
from support.modes import Mode, cases
from support.operator_site import PATIENT, eventually, operator
from support.vigil import keeping_vigil
from underlay.core.kube.client import KubeClient
from world.api import Api

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

PODS = 500
SUBNET_SECONDS = 10.0
NODES = 20


@pytest.mark.parametrize("mode", cases("secondary", "prefix"))
async def test_a_burst_of_pods_gets_an_address_each(
    mode: Mode, client: KubeClient, apiserver: "ApiServer", api: Api, record_property: Callable[[str, object], None]
) -> None:
    """From no pod to 500 on 20 nodes: every pod gets exactly one address, nobody else has it at any time, and readings
    agree in the end. Subnets are read by the clock, their free counts kept in between.
    """
    async with fleet_on(client, api, mode, subnet="10.80.0.0/20") as fleet:
        site = fleet.site
        await fleet.add_provider()
        # An m5.large has 3 interfaces of 10 addresses, 27 of them for pods.
        await fleet.add_nodes(NODES, "m5.large")
        async with (
            operator(site, apiserver.kubeconfig, workers=32, subnet_seconds=SUBNET_SECONDS, **PATIENT),
            fleet.stand_ins(),
            keeping_vigil(api),
        ):
            await fleet.settled()

            site.sim.control("DELETE", "/calls")
            clock = asyncio.get_running_loop().time
            began = clock()
            await fleet.start(spread(numbered(f"{site.name}-p", PODS), fleet.nodes))
            bound = clock() - began
            await eventually(fleet.unserved, seconds=90)
            served = clock() - began
            await fleet.settled()

            assert len(fleet.ownership.owners) == PODS * mode.each
            calls = {operation: sum(codes.values()) for operation, codes in site.calls().items()}
            assert calls.get("DescribeSubnets", 0) <= (clock() - began) / SUBNET_SECONDS + 2
            record_property(
                "told", f"{PODS} pods bound in {bound:.1f} s, all had addresses {served:.1f} s after the first: {calls}"
            )
