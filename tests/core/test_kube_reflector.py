"""The reflector: against a real API server, through a network that breaks, and against scripted answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from support.clock import VirtualClock
from support.proxy import proxied
from support.watchserver import Reply, Request, Script, WatchServer
from underlay.core.api.ippool import SpiderIPPool, SpiderIPPoolSpec
from underlay.core.api.kubernetes import Namespace
from underlay.core.api.meta import ObjectMeta
from underlay.core.kube.errors import Unavailable
from underlay.core.kube.reflector import Added, Change, Modified, Reflector, Removed

if TYPE_CHECKING:
    from conftest import ApiServer

_numbers = count()
Names = list[tuple[str, str]]


@pytest.fixture
def unique() -> str:
    """A name no other test uses."""
    return f"reflector-{next(_numbers)}"


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """``work`` runs for as long as the body; its own failure fails the body."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Told:
    """What a reflector told, and a way to wait for it."""

    def __init__(self) -> None:
        self.changes: list[Change[Any]] = []
        self._more = asyncio.Event()

    def __call__(self, change: Change[Any]) -> None:
        self.changes.append(change)
        self._more.set()

    @property
    def names(self) -> Names:
        return [(type(change).__name__, change.object.metadata.name) for change in self.changes]

    async def until(self, holds: Callable[[Names], bool]) -> Names:
        async with asyncio.timeout(30):
            while not holds(self.names):
                self._more.clear()
                await self._more.wait()
        return self.names


def pool(name: str, label: str) -> SpiderIPPool:
    spec = SpiderIPPoolSpec(subnet="10.1.0.0/16", ips=["10.1.0.10"])
    return SpiderIPPool(metadata=ObjectMeta(name=name, labels={"test": label}), spec=spec)


@pytest.mark.apiserver
async def test_the_store_follows_the_server(apiserver: "ApiServer", unique: str) -> None:
    """What was there, what comes, changes, falls out of the selection and goes is told once and is in the store."""
    async with apiserver.client("reflector/1") as client:
        await client.create(pool(f"{unique}-a", unique))
        reflector = Reflector(client, SpiderIPPool, labels=f"test={unique}")
        told = Told()
        reflector.subscribe(told)
        async with running(reflector.run()), asyncio.timeout(30):
            await reflector.synced.wait()
            at_sync = {obj.metadata.name for obj in reflector.store.items()}
            await client.create(pool(f"{unique}-b", unique))
            await client.merge_patch(SpiderIPPool, f"{unique}-a", {"spec": {"gateway": "10.1.0.1"}})
            await client.merge_patch(SpiderIPPool, f"{unique}-a", {"metadata": {"labels": {"test": "other"}}})
            await client.delete(SpiderIPPool, f"{unique}-b")
            names = await told.until(lambda names: len(names) == 5)

    expected = [("Added", "a"), ("Added", "b"), ("Modified", "a"), ("Removed", "a"), ("Removed", "b")]
    assert at_sync == {f"{unique}-a"}
    assert [(kind, f"{unique}-{name}") for kind, name in expected] == names
    assert len(reflector.store) == 0
    modified = told.changes[2]
    assert isinstance(modified, Modified)
    assert modified.old.spec.gateway is None
    assert modified.object.spec.gateway == "10.1.0.1"


@pytest.mark.apiserver
async def test_only_what_is_kept_is_stored_and_told(apiserver: "ApiServer", unique: str) -> None:
    """Of what is listed, of what comes later, and of what goes, subscribers and the store have what ``keep`` makes."""

    def keep(whole: SpiderIPPool) -> SpiderIPPool:
        return structs.replace(whole, metadata=structs.replace(whole.metadata, labels={}))

    async with apiserver.client("reflector/1") as client:
        await client.create(pool(f"{unique}-a", unique))
        reflector = Reflector(client, SpiderIPPool, labels=f"test={unique}", keep=keep)
        told = Told()
        reflector.subscribe(told)
        async with running(reflector.run()), asyncio.timeout(30):
            await reflector.synced.wait()
            await client.create(pool(f"{unique}-b", unique))
            await client.delete(SpiderIPPool, f"{unique}-a")
            names = await told.until(lambda names: len(names) == 3)
        left = [obj.metadata for obj in reflector.store.items()]

    assert [("Added", f"{unique}-a"), ("Added", f"{unique}-b"), ("Removed", f"{unique}-a")] == names
    assert [change.object.metadata.labels for change in told.changes] == [{}, {}, {}]
    assert [(meta.name, meta.labels) for meta in left] == [(f"{unique}-b", {})]


