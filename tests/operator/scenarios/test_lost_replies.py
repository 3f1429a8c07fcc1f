"""Every write that the driver can send is carried out once without its reply."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from support import operator_site
from support.lives import whole_life
from support.modes import MODES, Mode
from support.operations import SENT, WRITES
from support.operator_site import FAST, Site, end, lead_site, settings_for
from underlay.core.kube.client import KubeClient
from underlay.core.runtime.checkpoints import passing
from world.api import Api

pytestmark = pytest.mark.apiserver

AT_ONCE = 4
"""Each with its own account, node and operator. With more all would wait for the processor, too long for some to
come to rest in time.
"""
OFTEN = tuple(mode for mode in MODES if mode.name in ("secondary", "dual"))
"""Together these send every write; other modes are left to the long counts."""


@pytest.mark.parametrize("modes", [OFTEN, pytest.param(MODES, marks=pytest.mark.soak)], ids=["some-modes", "all-modes"])
async def test_no_lost_reply_leaves_anything_wrong(
    modes: Sequence[Mode],
    client: KubeClient,
    api: Api,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """For each write of each mode there is a life of a node in which its first reply is lost after it took place:
    readings agree, nothing remains twice. Together the modes send everything a provider can lead to.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def live(mode: Mode, operation: str = "") -> frozenset[str]:
        async with places:
            return await _live(client, api, mode, tmp_path, operation)

    undisturbed = await asyncio.gather(*map(live, modes))
    cases = [(mode, operation) for mode, sent in zip(modes, undisturbed, strict=True) for operation in sorted(sent)]
    outcomes = await asyncio.gather(*(live(*case) for case in cases), return_exceptions=True)

    failed = [
        f"{mode} {operation}: {outcome!r}"
        for (mode, operation), outcome in zip(cases, outcomes, strict=True)
        if isinstance(outcome, BaseException)
    ]
    record_property("told", ", ".join(f"{mode}: {operation}" for mode, operation in cases))
    assert not failed, "\n".join(failed)
    assert frozenset().union(*undisturbed) == WRITES & SENT


async def _live(client: KubeClient, api: Api, mode: Mode, folder: Path, operation: str) -> frozenset[str]:
    """The writes of one life."""
    async with operator_site.opened(client, ipv6=mode.ipv6) as site:
        if operation:
            site.sim.control("POST", "/faults", {"operation": operation, "kind": "lost_reply"})
        await site.add_provider(addresses=FAST | dict(mode.addresses))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(lead_site(site, settings_for(site, folder), passing))
            await whole_life(site, api, mode)
            await end(task)
        assert site.sim.control("GET", "/faults")["faults"] == [], f"{operation} was not struck"
        return _written(site)


def _written(site: Site) -> frozenset[str]:
    return frozenset(site.calls()) & WRITES
