"""Orphaned interfaces at the cloud: deleted after two sightings, unless anything at all speaks for them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config

from support.operator_site import KEY, REGION, SETTLE_SECONDS, Site, eventually, operator, time_passes
from underlay.core.api.kubernetes import Namespace
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.kube.client import KubeClient

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

    from conftest import ApiServer

pytestmark = pytest.mark.apiserver

CLUSTER_TAG = "underlay.spidernet.io/cluster"
INTENT_TAG = "underlay.spidernet.io/intent"
TOKEN = "5eed"  # noqa: S105 a client token
SOON = {"minAgeSeconds": 1}
SEVERAL_ROUNDS = 4 * SETTLE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The site's account, by EC2's own client."""

    site: Site
    ec2: "EC2Client"
    cluster: str

    def make(self, *, cluster: str = "", token: str = "", tags: Mapping[str, str] | None = None) -> str:
        """A detached interface with the tags that the driver writes, of our cluster unless told, and more."""
        tags = {CLUSTER_TAG: cluster or self.cluster, **(tags or {})} | ({INTENT_TAG: token} if token else {})
        made = self.ec2.create_network_interface(
            SubnetId=self.site.subnet,
            TagSpecifications=[
                {
                    "ResourceType": "network-interface",
                    "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
                }
            ],
        )
        return made["NetworkInterface"]["NetworkInterfaceId"]

    def attach(self, interface: str) -> None:
        """To a machine that is no node."""
        machine = self.site.add_instance()["id"]
        self.ec2.attach_network_interface(NetworkInterfaceId=interface, InstanceId=machine, DeviceIndex=1)

    def present(self) -> set[str]:
        """Ids in the simulator's own table."""
        return {row["id"] for row in self.site.sim.control("GET", "/table")["interfaces"]}

    async def still(self, *interfaces: str) -> str:
        """Which of them are there."""
        return ", ".join(sorted(self.present() & set(interfaces)))

    async def record(self, suffix: str, status: Mapping[str, object]) -> None:
        """A SpiderNodeNetwork without a Node whose machine runs: the operator leaves it as it is."""
        name = f"{self.site.name}-{suffix}"
        provider_id = self.site.nodes.get(name) or self.site.add_instance()["providerID"]
        spec = {"provider": self.site.name, "nodeUID": "uid", "providerID": provider_id}
        await self.site.client.apply(SpiderNodeNetwork, name, {"spec": spec}, manager="test")
        await self.status(suffix, status)
        self.site._objects.append((SpiderNodeNetwork, name, None))

    async def status(self, suffix: str, status: Mapping[str, object]) -> None:
        """Of a recorded one."""
        name = f"{self.site.name}-{suffix}"
        await self.site.client.apply(SpiderNodeNetwork, name, {"status": status}, manager="test", subresource="status")

    async def said(self, reason: str, interface: str, provider: str = "") -> bool:
        """An Event of the provider names the interface."""
        events = await self.site.events(provider or self.site.name)
        return any(event.reason == reason and interface in event.message for event in events)

    async def unsaid(self, reason: str, *interfaces: str, provider: str = "") -> list[str]:
        return [item for item in interfaces if not await self.said(reason, item, provider)]


@pytest.fixture
async def cluster(client: KubeClient) -> str:
    return (await client.get(Namespace, "kube-system")).metadata.uid or ""


@pytest.fixture
def account(site: Site, cluster: str) -> Iterator[Account]:
    ec2: EC2Client = boto3.client(
        "ec2",
        endpoint_url=site.sim.url,
        region_name=REGION,
        aws_access_key_id=KEY,
        aws_secret_access_key="secret",  # noqa: S106 the simulator's
        config=Config(retries={"max_attempts": 0}, read_timeout=10),
    )
    yield Account(site=site, ec2=ec2, cluster=cluster)
    ec2.close()


