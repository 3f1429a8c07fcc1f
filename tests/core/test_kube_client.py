"""The client's verbs against a real API server."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import count
from typing import TYPE_CHECKING

import msgspec
import pytest

from support.proxy import proxied
from support.watchserver import Reply, Request, WatchServer
from underlay.core.api.ippool import SpiderIPPool, SpiderIPPoolSpec, SpiderIPPoolStatus
from underlay.core.api.kinds import definitions
from underlay.core.api.kubernetes import Lease, Namespace, Node, NodeSpec, Pod, Secret
from underlay.core.api.meta import ObjectMeta
from underlay.core.api.nodenetwork import (
    AGENT_MANAGER,
    OPERATOR_MANAGER,
    AgentStatus,
    Demand,
    Link,
    OperatorStatus,
    Released,
    SpiderNodeNetwork,
    SpiderNodeNetworkSpec,
)
from underlay.core.errors import InvalidInput
from underlay.core.kube import errors
from underlay.core.kube.client import Bookmark, KubeClient, ObjectEvent
from underlay.core.kube.optimistic import update
from underlay.core.kube.resources import RESOURCES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import ApiServer

_numbers = count()


@pytest.fixture
async def client(apiserver: "ApiServer") -> AsyncIterator[KubeClient]:
    async with apiserver.client("test-kube-client/1") as client:
        yield client


@pytest.fixture
def unique() -> str:
    """A name no other test uses."""
    return f"kube-client-{next(_numbers)}"


def pool(name: str, *ips: str, **metadata: object) -> SpiderIPPool:
    spec = SpiderIPPoolSpec(subnet="10.1.0.0/16", ips=list(ips) or ["10.1.0.10-10.1.0.20"])
    return SpiderIPPool(metadata=ObjectMeta(name=name, **metadata), spec=spec)  # type: ignore[arg-type]


def test_every_kind_has_a_line_that_agrees_with_its_crd() -> None:
    """The registry serves each kind of ours under the plural and scope of its CRD."""
    expected = {(d.kind, d.plural, d.scope == "Namespaced") for d in definitions()}

    assert expected == {(kind.__name__, r.plural, r.namespaced) for kind, r in RESOURCES.items() if r.whole}


@pytest.mark.apiserver
async def test_an_object_lives_through_all_verbs(client: KubeClient, unique: str) -> None:
    """Created, read, replaced, deleted: each verb returns the object as the server then has it."""
    made = await client.create(pool(unique, labels={"a": "b"}))
    read = await client.get(SpiderIPPool, unique)
    wanted = msgspec.structs.replace(made, spec=SpiderIPPoolSpec(subnet="10.1.0.0/16", ips=["10.1.0.99"]))
    replaced = await client.replace(wanted)
    await client.delete(SpiderIPPool, unique)

    assert made == read
    assert replaced.spec.ips == ["10.1.0.99"]
    assert made.metadata.uid == replaced.metadata.uid
    assert made.metadata.generation == 1
    assert replaced.metadata.generation == 2
    with pytest.raises(errors.NotFound):
        await client.get(SpiderIPPool, unique)


@pytest.mark.apiserver
async def test_none_is_left_out_of_what_is_written(client: KubeClient, unique: str) -> None:
    """A field that is None is absent in the server, not null."""
    await client.create(pool(unique))
    response = await client._call("GET", f"/apis/spiderpool.spidernet.io/v2beta1/spiderippools/{unique}")

    assert "gateway" not in msgspec.json.decode(response)["spec"]


@pytest.mark.apiserver
async def test_refusals_have_the_class_of_what_to_do_next(client: KubeClient, unique: str) -> None:
    """Absent, existing, stale, of another UID, malformed, and unnameable objects raise different classes."""
    made = await client.create(pool(unique))
    await client.merge_patch(SpiderIPPool, unique, {"metadata": {"labels": {"x": "y"}}})

    with pytest.raises(errors.NotFound):
        await client.delete(SpiderIPPool, unique + "-absent")
    with pytest.raises(errors.AlreadyExists):
        await client.create(pool(unique))
    with pytest.raises(errors.Conflict):
        await client.replace(made)
    with pytest.raises(errors.Conflict):
        await client.delete(SpiderIPPool, unique, uid="00000000-0000-0000-0000-000000000000")
    with pytest.raises(errors.Conflict):
        await client.apply(SpiderIPPool, unique, {}, manager="m", resource_version=made.metadata.resource_version)
    with pytest.raises(errors.Invalid):
        await client.merge_patch(SpiderIPPool, unique, {"spec": {"ips": "not a list"}})
    for name in ("", ".", "..", "../nodes", "a/b", "a%2fb"):
        with pytest.raises(errors.Invalid):
            await client.get(SpiderIPPool, name)
    with pytest.raises(errors.NotFound):
        await client.get(SpiderIPPool, "spaces and ?query=1#")


@pytest.mark.apiserver
async def test_built_in_kinds_cannot_be_replaced(client: KubeClient, unique: str) -> None:
    """Replacing a Node would lose the fields its Struct lacks, therefore it is refused before anything is sent."""
    node = await client.create(Node(metadata=ObjectMeta(name=unique), spec=NodeSpec(provider_id="aws:///z/i-1")))

    with pytest.raises(TypeError, match="Node is not modelled whole"):
        await client.replace(node)


@pytest.mark.apiserver
async def test_merge_patch_keeps_what_is_not_modelled(client: KubeClient, unique: str) -> None:
    """A merge patch of a Node changes what it names, deletes what it says is None, and keeps all else."""
    body = {"spec": {"podCIDR": "10.9.0.0/24", "providerID": "aws:///z/i-1"}, "metadata": {"labels": {"a": "1"}}}
    await client.apply(Node, unique, body, manager="somebody")
    await client.merge_patch(Node, unique, {"spec": {"unschedulable": True}, "metadata": {"labels": {"a": None}}})
    node = await client.get(Node, unique)
    raw = msgspec.json.decode(await client._call("GET", f"/api/v1/nodes/{unique}"))

    assert node.spec.provider_id == "aws:///z/i-1"
    assert node.spec.unschedulable is True
    assert "a" not in node.metadata.labels
    assert raw["spec"]["podCIDR"] == "10.9.0.0/24"


@pytest.mark.apiserver
async def test_a_node_status_is_read_and_patched(client: KubeClient, unique: str) -> None:
    """Status fields that others write are readable; a subresource patch writes them."""
    await client.create(Node(metadata=ObjectMeta(name=unique)))
    body = {"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "capacity": {"pods": "110"}}}
    node = await client.merge_patch(Node, unique, body, subresource="status")

    assert [(a.type, a.address) for a in node.status.addresses] == [("InternalIP", "10.0.0.1")]
    assert node.status.capacity == {"pods": "110"}


@pytest.mark.apiserver
async def test_secret_data_is_decoded_and_not_shown(client: KubeClient, unique: str) -> None:
    """A Secret's bytes arrive as they were put in, and its repr names keys only."""
    secret = Secret(metadata=ObjectMeta(name=unique, namespace="default"), data={"key": b"\x00value"})
    await client.create(secret)
    read = await client.get(Secret, unique, "default")

    assert read.data == {"key": b"\x00value"}
    assert "value" not in repr(read)
    assert "key" in repr(read)