@pytest.mark.apiserver
async def test_a_late_subscriber_is_told_what_is_there(apiserver: "ApiServer", unique: str) -> None:
    """Subscribing after the list tells the store's content as Added; unsubscribing ends the telling."""
    async with apiserver.client("reflector/1") as client:
        await client.create(pool(f"{unique}-a", unique))
        reflector = Reflector(client, SpiderIPPool, labels=f"test={unique}")
        early, late = Told(), Told()
        leave = reflector.subscribe(early)
        async with running(reflector.run()), asyncio.timeout(30):
            await reflector.synced.wait()
            reflector.subscribe(late)
            leave()
            await client.create(pool(f"{unique}-b", unique))
            await late.until(lambda names: len(names) == 2)

    assert [("Added", f"{unique}-a"), ("Added", f"{unique}-b")] == late.names
    assert [("Added", f"{unique}-a")] == early.names


@pytest.mark.apiserver
async def test_a_dropped_connection_loses_nothing(apiserver: "ApiServer", unique: str, tmp_path: Path) -> None:
    """After its connection was reset, a watch goes on from the last version heard: no list, no change twice or lost."""
    async with apiserver.client("writer/1") as writer, proxied(apiserver.kubeconfig, tmp_path) as (proxy, client):
        reflector = Reflector(client, SpiderIPPool, labels=f"test={unique}", uniform=lambda low, _high: low)
        told = Told()
        reflector.subscribe(told)
        async with running(reflector.run()), asyncio.timeout(30):
            await reflector.synced.wait()
            await writer.create(pool(f"{unique}-a", unique))
            await told.until(lambda names: len(names) == 1)
            proxy.drop()
            await writer.create(pool(f"{unique}-b", unique))
            await writer.delete(SpiderIPPool, f"{unique}-a")
            names = await told.until(lambda names: len(names) == 3)

    assert [("Added", f"{unique}-a"), ("Added", f"{unique}-b"), ("Removed", f"{unique}-a")] == names
    assert reflector.lists == 1


@pytest.mark.apiserver
async def test_the_store_outlives_the_api_server(apiserver: "ApiServer", unique: str) -> None:
    """While the API server is down the store keeps what it had; afterwards only what really changed is told."""
    async with apiserver.client("reflector/1") as client:
        await client.create(pool(f"{unique}-kept", unique))
        await client.create(pool(f"{unique}-gone", unique))
        clock = VirtualClock()
        reflector = Reflector(client, SpiderIPPool, labels=f"test={unique}", clock=clock)
        told = Told()
        reflector.subscribe(told)
        async with running(reflector.run()), asyncio.timeout(60):
            await told.until(lambda names: len(names) == 2)
            apiserver.plane.stop_apiserver()
            await clock.asleep()
            await clock.advance(30)
            await clock.asleep()
            during = {obj.metadata.name for obj in reflector.store.items()}
            apiserver.plane.start_apiserver()
            async with apiserver.client("writer/1") as writer:
                await writer.delete(SpiderIPPool, f"{unique}-gone")
                await writer.create(pool(f"{unique}-new", unique))
            while len(told.names) < 4:
                await clock.asleep()
                await clock.advance(30)
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await told.until(lambda names: len(names) == 4)

    assert during == {f"{unique}-kept", f"{unique}-gone"}
    assert {("Removed", f"{unique}-gone"), ("Added", f"{unique}-new")} == set(told.names[2:])
    assert {f"{unique}-kept", f"{unique}-new"} == {obj.metadata.name for obj in reflector.store.items()}


# What a real API server cannot be made to do on demand: scripted answers.


def namespace(name: str, version: int, uid: str = "") -> dict[str, object]:
    return {"kind": "Namespace", "metadata": {"name": name, "resourceVersion": str(version), "uid": uid or name}}


def listing(version: int, *items: object) -> dict[str, object]:
    return {"kind": "NamespaceList", "metadata": {"resourceVersion": str(version)}, "items": list(items)}


GONE = {"kind": "Status", "status": "Failure", "reason": "Expired", "message": "too old", "code": 410}


@asynccontextmanager
async def reflecting(
    *steps: Script, clock: VirtualClock | None = None
) -> AsyncIterator[tuple[Reflector[Namespace], Told, WatchServer]]:
    """A running reflector of Namespaces whose requests are answered by ``steps`` in turn; later ones wait for ever."""
    turn = iter(steps)

    async def script(request: Request, reply: Reply) -> None:
        step = next(turn, None)
        if step is None:
            await reply.begin()
            await asyncio.Event().wait()
        else:
            await step(request, reply)

    async with WatchServer(script) as server, server.client() as client:
        reflector = Reflector(client, Namespace, clock=clock, uniform=lambda _low, high: high)
        told = Told()
        reflector.subscribe(told)
        async with running(reflector.run()), asyncio.timeout(20):
            yield reflector, told, server


