"""Very different machines, each filled beyond what it can hold."""

from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.fleet import Fleet, fleet_on, numbered
from support.modes import IPV4, Mode, cases
from support.operator_site import eventually, operator
from support.ranges import size
from support.vigil import keeping_vigil
from underlay.core.kube.client import KubeClient
from world.api import Api

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

# EC2 User Guide, "Maximum IP addresses per network interface": interfaces and IPv4 addresses of each, as documented.
# c5n.metal is no virtual machine, m4.xlarge runs on Xen, p4d.24xlarge has 4 network cards with 15 interfaces each.
TYPES = {
    "t3.nano": (2, 2),
    "m5.large": (3, 10),
    "m4.xlarge": (4, 15),
    "c5.18xlarge": (15, 50),
    "c5n.metal": (15, 50),
    "p4d.24xlarge": (60, 50),
}
FILLED = ("t3.nano", "m4.xlarge")
"""Those that get more pods than they can hold; a larger machine gets some dozens."""
SOME = 60
NO_PREFIXES = frozenset({"m4.xlarge"})
"""EC2 assigns prefixes to Nitro and bare metal only."""


@pytest.mark.parametrize("mode", cases("secondary", "auto", of=[mode for mode in IPV4 if mode.name != "prefix"]))
async def test_each_type_is_filled_to_its_limits_and_says_so(
    mode: Mode, client: KubeClient, apiserver: "ApiServer", api: Api
) -> None:
    """No call asks for more than the type allows, what is possible is used, and a full node says why pods wait."""
    async with fleet_on(client, api, mode, subnet="10.80.0.0/20") as fleet:
        site = fleet.site
        await fleet.add_provider()
        nodes = {type_: await site.add_node(type_.replace(".", "-"), instance=type_) for type_ in TYPES}
        pods = {type_: SOME if type_ not in FILLED else _room(type_, mode) + 2 for type_ in TYPES}
        async with operator(site, apiserver.kubeconfig, workers=8), fleet.stand_ins(), keeping_vigil(api):
            for type_, node in nodes.items():
                await fleet.start((name, node) for name in numbered(f"{node}-p", pods[type_]))
            served = sum(min(count, _room(type_, mode)) for type_, count in pods.items())
            await eventually(partial(_unserved, fleet, served), seconds=60)

            for type_ in FILLED:
                await eventually(partial(_untold, fleet, nodes[type_], type_))
            refused = {operation: codes.keys() - {"OK"} for operation, codes in site.calls().items()}
            assert {operation: codes for operation, codes in refused.items() if codes} == {}
            reading = await fleet.reading()
            for type_, node in nodes.items():
                interfaces, addresses = TYPES[type_]
                cloud = reading.cloud(node)
                assert len(cloud) <= interfaces
                if not mode.whole:
                    assert all(size(held) < addresses for held in cloud.values())


def _room(type_: str, mode: Mode) -> int:
    interfaces, addresses = TYPES[type_]
    if mode.name == "prefix" and type_ in NO_PREFIXES:
        return 0
    each = 16 if mode.whole and type_ not in NO_PREFIXES else 1
    return interfaces * (addresses - 1) * each


async def _unserved(fleet: Fleet, count: int) -> str:
    have = len(fleet.ownership.owners)
    return "" if have == count else f"{have} of {count} pods have an address"


async def _untold(fleet: Fleet, node: str, type_: str) -> str:
    condition, events = await fleet.site.sufficient(node), await fleet.site.events(node)
    if condition is None or (condition.status, condition.reason) != ("False", "LimitReached"):
        return f"{node}: {condition}"
    told = [condition.message, *(event.message for event in events if event.reason == "LimitReached")]
    return "" if len(told) > 1 and all(type_ in text for text in told) else f"{node}: {type_} is not named in {told}"