@pytest.mark.apiserver
async def test_two_managers_apply_disjoint_parts_of_one_status(client: KubeClient, unique: str) -> None:
    """Operator and agent apply their parts of a SpiderNodeNetwork's status; neither removes what the other owns."""
    spec = SpiderNodeNetworkSpec(provider="p", node_uid="u", provider_id="aws:///z/i-1")
    body = {"spec": msgspec.to_builtins(spec)}
    await client.apply(SpiderNodeNetwork, unique, body, manager=OPERATOR_MANAGER)
    of_operator = OperatorStatus(demand=Demand(pods=3, cooling=0, target=8, usable=4))
    of_agent = AgentStatus(
        journal_epoch="e1",
        links=[Link(mac="02:00:00:00:00:01", name="eth1", mtu=9001, state="up")],
        released=[Released(id="r1", fenced=["10.0.0.5"])],
    )
    await client.apply(SpiderNodeNetwork, unique, of_operator, manager=OPERATOR_MANAGER, subresource="status")
    await client.apply(SpiderNodeNetwork, unique, of_agent, manager=AGENT_MANAGER, subresource="status")
    again = {"status": AgentStatus(journal_epoch="e2")}
    both = await client.apply(SpiderNodeNetwork, unique, again, manager=AGENT_MANAGER, subresource="status")

    assert both.status is not None
    assert both.spec.provider == "p"
    assert both.status.demand == of_operator.demand
    assert both.status.journal_epoch == "e2"
    assert both.status.links == []
    assert both.status.released == []


