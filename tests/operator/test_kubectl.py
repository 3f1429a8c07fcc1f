"""What a person reads with kubectl is so: as many pods as it says can start, and no more."""

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import pytest

from controlplane.process import ProcessFailed
from support.agent import StandInAgent
from support.operator_site import Site, agent, eventually, operator

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver


async def test_room_is_what_can_still_start(site: Site, apiserver: "ApiServer") -> None:
    """ROOM of a node and of its provider is as many pods as then get an address; after the last of them it is 0 and
    REASON and MESSAGE say why the next waits. SUBNETS has what is free in each.

    A t3.nano has two interfaces of two addresses, one of each for pods.
    """
    await site.add_provider()
    one, other = await site.add_node("one", instance="t3.nano"), await site.add_node("other", instance="t3.nano")
    look = partial(_unlike, apiserver)
    async with operator(site, apiserver.kubeconfig), agent(site, one) as agent_one, agent(site, other) as agent_other:
        await site.bind(one, 1)
        await eventually(lambda: look("snn", one, PODS="1", ROOM="1", SUFFICIENT="True"))
        await eventually(lambda: look("snn", other, PODS="0", ROOM="2"))
        await eventually(lambda: look("snp", site.name, PODS="1", ROOM="3", READY="True"))

        await site.bind(one, 2)
        await eventually(lambda: _unheld(agent_one, 2))
        await eventually(lambda: look("snn", one, PODS="2", ROOM="0", SUFFICIENT="True"))
        await eventually(lambda: look("snp", site.name, ROOM="2"))

        await site.bind(one, 3)
        await eventually(lambda: look("snn", one, PODS="3", ROOM="0", SUFFICIENT="False", REASON="LimitReached"))
        row = await _row(apiserver, "snn", one)
        assert re.search(r"t3\.nano allows 2 interfaces of 2 addresses.* To do: ", row["MESSAGE"])

        await site.bind(other, 2)
        await eventually(lambda: _unheld(agent_other, 2))
        await eventually(lambda: look("snp", site.name, PODS="5", ROOM="0", SUBNETS=_free(site)))


async def test_what_a_subnet_has_left_is_told(site: Site, apiserver: "ApiServer") -> None:
    """Where the subnet is what limits, ROOM of the provider is no more than it has; at its end SUBNETS says exhausted
    or 0, and the node names the subnet.
    """
    made = site.sim.control("POST", "/subnets", {"vpc": site.vpc, "cidr": "10.80.2.0/28", "zone": "us-east-1a"})["id"]
    await site.add_provider(subnets={"ids": [made]})
    machine = site.add_instance("m5.large", subnet=made)
    node = await site.add_node(provider_id=machine["providerID"])
    look = partial(_unlike, apiserver)
    # A /28 has 11 addresses, one of them the machine's own, and an m5.large has nine for pods on its first interface.
    async with operator(site, apiserver.kubeconfig), agent(site, node) as stand_in:
        await site.bind(node, 4)
        await eventually(lambda: look("snn", node, PODS="4", ROOM="5"))
        await eventually(lambda: look("snp", site.name, ROOM="5"))
        await site.bind(node, 9)
        await eventually(lambda: _unheld(stand_in, 9), seconds=30)
        await eventually(lambda: look("snn", node, PODS="9", ROOM="0"))
        await eventually(lambda: look("snp", site.name, ROOM="0"))

        await site.bind(node, 10)
        await eventually(lambda: look("snn", node, PODS="10", ROOM="0", SUFFICIENT="False"))
        row = await _row(apiserver, "snn", node)
        assert made in row["MESSAGE"]
        assert "To do: free addresses" in row["MESSAGE"]


async def _row(apiserver: "ApiServer", kind: str, name: str) -> Mapping[str, str]:
    """Column → text, as kubectl prints it."""
    text = await asyncio.to_thread(apiserver.plane.kubectl, "get", kind, name, "-o", "wide")
    head, line = text.rstrip("\n").split("\n")
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    ends = [*starts[1:], max(len(head), len(line))]
    return {head[start:end].strip(): line[start:end].strip() for start, end in zip(starts, ends, strict=True)}


async def _unlike(apiserver: "ApiServer", kind: str, name: str, **columns: str) -> str:
    try:
        row = await _row(apiserver, kind, name)
    except ProcessFailed as absent:
        return str(absent)
    return "" if all(row[column] == text for column, text in columns.items()) else f"{row}, not {columns}"


def _free(site: Site) -> str:
    (row,) = site.sim.control("GET", "/table")["subnets"]
    return f"{row['id']} {row['free']} free"


async def _unheld(stand_in: StandInAgent, count: int) -> str:
    return "" if len(stand_in.held()) == count else f"{stand_in.held()}"
