"""A cloud account, a provider and nodes for tests of the operator, and the readings that have to agree in the end.

Every site has a simulator, names and a label of its own, so that many share one API server.
"""

import asyncio
import base64
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from boto3.session import Session

from cloudsim.server.app import Settings as SimulatorSettings
from cloudsim.threaded import Simulator, simulator
from support import leftovers
from support.agent import StandInAgent
from underlay.core.addresses import RangeSet
from underlay.core.api.ippool import INTERFACE_ANNOTATION, NODE_LABEL, SpiderIPPool
from underlay.core.api.kubernetes import Event, Lease, LeaseSpec, Node, Pod, Secret
from underlay.core.api.meta import Condition
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.api.nodenetwork import SpiderNodeNetwork, SpiderNodeNetworkStatus
from underlay.core.cloud.tags import CLUSTER
from underlay.core.identity import node_label_value
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.core.runtime.checkpoints import Checkpoint, passing
from underlay.core.runtime.clock import RealClock
from underlay.operator.main import lead, run
from underlay.operator.providers import Providers
from underlay.operator.removal import Removal
from underlay.operator.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

REGION = "us-east-1"
ZONE = "us-east-1a"
KEY = "AKIAEXAMPLE"
LAG_SECONDS = 0.1
SETTLE_SECONDS = 1.2
"""More than the lag and the second that times in objects are rounded by."""
FAST = {"minimum": 0, "batch": 4, "buffer": 0.5, "cooldownSeconds": 0, "releaseDelaySeconds": 1}

PATIENT = {"lease_seconds": 40, "renew_seconds": 25}
"""Settings for an operator that shares its process with much else, where renewals may come late."""

_numbers = itertools.count()