def lists(version: int, *items: object) -> Script:
    async def step(request: Request, reply: Reply) -> None:
        assert "watch" not in request.params
        await reply.json(listing(version, *items))

    return step


def tells(*events: tuple[str, object]) -> Script:
    async def step(request: Request, reply: Reply) -> None:
        assert request.params["watch"] == "1"
        await reply.begin()
        for kind, obj in events:
            await reply.event(kind, obj)

    return step


def refuses(status: int, body: object, **headers: str) -> Script:
    async def step(_request: Request, reply: Reply) -> None:
        await reply.json(body, status, **headers)

    return step


async def test_gone_leads_to_a_list_that_tells_only_differences() -> None:
    """After a 410 all is listed again; vanished objects are Removed, changed ones Modified, re-created ones both."""
    async with reflecting(
        lists(10, namespace("same", 1), namespace("changed", 2), namespace("vanished", 3), namespace("again", 4)),
        tells(("ERROR", GONE)),
        lists(
            20, namespace("same", 1), namespace("changed", 15), namespace("again", 16, "other"), namespace("new", 17)
        ),
    ) as (reflector, told, server):
        names = await told.until(lambda names: len(names) == 9)

    assert names[4:] == [
        ("Removed", "vanished"),
        ("Modified", "changed"),
        ("Removed", "again"),
        ("Added", "again"),
        ("Added", "new"),
    ]
    assert reflector.lists == 2
    assert "resourceVersion" not in server.requests[2].params, "a list must be a consistent read"


async def test_gone_as_an_answer_leads_to_a_list() -> None:
    """A watch that is refused with HTTP status 410 is treated like one that ends with it."""
    async with reflecting(lists(10, namespace("a", 1)), refuses(410, GONE), lists(20)) as (_, told, _server):
        assert await told.until(lambda names: len(names) == 2) == [("Added", "a"), ("Removed", "a")]


async def test_bookmarks_move_the_version() -> None:
    """The next watch starts from the last bookmark, so that a quiet kind does not age into a 410."""
    bookmark = {"kind": "Namespace", "metadata": {"resourceVersion": "77", "creationTimestamp": None}}
    reached = asyncio.Event()

    async def next_watch(_request: Request, reply: Reply) -> None:
        reached.set()
        await reply.begin()
        await asyncio.Event().wait()

    async with reflecting(lists(10), tells(("BOOKMARK", bookmark)), next_watch) as (reflector, told, server):
        await reached.wait()

    first, second = (request.params for request in server.requests[1:3])
    assert (first["resourceVersion"], second["resourceVersion"]) == ("10", "77")
    assert first["allowWatchBookmarks"] == "true"
    assert 240 <= int(first["timeoutSeconds"]) <= 360
    assert told.names == []
    assert reflector.lists == 1


async def test_the_same_version_is_told_once() -> None:
    """An event whose resource version the store already has is no change."""
    async with reflecting(
        lists(10, namespace("a", 5)),
        tells(("ADDED", namespace("a", 5)), ("MODIFIED", namespace("a", 5)), ("MODIFIED", namespace("a", 11))),
    ) as (_, told, _server):
        assert await told.until(lambda names: names[-1:] == [("Modified", "a")]) == [("Added", "a"), ("Modified", "a")]


async def test_an_object_deleted_before_it_was_known_is_not_told() -> None:
    """Deleting what the store does not have changes nothing."""
    async with reflecting(
        lists(10), tells(("DELETED", namespace("never-seen", 11)), ("ADDED", namespace("b", 12)))
    ) as (_, told, _server):
        assert await told.until(bool) == [("Added", "b")]


async def test_failures_are_spread_ever_wider_and_news_ends_that() -> None:
    """Without news the waits double up to 30 s; the server's own Retry-After is honoured; an event starts over."""
    clock = VirtualClock()
    down = {"kind": "Status", "message": "down", "code": 503}
    async with reflecting(
        *(refuses(503, down) for _ in range(7)),
        refuses(429, down, Retry_After="100"),
        lists(10),
        tells(("ADDED", namespace("a", 11))),
        refuses(500, down),
        clock=clock,
    ) as (reflector, told, _server):
        waits = []
        for _ in range(8):
            await clock.asleep()
            waits += clock.sleeping
            assert reflector.last_contact is None
            await clock.advance(waits[-1])
        await told.until(bool)
        await clock.asleep()
        waits += clock.sleeping
        contact = reflector.last_contact

    assert pytest.approx(waits) == [1, 2, 4, 8, 16, 30, 30, 100, 1]
    assert contact == pytest.approx(sum(waits[:8]))


