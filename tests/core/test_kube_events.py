"""Events: written to a real API server, aggregated, never in the way."""

from collections.abc import AsyncIterator
from itertools import count
from typing import TYPE_CHECKING

import pytest

from support.clock import VirtualClock
from support.proxy import proxied
from underlay.core.api.kubernetes import Event, Namespace, ObjectReference
from underlay.core.api.meta import ObjectMeta
from underlay.core.kube.client import KubeClient
from underlay.core.kube.events import Recorder, reference

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import ApiServer

_numbers = count()
pytestmark = pytest.mark.apiserver


@pytest.fixture
async def client(apiserver: "ApiServer") -> AsyncIterator[KubeClient]:
    async with apiserver.client("events/1") as client:
        yield client


@pytest.fixture
async def space(client: KubeClient) -> str:
    """A namespace of its own, by name."""
    made = await client.create(Namespace(metadata=ObjectMeta(name=f"events-{next(_numbers)}")))
    return made.metadata.name


def pod(space: str, name: str = "p") -> ObjectReference:
    return ObjectReference(api_version="v1", kind="Pod", name=name, namespace=space, uid="u1")


async def test_the_same_thing_said_again_is_counted(client: KubeClient, space: str) -> None:
    """Three times the same is one Event with count 3, whose times span them; another message is another Event."""
    clock = VirtualClock(now=1_234_567_890)
    recorder = Recorder(client, "underlay-agent", host="n1", clock=clock)
    recorder.event(pod(space), "Warning", "NoAddress", "no address left")
    recorder.event(pod(space), "Warning", "NoAddress", "no address left")
    recorder.event(pod(space), "Normal", "Attached", "eth0 is up")
    await recorder.flush()
    await clock.advance(30)
    recorder.event(pod(space), "Warning", "NoAddress", "no address left")
    await recorder.flush()
    events = {event.reason: event for event in (await client.list(Event, namespace=space)).items}

    assert set(events) == {"NoAddress", "Attached"}
    again = events["NoAddress"]
    assert (again.count, again.type, again.message) == (3, "Warning", "no address left")
    assert again.first_timestamp == "2009-02-13T23:31:30Z"
    assert again.last_timestamp == "2009-02-13T23:32:00Z"
    assert (again.source.component, again.source.host) == ("underlay-agent", "n1")
    assert again.involved_object.name == "p"
    assert events["Attached"].count == 1


async def test_events_about_cluster_scoped_objects_are_in_the_default_namespace(
    client: KubeClient, apiserver: "ApiServer"
) -> None:
    """An Event about a cluster-scoped object is shown by ``kubectl describe``, which looks in namespace default."""
    name = f"events-cluster-{next(_numbers)}"
    made = await client.create(Namespace(metadata=ObjectMeta(name=name)))
    recorder = Recorder(client, "underlay-operator")
    recorder.event(reference(made), "Normal", "Ready", "all is well")
    await recorder.flush()
    shown = apiserver.plane.kubectl("get", "events", "-n", "default", "-o", "jsonpath={.items[*].involvedObject.name}")

    assert name in shown.split()


async def test_an_expired_event_is_written_anew(client: KubeClient, space: str) -> None:
    """When the Event to be counted up is gone, a new one carries the count."""
    clock = VirtualClock()
    recorder = Recorder(client, "underlay-agent", clock=clock)
    recorder.event(pod(space), "Normal", "Seen", "m")
    await recorder.flush()
    (first,) = (await client.list(Event, namespace=space)).items
    await client.delete(Event, first.metadata.name, space)
    await clock.advance(20)
    recorder.event(pod(space), "Normal", "Seen", "m")
    await recorder.flush()
    (second,) = (await client.list(Event, namespace=space)).items

    assert first.metadata.name != second.metadata.name
    assert second.count == 2


async def test_an_outage_delays_events_and_a_refusal_drops_them(
    apiserver: "ApiServer", client: KubeClient, space: str, tmp_path: "Path"
) -> None:
    """While the API server cannot be reached nothing is raised, and it is said later; what is refused is dropped."""
    async with proxied(apiserver.kubeconfig, tmp_path) as (proxy, far):
        recorder = Recorder(far, "underlay-agent")
        recorder.event(pod("no-such-namespace"), "Normal", "Lost", "m")
        recorder.event(pod(space), "Normal", "Kept", "m")
        await proxy.cut()
        await recorder.flush()
        during = (await client.list(Event, namespace=space)).items
        await proxy.heal()
        await recorder.flush()
        after = (await client.list(Event, namespace=space)).items

    assert during == []
    assert [event.reason for event in after] == ["Kept"]


async def test_a_flood_is_bounded(client: KubeClient, space: str) -> None:
    """One round writes 25 Events at most, the rest come in later rounds."""
    recorder = Recorder(client, "underlay-agent")
    for number in range(40):
        recorder.event(pod(space, f"p{number}"), "Normal", "Many", "m")
    await recorder.flush()
    first = len((await client.list(Event, namespace=space)).items)
    await recorder.flush()
    second = len((await client.list(Event, namespace=space)).items)

    assert (first, second) == (25, 40)