@dataclass(slots=True, kw_only=True)
class Site:
    """One account with one subnet, a provider named as the site, and its nodes."""

    name: str
    client: KubeClient
    sim: Simulator
    vpc: str
    subnet: str
    nodes: dict[str, str] = field(default_factory=dict)
    _objects: list[tuple[type[Any], str, str | None]] = field(default_factory=list)

    # what people and Kubernetes write

    async def add_provider(self, name: str = "", **spec: object) -> str:
        """A provider of this site's nodes, with a Secret of its own name."""
        name = name or self.name
        body: dict[str, object] = {
            "driver": "aws",
            "region": REGION,
            "endpoint": self.sim.url,
            "nodeSelector": {"matchLabels": {"site": name}},
            "credentialsSecretRef": {"name": name, "namespace": "default"},
            "interfaces": {"usePrimary": True},
            "addresses": FAST,
        }
        if "credentialsSecretRef" not in spec:
            await self.add_secret(name, KEY)
        await self.client.apply(SpiderNetworkProvider, name, {"spec": body | spec}, manager="test")
        self._objects.append((SpiderNetworkProvider, name, None))
        return name

    async def add_secret(self, name: str, access_key: str) -> None:
        """Credentials; the simulator knows callers by their access key."""
        data = {"access_key_id": access_key, "secret_access_key": "hidden-from-everybody"}
        coded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        await self.client.apply(Secret, name, {"data": coded}, manager="test", namespace="default")
        self._objects.append((Secret, name, "default"))

    def add_instance(self, type_: str = "t3.medium", subnet: str = "") -> dict[str, Any]:
        """A machine."""
        return self.sim.control("POST", "/instances", {"type": type_, "subnet": subnet or self.subnet})

    async def add_node(self, suffix: str = "n", *, instance: str = "", provider_id: str = "", site: str = "") -> str:
        """A Node of a machine, new unless ``provider_id`` names it; its name."""
        if not provider_id:
            machine = self.add_instance(instance or "t3.medium")
            provider_id = machine["providerID"]
        name = f"{self.name}-{suffix}"
        body = {"metadata": {"labels": {"site": site or self.name}}, "spec": {"providerID": provider_id}}
        await self.client.apply(Node, name, body, manager="test")
        self.nodes[name] = provider_id.rpartition("/")[2]
        self._objects += [(SpiderNodeNetwork, name, None), (Node, name, None)]
        return name

    async def bind(self, node: str, count: int) -> None:
        """Exactly ``count`` pods are bound to the node."""
        listing = await self.client.list(Pod, namespace="default", fields=f"spec.nodeName={node}")
        names = [f"{node}-{number}" for number in range(count)]
        spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "none"}]}
        have = {pod.metadata.name for pod in listing.items}
        for name in sorted(set(names) - have):
            await self.client.apply(Pod, name, {"spec": spec}, manager="test", namespace="default")
        for name in sorted(have - set(names)):
            await self.client.delete(Pod, name, "default")

    async def cordon(self, node: str, *, cordoned: bool) -> None:
        """A node that is gives nothing back."""
        await self.client.merge_patch(Node, node, {"spec": {"unschedulable": cordoned}})

    def terminate(self, node: str) -> None:
        """The node's machine is gone from the cloud."""
        self.sim.control("DELETE", f"/instances/{self.nodes[node]}")

    # readings

    async def network(self, node: str) -> SpiderNodeNetwork | None:
        try:
            return await self.client.get(SpiderNodeNetwork, node)
        except kube_errors.NotFound:
            return None

    async def pools(self, node: str) -> list[SpiderIPPool]:
        return list((await self.client.list(SpiderIPPool, labels=f"{NODE_LABEL}={node_label_value(node)}")).items)

    async def ready(self, provider: str = "") -> Condition | None:
        """The provider's condition."""
        value = await self.client.get(SpiderNetworkProvider, provider or self.name)
        return next(iter(value.status.conditions), None) if value.status else None

    async def sufficient(self, node: str) -> Condition | None:
        """The node's condition."""
        network = await self.network(node)
        return next(iter(network.status.conditions), None) if network and network.status else None

    async def events(self, about: str) -> list[Event]:
        """What was said about an object."""
        return list((await self.client.list(Event, fields=f"involvedObject.name={about}")).items)

    def calls(self) -> Mapping[str, Mapping[str, int]]:
        """What was called at the cloud: operation → code → count."""
        return self.sim.control("GET", "/calls")

    @contextmanager
    def ec2(self) -> Iterator["EC2Client"]:
        """What people and other programs do in the account."""
        session = Session(aws_access_key_id=KEY, aws_secret_access_key="any", region_name=REGION)  # noqa: S106
        with closing(session.client("ec2", endpoint_url=self.sim.url)) as client:
            yield client

    def interfaces(self, node: str) -> dict[str, set[str]]:
        """The simulator's own table: interfaces attached to the node's machine, their secondary addresses, prefixes."""
        return {
            row["id"]: {*row["addresses"], *row["prefixes"], *row["ipv6_addresses"], *row["ipv6_prefixes"]}
            for row in self.sim.control("GET", "/table")["interfaces"]
            if row["attachment"]
            and row["attachment"]["instance"] == self.nodes[node]
            and row["attachment"]["state"] == "attached"
        }

    async def disagreements(self, node: str) -> list[str]:
        """Where cloud, SpiderNodeNetwork and pools differ, and what has been left behind. Empty: at rest."""
        rows = self.sim.control("GET", "/table")["interfaces"]
        network, pools = await self.network(node), await self.pools(node)
        if network is None:
            return ["no SpiderNodeNetwork"]
        status, cloud, found = network.status or SpiderNodeNetworkStatus(), self.interfaces(node), []
        stated = {item.id: {*item.addresses, *item.prefixes} for item in status.interfaces}
        fixed = {item.address for interface in status.interfaces for item in interface.floating if not item.arriving}
        found += [f"recall {recall.id}" for recall in network.spec.recall]
        if missing := fixed - set().union(*cloud.values()):
            found.append(f"listed and not at the cloud: {missing}")
        cloud = {id_: addresses - fixed for id_, addresses in cloud.items()}
        if cloud != stated:
            found.append(f"cloud {cloud} != status {stated}")
        listed: dict[str, set[str]] = {}
        for pool in pools:
            ips = set(map(str, RangeSet.parse(pool.spec.ips or [], field="ips")))
            listed.setdefault(pool.metadata.annotations[INTERFACE_ANNOTATION], set()).update(ips)
        given = {id_: set().union(*map(_given, held)) for id_, held in cloud.items()}
        if listed != {id_: addresses for id_, addresses in given.items() if addresses}:
            found.append(f"cloud {cloud} != pools {listed}")
        if sum(map(len, listed.values())) != len(set().union(*listed.values())):
            found.append(f"an address is in two pools: {listed}")
        known = {id_ for name in self.nodes for id_ in self.interfaces(name)}
        found += [f"orphan {row['id']}" for row in rows if CLUSTER in row["tags"] and row["id"] not in known]
        found += [f"not deleted with its machine: {row['id']}" for row in rows if _stays(row)]
        found += [f"intent {intent.operation}" for intent in status.intents]
        found += [f"release {release.id}" for release in network.spec.release]
        found += [f"release {entry.id} done" for entry in network.spec.release_done]
        found += [f"answer {answer.id}" for answer in status.released]
        families = {4 if name == "ipv4" else 6 for name in network.spec.families}
        usable = sum(
            min(sum(ip_address(one).version == family for one in held) for family in families)
            for held in given.values()
        )
        if status.demand is None or status.demand.usable != usable or status.demand.target != usable:
            found.append(f"{usable} addresses, demand {status.demand}")
        return found

    async def rest(self, node: str, *, addresses: int, interfaces: int | None = None, seconds: float = 30) -> None:
        """Until all readings agree on that many secondary addresses and prefixes, and interfaces if that is told."""
        await eventually(lambda: self.unrest(node, addresses, interfaces), seconds=seconds)

    async def unrest(self, node: str, addresses: int, interfaces: int | None) -> list[str]:
        """Why that has not been reached."""
        cloud = self.interfaces(node)
        counted = (sum(map(len, cloud.values())), len(cloud))
        wanted = (addresses, len(cloud) if interfaces is None else interfaces)
        wrong = [] if counted == wanted else [f"{counted} addresses and interfaces"]
        return wrong + await self.disagreements(node)

    async def clean(self) -> None:
        """Removes what was made here."""
        for node in self.nodes:
            await self.bind(node, 0)
            for pool in await self.pools(node):
                await _gone(self.client.delete(SpiderIPPool, pool.metadata.name))
        for kind, name, namespace in self._objects:
            if kind is SpiderNetworkProvider:  # no operator is left that would let it go
                await _gone(self.client.merge_patch(kind, name, {"metadata": {"finalizers": None}}))
            await _gone(self.client.delete(kind, name, namespace))


