"""Credentials that change, stop working and come back while the operator serves: nothing is restarted, nobody edits the
provider.
"""

import base64
import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import structlog.testing

from support.operator_site import KEY, Site, agent, eventually, operator
from underlay.core.api.kubernetes import Secret
from underlay.core.api.networkprovider import SpiderNetworkProvider

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

# Well above what is wanted, since the machine may be slow: at once, and as often as settings say.
TOLD_SECONDS = 10
NEW = "AKIANEW"
REFUSALS = {"CredentialsRefused", "PermissionMissing"}


async def test_a_changed_secret_is_noticed_while_the_old_one_works(site: Site, apiserver: "ApiServer") -> None:
    """New content is worked with after the time that settings say; the old is not used again, so that it can be revoked
    and nobody notices.
    """
    _register(site, KEY)
    _register(site, NEW)
    await site.add_provider()
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig, secret_seconds=1), agent(site, node):
        await site.bind(node, 2)
        await site.rest(node, addresses=4)
        await site.add_secret(site.name, NEW)
        await eventually(lambda: _unused(site, NEW))
        site.sim.control("DELETE", f"/credentials/{KEY}")
        site.sim.control("DELETE", "/calls")
        await site.bind(node, 3)
        await site.rest(node, addresses=8)

        assert not {"AuthFailure", "RequestExpired"} & {code for codes in site.calls().values() for code in codes}
        assert not REFUSALS & {event.reason for event in await site.events(site.name)}


async def test_a_revoked_key_is_replaced_at_once(site: Site, apiserver: "ApiServer") -> None:
    """The Secret holds a new one already when the old is refused: it is read then, however long its turn would be."""
    _register(site, KEY)
    _register(site, NEW)
    await site.add_provider()
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig, secret_seconds=3600), agent(site, node) as stand_in:
        await site.bind(node, 2)
        await site.rest(node, addresses=4)
        await site.add_secret(site.name, NEW)
        site.sim.control("DELETE", f"/credentials/{KEY}")
        await site.bind(node, 3)
        await site.rest(node, addresses=8, seconds=20)
        await eventually(lambda: _not_ready(site))

        assert len(stand_in.held()) >= 2


async def test_revoked_and_restored(site: Site, apiserver: "ApiServer") -> None:
    """Revoked in service: the provider says so, pods keep what they have; the same key valid again, and the nodes go on
    within seconds.
    """
    _register(site, KEY)
    await site.add_provider()
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig), agent(site, node) as stand_in:
        await site.bind(node, 2)
        await site.rest(node, addresses=4)
        held = stand_in.held()
        site.sim.control("DELETE", f"/credentials/{KEY}")
        await site.bind(node, 3)
        await eventually(lambda: _not_told(site, "CredentialsRefused", "credentialsSecretRef"), seconds=TOLD_SECONDS)
        assert held <= stand_in.held()
        assert len(site.interfaces(node)) >= 1

        _register(site, KEY)

        await site.rest(node, addresses=8, seconds=20)
        await eventually(lambda: _not_ready(site))


async def test_a_secret_that_goes_is_told_and_stops_nothing(site: Site, apiserver: "ApiServer") -> None:
    """The operator goes on with what it read, and says that a restart would not; a Secret of that name ends it."""
    await site.add_provider()
    node = await site.add_node()
    async with operator(site, apiserver.kubeconfig, secret_seconds=1), agent(site, node):
        await site.bind(node, 2)
        await site.rest(node, addresses=4)
        await site.client.delete(Secret, site.name, "default")
        await eventually(lambda: _not_told(site, "SecretUnreadable", "it does not exist"), seconds=TOLD_SECONDS)
        await site.bind(node, 3)
        await site.rest(node, addresses=8)
        await site.add_secret(site.name, KEY)

        await eventually(lambda: _not_ready(site))