@pytest.mark.apiserver
async def test_apply_creates_and_takes_back(client: KubeClient, unique: str) -> None:
    """Apply creates an absent object; a field its manager no longer names is removed, one of another manager is not."""
    labels = {"mine": "1", "also-mine": "2"}
    made = await client.apply(
        SpiderIPPool, unique, {"spec": {"subnet": "10.1.0.0/16"}, "metadata": {"labels": labels}}, manager="a"
    )
    await client.apply(SpiderIPPool, unique, {"metadata": {"labels": {"other": "3"}}}, manager="b")
    body = {"spec": {"subnet": "10.1.0.0/16"}, "metadata": {"labels": {"mine": "1"}}}
    now = await client.apply(SpiderIPPool, unique, body, manager="a", uid=made.metadata.uid)

    assert now.metadata.labels == {"mine": "1", "other": "3"}
    with pytest.raises(errors.Conflict):
        await client.apply(SpiderIPPool, unique, {"metadata": {"labels": {"mine": "9"}}}, manager="b", force=False)


@pytest.mark.apiserver
async def test_two_writers_lose_no_update(apiserver: "ApiServer", unique: str) -> None:
    """Writers that race on one object all get their change in, because a conflict makes them decide again."""
    async with apiserver.client("writer-a/1") as one, apiserver.client("writer-b/1") as two:
        await one.create(pool(unique, "10.1.0.0"))
        decisions = 0

        def adding(address: str) -> "Callable[[SpiderIPPool], SpiderIPPool]":
            def change(current: SpiderIPPool) -> SpiderIPPool:
                nonlocal decisions
                decisions += 1
                ips = [*(current.spec.ips or []), address]
                return msgspec.structs.replace(current, spec=msgspec.structs.replace(current.spec, ips=ips))

            return change

        writers = [
            update(client, SpiderIPPool, unique, adding(f"10.1.{number}.{i}"))
            for number, client in enumerate((one, two), start=1)
            for i in range(10)
        ]
        await asyncio.gather(*writers)
        final = await one.get(SpiderIPPool, unique)

    expected = {"10.1.0.0"} | {f"10.1.{number}.{i}" for number in (1, 2) for i in range(10)}
    assert expected == set(final.spec.ips or [])
    assert decisions > 20, "nobody ever conflicted: the race did not take place"


@pytest.mark.apiserver
async def test_update_can_decide_for_nothing_and_start_from_a_stale_copy(client: KubeClient, unique: str) -> None:
    """None writes nothing; a stale start costs one conflict and is then read again; status goes to the subresource."""
    stale = await client.create(pool(unique))
    newer = await client.merge_patch(SpiderIPPool, unique, {"metadata": {"labels": {"x": "y"}}})
    untouched = await update(client, SpiderIPPool, unique, lambda _: None)
    status = SpiderIPPoolStatus(total_ip_count=11, allocated_ip_count=0)
    seen: list[str | None] = []

    def change(current: SpiderIPPool) -> SpiderIPPool:
        seen.append(current.metadata.resource_version)
        return msgspec.structs.replace(current, status=status)

    written = await update(client, SpiderIPPool, unique, change, status=True, start=stale)

    assert newer == untouched
    assert seen == [stale.metadata.resource_version, newer.metadata.resource_version]
    assert status == written.status


@pytest.mark.apiserver
async def test_a_list_is_paged_and_selected(client: KubeClient, unique: str) -> None:
    """A list reads all pages as of one version, and selectors reach the server."""
    for number in range(7):
        await client.create(pool(f"{unique}-{number}", labels={"test": unique, "odd": str(number % 2)}))
    everything = await client.list(SpiderIPPool, labels=f"test={unique}", page=3)
    odd = await client.list(SpiderIPPool, labels=f"test={unique},odd=1", page=1)
    named = await client.list(SpiderIPPool, fields=f"metadata.name={unique}-4")

    assert [f"{unique}-{number}" for number in range(7)] == sorted(item.metadata.name for item in everything.items)
    assert [f"{unique}-{number}" for number in (1, 3, 5)] == sorted(item.metadata.name for item in odd.items)
    assert [f"{unique}-4"] == [item.metadata.name for item in named.items]
    assert everything.resource_version.isdecimal()