def _given(item: str) -> set[str]:
    """What pods get of an address or a prefix: of an IPv6 prefix the first 1,024."""
    if "/" not in item:
        return {item}
    block = ip_network(item)
    return {str(block[number]) for number in range(16 if block.version == 4 else 1024)}


def _stays(row: Mapping[str, Any]) -> bool:
    return CLUSTER in row["tags"] and row["attachment"] and not row["attachment"]["delete_on_termination"]


async def _gone(deletion: Awaitable[object]) -> None:
    with contextlib.suppress(kube_errors.NotFound):
        await deletion


async def eventually(problems: Callable[[], Awaitable[object]], *, seconds: float = 15) -> None:
    """Until ``problems()`` gives nothing (empty or None); the last ones are what a failure says. What takes long is
    looked at less and less often.
    """
    last: object = None
    pause = 0.1
    try:
        async with asyncio.timeout(seconds):
            while last := await problems():
                await time_passes(pause)
                pause = min(pause * 1.2, 1.0)
    except TimeoutError:
        raise AssertionError(f"after {seconds} s still: {last}") from None


async def time_passes(seconds: float) -> None:
    """For what can only be seen by nothing happening."""
    await asyncio.sleep(seconds)


@contextmanager
def account(**settings: Any) -> Iterator[Simulator]:  # noqa: ANN401 - the simulator's settings
    """A fast simulator."""
    chosen: dict[str, Any] = {"attach_seconds": 0.05, "lag_seconds": LAG_SECONDS, "region": REGION} | settings
    with simulator(SimulatorSettings(**chosen)) as sim:
        yield sim