async def test_a_role_that_is_taken_away_and_given_back(
    site: Site, apiserver: "ApiServer", caplog: pytest.LogCaptureFixture
) -> None:
    """Sessions that end are replaced unseen; without the role the action is named in condition and Event; given back,
    it is taken again. Nothing secret is in any object, Event or log, whatever went wrong.
    """
    caplog.set_level(logging.DEBUG)
    _register(site, KEY, allow=["sts:AssumeRole"])
    arn = _role(site, external_id="tenant-1")
    role = {"role": arn, "externalID": "tenant-1", "endpoint": f"{site.sim.url}/sts"}
    with structlog.testing.capture_logs() as lines:
        await site.add_provider(assumeRole=role)
        node = await site.add_node()
        async with operator(site, apiserver.kubeconfig), agent(site, node):
            await site.bind(node, 2)
            await site.rest(node, addresses=4)
            site.sim.control("DELETE", "/roles/pods/sessions")
            await site.bind(node, 3)
            await site.rest(node, addresses=8)
            assert not REFUSALS & {event.reason for event in await site.events(site.name)}

            _role(site, external_id="another")
            site.sim.control("DELETE", "/roles/pods/sessions")
            await site.bind(node, 7)
            await eventually(
                lambda: _not_told(site, "PermissionMissing", "allow sts:AssumeRole", arn), seconds=TOLD_SECONDS
            )
            await eventually(lambda: _unsaid(site, "PermissionMissing", "sts:AssumeRole"))
            _role(site, external_id="tenant-1")

            await site.rest(node, addresses=12, seconds=20)
            await eventually(lambda: _not_ready(site))
            await _assert_nothing_secret(site, node, [*lines, caplog.text])


async def test_providers_share_limits_only_as_the_same_role(site: Site, apiserver: "ApiServer") -> None:
    """One Secret, two roles: what one may not do is not said of the other."""
    _register(site, KEY, allow=["sts:AssumeRole", "ec2:*"])
    await site.add_provider()
    denied = f"{site.name}-denied"
    arn = _role(site, deny=["ec2:Describe*"])
    secret = {"name": site.name, "namespace": "default"}
    role = {"role": arn, "endpoint": f"{site.sim.url}/sts"}
    await site.add_provider(denied, credentialsSecretRef=secret, assumeRole=role)
    async with operator(site, apiserver.kubeconfig):
        await eventually(lambda: _not_told(site, "PermissionMissing", "allow ec2:Describe", provider=denied))
        await eventually(lambda: _not_ready(site))


def _register(site: Site, key: str, **body: Sequence[str]) -> None:
    site.sim.control("POST", "/credentials", {"access_key": key, **body})


def _role(site: Site, **body: object) -> str:
    return str(site.sim.control("POST", "/roles", {"name": "pods"} | body)["arn"])


async def _unused(site: Site, key: str) -> str:
    callers: Mapping[str, int] = site.sim.control("GET", "/credentials")["callers"]
    return "" if key in callers else str(callers)


async def _not_ready(site: Site) -> str:
    condition = await site.ready()
    return "" if condition and condition.status == "True" else str(condition)


async def _not_told(site: Site, reason: str, *texts: str, provider: str = "") -> str:
    condition = await site.ready(provider)
    told = condition is not None and (condition.status, condition.reason) == ("False", reason)
    return "" if condition and told and all(text in condition.message for text in texts) else str(condition)


async def _unsaid(site: Site, reason: str, text: str) -> str:
    said = await site.events(site.name)
    return "" if any(event.reason == reason and text in event.message for event in said) else str(said)


async def _assert_nothing_secret(site: Site, node: str, logged: Sequence[Any]) -> None:
    """Neither what the Secret holds nor what STS gave out."""
    said = [await site.events(name) for name in (site.name, node)]
    objects = [await site.client.get(SpiderNetworkProvider, site.name), await site.network(node)]
    text = " ".join([*map(str, said), *map(str, logged), *(json.dumps(msgspec.to_builtins(item)) for item in objects)])
    secret = await site.client.get(Secret, site.name, "default")

    assert all(name in text for name in ("httpx", "'event': 'node.", "sts:AssumeRole"))  # the readings are not empty
    for value in ("session-token-", "issued-secret-", secret.data["secret_access_key"].decode()):
        assert value not in text, value
        assert base64.b64encode(value.encode()).decode() not in text
