"""What cannot work says so within five seconds, where a person looks and with what to do; put right, it works."""

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.operator_site import KEY, Site, agent, eventually, operator, time_passes
from support.starvation import starved_seconds, within
from underlay.core.api.meta import Condition
from underlay.core.api.networkprovider import SpiderNetworkProvider

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

TOLD_SECONDS = 5
MUCH_SECONDS = 1.0
LONG_TERM = {"lease_seconds": 60, "renew_seconds": 40}
"""No leader changes here, and a starved one keeps its Lease."""


async def test_a_provider_that_cannot_work_says_why(site: Site, apiserver: "ApiServer") -> None:
    """Each mistake gives Ready False with its own reason and a text that names what to change, all within 5 s; each is
    noticed when put right.
    """
    site.sim.control("POST", "/credentials", {"access_key": KEY, "secret": "secret"})
    denied = {"access_key": "AKIADENIED", "secret": "secret", "deny": ["DescribeNetworkInterfaces"]}
    site.sim.control("POST", "/credentials", denied)
    names = {what: f"{site.name}-{what}" for what in ("keys", "policy", "subnet", "driver", "secret", "deaf", "mute")}
    with socket.socket() as mute, socket.socket() as deaf:
        mute.bind(("127.0.0.1", 0))
        mute.listen()  # the connection is made, nobody answers
        deaf.bind(("127.0.0.1", 0))  # nobody listens
        async with operator(site, apiserver.kubeconfig, **LONG_TERM):
            for name in (names["keys"], names["policy"]):
                await site.add_secret(name, "AKIAWRONG" if name == names["keys"] else "AKIADENIED")
                reference = {"name": name, "namespace": "default"}
                await site.add_provider(name, credentialsSecretRef=reference)
            await site.add_provider(names["subnet"], subnets={"ids": ["subnet-0123456789abcdef0"]})
            await site.add_provider(names["driver"], driver="awz")
            absent = {"name": names["secret"], "namespace": "default"}
            await site.add_provider(names["secret"], credentialsSecretRef=absent)
            await site.add_provider(names["deaf"], endpoint=_url(deaf))
            await site.add_provider(names["mute"], endpoint=_url(mute))

            starved = starved_seconds()
            said_no = asyncio.gather(*(_told(site, name) for name in names.values()))
            found = dict(zip(names, await within(TOLD_SECONDS, said_no), strict=True))
            starved = starved_seconds() - starved

            expected = {
                "keys": ("CredentialsRefused", "credentialsSecretRef"),
                "policy": ("PermissionMissing", "ec2:DescribeNetworkInterfaces"),
                "subnet": ("NotFound", "subnet-0123456789abcdef0"),
                "driver": ("InvalidValue", "spec.driver: found 'awz', expected one of the installed drivers: aws"),
                "secret": ("SecretUnreadable", f"default/{names['secret']}"),
                "deaf": ("CloudUnavailable", _url(deaf)),
                "mute": ("CloudUnavailable", _url(mute)),
            }
            for what, (reason, text) in expected.items():
                condition = found[what]
                if starved > MUCH_SECONDS and condition.reason == "CloudUnavailable" != reason:
                    # The cloud's answer came later than the operator waits for it before it says so; it asks again.
                    condition = await _told(site, names[what], but="CloudUnavailable")
                assert (condition.status, condition.reason) == ("False", reason), what
                assert text in condition.message
                assert "To do: " in condition.message
            said = await site.events(names["driver"])
            assert {event.reason for event in said} <= {"InvalidValue"}

            site.sim.control("DELETE", "/credentials")
            await site.add_secret(names["secret"], KEY)
            right = {"subnet": {"subnets": {"ids": [site.subnet]}}, "driver": {"driver": "aws"}}
            right |= {what: {"endpoint": site.sim.url} for what in ("deaf", "mute")}
            for what, spec in right.items():
                await site.client.merge_patch(SpiderNetworkProvider, names[what], {"spec": spec})
            for name in names.values():
                await eventually(partial(_unusable, site, name))


async def test_a_missing_permission_to_write_is_named_until_granted(site: Site, apiserver: "ApiServer") -> None:
    """Reads work and a write is denied: provider, node and an Event name the action; nothing is left at the cloud; once
    it is allowed the node gets what it needs.
    """
    await site.add_provider(interfaces={"usePrimary": False})
    _permit(site, deny=["AttachNetworkInterface"])
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig, **LONG_TERM), agent(site, node):
        provider = await within(TOLD_SECONDS, _told(site, site.name))
        assert (provider.status, provider.reason) == ("False", "PermissionMissing")
        assert "allow ec2:AttachNetworkInterface" in provider.message
        sufficient = await site.sufficient(node)
        assert sufficient is not None
        assert sufficient.reason == "PermissionMissing"
        assert "allow ec2:AttachNetworkInterface" in sufficient.message
        await eventually(lambda: _untold(site, node, "PermissionMissing"))
        await eventually(lambda: _left(site))

        _permit(site, deny=[])

        await site.rest(node, addresses=4, interfaces=2)
        await eventually(lambda: _unusable(site, site.name))


