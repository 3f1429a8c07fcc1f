"""Pods on two nodes talk through ipvlan, on addresses that the operator got from EC2."""

import pytest

from controlplane.progress import step
from lab import folder
from lab.line import Line
from lab.machine import Machine

pytestmark = [pytest.mark.kernel, pytest.mark.netns, pytest.mark.apiserver]


async def test_pods_on_two_nodes(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    """Operator, agents and launcher bring three pods on two nodes to the cloud's network, and take one away again."""
    with capfd.disabled(), step("two nodes with ipvlan pods (about 2 min)") as note:
        async with Line.started(machine, folder.new(), note) as line:
            note("adding pods")
            first = await line.add("first", "node-1")
            second = await line.add("second", "node-1")
            remote = await line.add("remote", "node-2")

            for pod in (first, second, remote):
                assert (pod.link["linkinfo"]["info_kind"], pod.link["linkinfo"]["info_data"]["mode"]) == (
                    "ipvlan",
                    "l2",
                )
                assert pod.address in await line.addresses_at_cloud(pod.node)
            pods = (first, second, remote)
            pairs = [(source, target) for source in pods for target in pods if source is not target]
            note("pinging")
            assert [(a.name, b.name) for a, b in pairs if not await line.ping(a, b)] == []

            async def all_held() -> bool:
                return await line.held() == {pod.address for pod in pods}

            async def two_held() -> bool:
                return await line.held() == {second.address, remote.address}

            await line.until("the pools show the pods' addresses", all_held)
            await line.delete(first)
            await line.until("the first pod's address is free", two_held)
            assert not await line.ping(second, first)
            assert await line.ping(second, remote)