async def test_only_what_nobody_claims_is_deleted(account: Account, apiserver: "ApiServer") -> None:
    """A detached interface of ours goes and an Event names it; one of another cluster, one that a person tagged as not
    to be managed, those of live intents (by token or id), a recorded one and an attached one stay; when its intent has
    gone the interface does.
    """
    site = account.site
    orphan, foreign, attached = account.make(), account.make(cluster="other-uid"), account.make()
    intended, named, recorded = account.make(token=TOKEN), account.make(), account.make()
    kept = account.make(tags={"node.k8s.amazonaws.com/no_manage": "true"})
    account.attach(attached)
    await site.add_provider(garbageCollection=SOON)
    started = "2026-01-01T00:00:00Z"
    intents = [
        {"id": TOKEN, "operation": "createInterface", "startedAt": started, "token": TOKEN},
        {"id": "other", "operation": "deleteInterface", "startedAt": started, "interface": named},
    ]
    await account.record("intents", {"intents": intents})
    known = {"id": recorded, "mac": "", "deviceIndex": 1, "primary": False, "state": "in-use", "subnet": site.subnet}
    await account.record("known", {"interfaces": [known]})
    async with operator(site, apiserver.kubeconfig):
        await eventually(lambda: account.still(orphan))
        await eventually(lambda: account.unsaid("OrphanDeleted", orphan))
        await time_passes(SEVERAL_ROUNDS)
        stay = {foreign, kept, attached, intended, named, recorded}
        assert stay <= account.present()
        assert await account.unsaid("OrphanDeleted", *stay) == list(stay)

        await account.status("intents", {"intents": intents[1:]})

        await eventually(lambda: account.still(intended))
        assert {foreign, kept, attached, named, recorded} <= account.present()
    assert "DetachNetworkInterface" not in site.calls()


async def test_a_dry_run_keeps_and_tells(account: Account, apiserver: "ApiServer") -> None:
    """With dryRun an Event names each orphan and all stay, by whichever provider of the account; without, they go."""
    site = account.site
    orphans = [account.make(), account.make()]
    await site.add_provider(garbageCollection=SOON | {"dryRun": True})
    await site.add_provider(f"{site.name}-too", garbageCollection=SOON, credentialsSecretRef=_secret(site))
    async with operator(site, apiserver.kubeconfig):
        await eventually(lambda: account.unsaid("OrphanFound", *orphans))
        await time_passes(SEVERAL_ROUNDS)
        assert set(orphans) <= account.present()
        assert "DeleteNetworkInterface" not in site.calls()

        await site.client.merge_patch(
            SpiderNetworkProvider, site.name, {"spec": {"garbageCollection": SOON | {"dryRun": False}}}
        )

        await eventually(lambda: account.still(*orphans))
        await eventually(lambda: account.unsaid("OrphanDeleted", *orphans))


async def test_an_orphan_younger_than_the_minimum_age_stays(account: Account, apiserver: "ApiServer") -> None:
    """It is looked at again and again, and stays until the age has passed since the first look."""
    site = account.site
    orphan = account.make()
    await site.add_provider(garbageCollection={"minAgeSeconds": 6})
    async with operator(site, apiserver.kubeconfig):
        await time_passes(5)
        assert orphan in account.present()
        await eventually(lambda: account.still(orphan), seconds=20)


async def test_trouble_of_a_deletion_is_told_and_passes(account: Account, apiserver: "ApiServer") -> None:
    """While deleting is not permitted, the provider's condition and an Event name the action and nothing ends; once it
    is, every orphan goes, more than one round's worth of them too, each deleted once.
    """
    site = account.site
    orphans = [account.make() for _ in range(30)]
    _permit(site, "DeleteNetworkInterface")
    await site.add_provider(garbageCollection=SOON)
    async with operator(site, apiserver.kubeconfig):
        await eventually(partial(_lacks_permission, site))
        assert set(orphans) <= account.present()
        site.sim.control("DELETE", "/credentials")

        await eventually(lambda: account.still(*orphans), seconds=30)

        await eventually(partial(_not_ready, site))
    assert site.calls()["DeleteNetworkInterface"]["OK"] == len(orphans)


def _secret(site: Site) -> Mapping[str, str]:
    return {"name": site.name, "namespace": "default"}


def _permit(site: Site, *deny: str) -> None:
    site.sim.control("POST", "/credentials", {"access_key": KEY, "secret": "secret", "deny": list(deny)})


async def _lacks_permission(site: Site) -> str:
    condition = await site.ready()
    if condition is None or condition.reason != "PermissionMissing":
        return f"{condition}"
    assert "ec2:DeleteNetworkInterface" in condition.message
    events = await site.events(site.name)
    told = any("ec2:DeleteNetworkInterface" in event.message for event in events)
    return "" if told else f"{events}"


async def _not_ready(site: Site) -> str:
    condition = await site.ready()
    return "" if condition and condition.status == "True" else f"{condition}"