@pytest.mark.apiserver
async def test_pods_of_a_node_are_watched(client: KubeClient, unique: str) -> None:
    """A field selector on spec.nodeName shows pods being bound to that node, and only those."""
    await client.create(Namespace(metadata=ObjectMeta(name=unique)))
    await client.apply(Node, unique, {"metadata": {"labels": {"x": "y"}}}, manager="test")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await client._call("POST", f"/api/v1/namespaces/{unique}/serviceaccounts", msgspec.json.encode(account))
    listing = await client.list(Pod, fields=f"spec.nodeName={unique}")
    containers = [{"name": "c", "image": "i"}]
    async with aclosing(
        client.watch(Pod, resource_version=listing.resource_version, fields=f"spec.nodeName={unique}")
    ) as events:
        opened = await anext(events)
        for name, node in (("there", "elsewhere"), ("here", unique)):
            spec = {"nodeName": node, "containers": containers, "hostNetwork": node == unique}
            await client.apply(Pod, name, {"spec": spec}, manager="test", namespace=unique)
        async with asyncio.timeout(10):
            event = await anext(events)

    assert opened == Bookmark(resource_version=listing.resource_version)
    assert isinstance(event, ObjectEvent)
    assert ("ADDED", "here", unique) == (event.type, event.object.metadata.name, event.object.spec.node_name)
    assert event.object.spec.host_network is True