async def test_an_interface_that_may_not_be_finished_holds_up_nothing_else(site: Site, apiserver: "ApiServer") -> None:
    """A second interface was attached and must not be told to end with its machine: the node says so, and meanwhile
    gives back what pods have left of the first. Once it is allowed the second is finished, and goes: nobody needs it.
    """
    await site.add_provider()
    _permit(site, deny=["ModifyNetworkInterfaceAttribute"])
    node = await site.add_node()
    (first,) = site.interfaces(node)
    async with operator(site, apiserver.kubeconfig), agent(site, node):
        await site.bind(node, 6)
        await eventually(lambda: _untold(site, node, "PermissionMissing", "allow ec2:ModifyNetworkInterfaceAttribute"))
        assert len(site.interfaces(node)[first]) == 5

        await site.bind(node, 0)

        await eventually(lambda: _has_more(site, node, first, 4))
        assert len(site.interfaces(node)) == 2

        _permit(site, deny=[])

        await site.rest(node, addresses=4, interfaces=1)


async def test_nodes_that_cannot_be_served_say_why(site: Site, apiserver: "ApiServer") -> None:
    """A machine the cloud does not know, a providerID of another cloud, a machine that has all its type allows, a
    subnet without free addresses: each has a condition and an Event that say what to do; other nodes are served.
    """
    small = site.sim.control("POST", "/subnets", {"vpc": site.vpc, "cidr": "10.80.2.0/28", "zone": "us-east-1a"})["id"]
    await site.add_provider()
    dry = await site.add_provider(f"{site.name}-dry", subnets={"ids": [small]})
    unknown = await site.add_node("unknown", provider_id="aws:///us-east-1a/i-0123456789abcdef0")
    foreign = await site.add_node("foreign", provider_id="azure:///subscriptions/1")
    full = await site.add_node("full")
    empty = await site.add_node("empty", site=dry, provider_id=site.add_instance(subnet=small)["providerID"])
    good = await site.add_node("good")
    async with (
        operator(site, apiserver.kubeconfig, **LONG_TERM),
        agent(site, full),
        agent(site, empty),
        agent(site, good),
    ):
        # A t3.medium has 3 x 6 addresses, 15 of them for pods. A /28 has 11, one of them the machine's own.
        await site.bind(full, 17)
        await site.bind(empty, 12)
        for node, reason, text in (
            (unknown, "NotFound", "i-0123456789abcdef0 does not exist"),
            (foreign, "InvalidValue", "azure:///subscriptions/1"),
            (full, "LimitReached", "use a larger instance type"),
            (empty, "LimitReached", "add another one of the zone to the provider's spec.subnets"),
        ):
            await eventually(partial(_untold, site, node, reason, text))
            condition = await site.sufficient(node)
            assert condition is not None
            assert condition.status != "True"
            assert text in condition.message
        await site.rest(good, addresses=4, interfaces=1)
        await site.rest(full, addresses=15, interfaces=3)


async def test_throttling_and_outages_of_the_cloud_pass(site: Site, apiserver: "ApiServer") -> None:
    """Refusals and server errors of every operation are ridden out."""
    await site.add_provider()
    node = await site.add_node()
    for code in ("RequestLimitExceeded", "InternalError", "Unavailable"):
        site.sim.control("POST", "/faults", {"operation": "*", "kind": "error", "code": code, "nth": 4, "count": 3})
    async with operator(site, apiserver.kubeconfig, **LONG_TERM), agent(site, node):
        await site.bind(node, 8)
        await site.rest(node, addresses=12, interfaces=3, seconds=60)
    assert site.sim.control("GET", "/faults")["faults"] == []


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _permit(site: Site, *, deny: list[str]) -> None:
    site.sim.control("POST", "/credentials", {"access_key": KEY, "secret": "secret", "deny": deny})


async def _told(site: Site, provider: str, *, but: str = "") -> Condition:
    """The provider's condition once it says no, for another reason than ``but``."""
    async with asyncio.timeout(60):
        while (
            (condition := await site.ready(provider)) is None or condition.status == "True" or condition.reason == but
        ):
            await time_passes(0.05)
    return condition


async def _unusable(site: Site, provider: str) -> str:
    condition = await site.ready(provider)
    return "" if condition and condition.status == "True" else f"{provider}: {condition}"


async def _untold(site: Site, node: str, reason: str, text: str = "") -> str:
    events = [event for event in await site.events(node) if event.reason == reason]
    return "" if any(text in event.message for event in events) else f"{node}: {events}"


async def _left(site: Site) -> list[str]:
    rows = site.sim.control("GET", "/table")["interfaces"]
    return [row["id"] for row in rows if not row["attachment"]]


async def _has_more(site: Site, node: str, interface: str, count: int) -> str:
    have = len(site.interfaces(node)[interface])
    return f"{interface} has {have} addresses" if have != count else ""