@asynccontextmanager
async def opened(
    client: KubeClient, *, name: str = "", subnet: str = "10.80.1.0/24", ipv6: bool = True
) -> AsyncIterator[Site]:
    """A site of its own, removed at the end. ``ipv6``: its subnet has a block of that as well."""
    with ExitStack() as stack:
        sim = stack.enter_context(account())
        block, part = ({"ipv6_cidr": "2001:db8:80::/56"}, {"ipv6_cidr": "next"}) if ipv6 else ({}, {})
        vpc = sim.control("POST", "/vpcs", {"cidr": "10.80.0.0/16", **block})["id"]
        made = sim.control("POST", "/subnets", {"vpc": vpc, "cidr": subnet, "zone": ZONE, **part})["id"]
        site = Site(name=name or f"site{next(_numbers)}", client=client, sim=sim, vpc=vpc, subnet=made)
        try:
            yield site
        finally:
            await site.clean()


def settings_for(site: Site, kubeconfig: Path, **changes: object) -> Settings:
    """Short terms, so that tests wait for little."""
    chosen = Settings(
        kubeconfig=kubeconfig,
        lease_name=site.name,
        lease_seconds=6,
        renew_seconds=4,
        retry_seconds=0.5,
        call_seconds=2,
        settle_seconds=SETTLE_SECONDS,
        subnet_seconds=3,
        workers=4,
    )
    return msgspec.structs.replace(chosen, **changes)


async def free_lease(site: Site) -> None:
    """A Lease nobody holds: who would make it has to wait for whoever might hold a deleted one."""
    body = {"spec": msgspec.to_builtins(LeaseSpec(holder_identity="", lease_duration_seconds=1))}
    await site.client.apply(Lease, site.name, body, manager="test", namespace="kube-system")
    site._objects.append((Lease, site.name, "kube-system"))


@asynccontextmanager
async def operator(site: Site, kubeconfig: Path, **changes: object) -> AsyncIterator[asyncio.Task[None]]:
    """The whole operator, with Lease and kopf, in this process; it leads when the block begins."""
    await free_lease(site)
    async with whole_operator(settings_for(site, kubeconfig, **changes)) as task:
        yield task


@asynccontextmanager
async def whole_operator(settings: Settings, checkpoint: Checkpoint = passing) -> AsyncIterator[asyncio.Task[None]]:
    """It leads when the block begins; should it end by itself, so does the block."""
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run(settings, checkpoint=checkpoint, ready=ready.set))
        try:
            async with asyncio.timeout(20):
                await ready.wait()
            yield task
        finally:
            await end(task)


async def end(task: asyncio.Task[None]) -> None:
    """``cut_off``, and nothing of it is left for the collector."""
    await cut_off(task)
    leftovers.collect()


async def cut_off(task: asyncio.Task[None]) -> None:
    """Cancel it and take its outcome, whatever it is."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()


@asynccontextmanager
async def agent(site: Site, node: str) -> AsyncIterator[StandInAgent]:
    """The node's agent."""
    stand_in = StandInAgent(site.client, node)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(stand_in.run())
        try:
            yield stand_in
        finally:
            await cut_off(task)
    assert stand_in.problems == []


async def lead_site(site: Site, settings: Settings, checkpoint: Checkpoint) -> None:
    """The operator without Lease and kopf, serving the site's own provider only: many can run in one process."""

    async def hear(providers: Providers, _removal: Removal, heard: asyncio.Event) -> None:
        await providers.put(await site.client.get(SpiderNetworkProvider, site.name))
        heard.set()
        await asyncio.Event().wait()

    await lead(site.client, clock=RealClock(), held=lambda: True, settings=settings, hear=hear, checkpoint=checkpoint)