async def test_a_server_that_closes_at_once_is_not_hammered() -> None:
    """A watch that is accepted and ended at once, again and again, is asked for at growing intervals."""
    clock = VirtualClock()
    async with reflecting(lists(10), tells(), tells(), tells(), clock=clock):
        waits = []
        for _ in range(3):
            await clock.asleep()
            waits += clock.sleeping
            await clock.advance(waits[-1])

    assert pytest.approx(waits) == [1, 2, 4]


async def test_half_a_line_is_a_broken_watch_not_an_event() -> None:
    """A connection that breaks within a line tells nothing of it and goes on from the last whole event."""
    clock = VirtualClock()

    async def breaks(_request: Request, reply: Reply) -> None:
        await reply.begin()
        await reply.event("ADDED", namespace("whole", 11))
        await reply.raw(b'{"type":"ADDED","object":{"metadata":{"name":"ha')

    async with reflecting(lists(10), breaks, tells(("ADDED", namespace("half", 12))), clock=clock) as (_, told, server):
        names = await told.until(lambda names: len(names) == 2)

    assert names == [("Added", "whole"), ("Added", "half")]
    assert server.requests[2].params["resourceVersion"] == "11"


async def test_one_unreadable_object_hides_no_other() -> None:
    """An object without the kind's shape is left as it was known; all others are read."""
    broken = {"kind": "Namespace", "metadata": {"name": "b", "resourceVersion": "12", "labels": "not a map"}}
    clock = VirtualClock()
    async with reflecting(
        lists(10, namespace("a", 1), namespace("b", 2)),
        tells(("MODIFIED", broken)),
        lists(20, namespace("a", 13), broken),
        clock=clock,
    ) as (reflector, told, _server):
        await told.until(lambda names: len(names) == 2)
        await clock.asleep()
        await clock.advance(30)
        names = await told.until(lambda names: len(names) == 3)
        known = reflector.store.get(None, "b")

    assert names[2:] == [("Modified", "a")]
    assert known is not None
    assert known.metadata.resource_version == "2"


async def test_a_version_forgotten_between_pages_is_read_in_one_piece() -> None:
    """When a continue token expires, the list starts over without pages rather than mixing two versions."""
    first = listing(10, namespace("a", 1))
    first["metadata"] = {"resourceVersion": "10", "continue": "token"}
    async with reflecting(refuses(200, first), refuses(410, GONE), lists(12, namespace("b", 11))) as (_, told, server):
        names = await told.until(bool)

    assert names == [("Added", "b")]
    assert [r.params for r in server.requests[:3]] == [{"limit": "500"}, {"limit": "500", "continue": "token"}, {}]


async def test_a_dead_connection_is_noticed() -> None:
    """A watch that stays open but silent for longer than the server may be silent is given up."""

    async def silent(_request: Request, reply: Reply) -> None:
        await reply.begin()
        await asyncio.Event().wait()

    async with WatchServer(silent) as server, server.client() as client:
        watch = client.watch(Namespace, resource_version="1", timeout_seconds=0, silence_seconds=0.5)
        first = await anext(watch)
        with pytest.raises(Unavailable):
            await anext(watch)

    assert first.type == "BOOKMARK"


async def test_a_failing_subscriber_ends_the_reflector() -> None:
    """A subscriber's exception is a bug of its own and must not be swallowed."""

    def tell(_change: Change[Namespace]) -> None:
        raise ZeroDivisionError

    async def script(_request: Request, reply: Reply) -> None:
        await reply.json(listing(10, namespace("a", 1)))

    async with WatchServer(script) as server, server.client() as client:
        reflector = Reflector(client, Namespace)
        reflector.subscribe(tell)
        with pytest.raises(ZeroDivisionError):
            await reflector.run()


def test_changes_carry_both_states() -> None:
    """Each change has ``object`` and ``old``; only Added has no old state."""
    one = Namespace(metadata=ObjectMeta(name="a"))

    assert [None, one, one] == [
        c.old for c in (Added(object=one), Modified(object=one, old=one), Removed(object=one, old=one))
    ]