@pytest.mark.apiserver
async def test_a_watch_tells_what_happens_to_the_selected(client: KubeClient, unique: str) -> None:
    """Added, modified, no longer selected, deleted: each arrives once, in order, with the object's state."""
    start = await client.list(SpiderIPPool, labels=f"watch={unique}")
    await client.create(pool(f"{unique}-a", labels={"watch": unique}))
    await client.create(pool(f"{unique}-other"))
    await client.create(pool(f"{unique}-b", labels={"watch": unique}))
    await client.merge_patch(SpiderIPPool, f"{unique}-a", {"spec": {"gateway": "10.1.0.1"}})
    await client.merge_patch(SpiderIPPool, f"{unique}-a", {"metadata": {"labels": {"watch": None}}})
    await client.delete(SpiderIPPool, f"{unique}-b")
    seen: list[tuple[str, str]] = []
    versions: list[int] = []
    async with (
        asyncio.timeout(10),
        aclosing(
            client.watch(SpiderIPPool, resource_version=start.resource_version, labels=f"watch={unique}")
        ) as events,
    ):
        async for event in events:
            if isinstance(event, ObjectEvent):
                seen.append((event.type, event.object.metadata.name))
                versions.append(int(event.resource_version))
            if len(seen) == 5:
                break

    expected = [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a"), ("DELETED", "b")]
    assert [(kind, f"{unique}-{name}") for kind, name in expected] == seen
    assert versions == sorted(versions)


@pytest.mark.apiserver
async def test_a_watch_ends_when_the_server_has_had_enough(client: KubeClient) -> None:
    """A watch that reaches its server-side time limit ends without an error."""
    start = await client.list(Lease, namespace="default")
    watch = client.watch(Lease, namespace="default", resource_version=start.resource_version, timeout_seconds=1)
    async with asyncio.timeout(10), aclosing(watch) as events:
        kinds = {event.type async for event in events}

    assert {"BOOKMARK"} == kinds


@pytest.mark.apiserver
async def test_a_forgotten_version_is_gone(client: KubeClient) -> None:
    """Version 1 is older than what any API server remembers of pools."""

    async def watch() -> None:
        async with asyncio.timeout(10), aclosing(client.watch(SpiderIPPool, resource_version="1")) as events:
            async for _ in events:
                pass

    with pytest.raises(errors.Gone):
        await watch()


@pytest.mark.apiserver
async def test_a_stranger_is_forbidden(apiserver: "ApiServer", tmp_path: "Path") -> None:
    """A wrong token, and a user without permission, both raise Forbidden naming what was refused."""
    config = apiserver.kubeconfig.read_text()
    stranger = tmp_path / "kubeconfig"
    stranger.write_text(re.sub(r"(\"?token\"?: *\"?)[0-9a-f]+", r"\g<1>wrong", config))
    async with KubeClient.connect(stranger, user_agent="stranger/1") as client:
        with pytest.raises(errors.Forbidden) as refused:
            await client.get(Secret, "s", "kube-system")

    assert refused.value.status == 401


async def test_no_server_is_unavailable_and_certainly_not_done(tmp_path: "Path") -> None:
    """Where nobody listens, a write fails as Unavailable that has certainly not been carried out."""
    config = tmp_path / "kubeconfig"
    config.write_text(
        """{"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c"}}]}"""
    )
    async with KubeClient.connect(config, user_agent="t/1") as client:
        with pytest.raises(errors.Unavailable) as failed:
            await client.create(pool("x"))

    assert failed.value.maybe_done is False


async def test_a_rotated_token_is_read_again(tmp_path: "Path") -> None:
    """When the API server no longer accepts a service account's token, the file is read again and the call succeeds."""
    token = tmp_path / "token"
    token.write_text("old")

    async def script(request: Request, reply: Reply) -> None:
        accepted = request.headers["authorization"] == "Bearer new"
        content = {"metadata": {"name": "a"}} if accepted else {"kind": "Status", "code": 401}
        await reply.json(content, 200 if accepted else 401)

    async with WatchServer(script) as server:
        config = tmp_path / "kubeconfig"
        config.write_text(
            msgspec.json.encode(
                {
                    "current-context": "c",
                    "clusters": [{"name": "c", "cluster": {"server": server.url}}],
                    "users": [{"name": "u", "user": {"tokenFile": str(token)}}],
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                }
            ).decode()
        )
        async with KubeClient.connect(config, user_agent="rotating/1") as client:
            with pytest.raises(errors.Forbidden):
                await client.get(Namespace, "a")
            token.write_text("new")
            read = await client.get(Namespace, "a")

    assert read.metadata.name == "a"
    assert server.requests[0].headers["user-agent"] == "rotating/1"


async def test_many_calls_share_a_few_connections() -> None:
    """A hundred calls at once all end well; never more than sixteen are at the server, and a watch is none of them."""
    busy, most = 0, 0

    async def script(request: Request, reply: Reply) -> None:
        nonlocal busy, most
        if "watch" in request.params:
            await reply.begin()
            await asyncio.Event().wait()
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.01)
        busy -= 1
        await reply.json({"metadata": {"name": request.path.rpartition("/")[2]}})

    async with (
        WatchServer(script) as server,
        server.client() as client,
        asyncio.timeout(20),
        aclosing(client.watch(Namespace, resource_version="1")) as watched,
    ):
        await anext(watched)
        found = await asyncio.gather(*(client.get(Namespace, f"n{number}") for number in range(100)))

    assert [namespace.metadata.name for namespace in found] == [f"n{number}" for number in range(100)]
    assert 1 < most <= 16


@pytest.mark.apiserver
async def test_every_call_ends_in_time(apiserver: "ApiServer", tmp_path: "Path") -> None:
    """When the network swallows everything, a call ends within the client's bound, and a write may have happened."""
    async with proxied(apiserver.kubeconfig, tmp_path, timeout_seconds=0.3) as (proxy, client):
        proxy.freeze()
        async with asyncio.timeout(5):
            with pytest.raises(errors.Unavailable):
                await client.list(Node)
            proxy.thaw()
            await client.list(Node)
            proxy.freeze()
            with pytest.raises(errors.Unavailable) as failed:
                await client.create(pool("frozen"))
        proxy.thaw()

    assert failed.value.maybe_done


@pytest.mark.parametrize(
    "content",
    ["", "[", "just text", "{}", '{"clusters": [], "contexts": [], "current-context": "gone"}'],
    ids=["empty", "half", "text", "no keys", "no context"],
)
def test_an_unusable_kubeconfig_is_named(tmp_path: "Path", content: str) -> None:
    """Whatever is wrong with a kubeconfig, the error names the file."""
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=re.escape(str(path))):
        KubeClient.connect(path, user_agent="t/1")


def test_an_absent_kubeconfig_is_named(tmp_path: "Path") -> None:
    """A path where no file is, likewise."""
    with pytest.raises(InvalidInput, match="absent"):
        KubeClient.connect(tmp_path / "absent", user_agent="t/1")
