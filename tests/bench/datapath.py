"""Attach and detach in a loop, without agent, launcher and journal: what kernel and datapath take by themselves.

Two ways of sending the same messages take turns pod by pod: one batch per namespace, as the datapath does it, and one
message per send, each with its acknowledgement, as netlink libraries do it.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from statistics import median, quantiles

from bench.figures import Figures
from bench.sandboxes import Sandboxes
from support.netns_node import GATEWAY, MASTER, NODE_ADDRESS, NodeWorld
from underlay.cni.datapath import attach, nft
from underlay.cni.datapath.attach import HostFacts, HostLink, Want
from underlay.cni.datapath.batches import Batches, arrange
from underlay.cni.datapath.calls import Detach, NodeFacts
from underlay.cni.datapath.channel import Channel, Failure, Message
from underlay.cni.datapath.namespaces import Namespaces, write_sysctl
from underlay.cni.datapath.numbers import Numbering
from underlay.cni.datapath.shell import Datapath
from underlay.cni.datapath.wire import encode
from world.names import Names
from world.record import remove

KERNEL_ONLY = (
    "attach_*: macvlan and veth pair with all that belongs to them, sent from one thread; "
    "datapath_*: through class Datapath, with threads and event loop."
)
_NODE = NodeFacts(addresses=(ip_address(NODE_ADDRESS),), service_cidrs=(ip_network("10.96.0.0/16"),))
_NAMES = Names(world="benchpath")
_AT_A_TIME = 50
_WARM_UP = 4

Send = Callable[[Channel, Sequence[Message]], list[Failure]]


async def loop(count: int) -> Figures:
    """``count`` attachments each way, in groups whose namespaces are removed together."""
    try:
        with NodeWorld.built() as world:
            return await _measure(world, count)
    finally:
        await remove(_NAMES)


async def _measure(world: NodeWorld, count: int) -> Figures:
    host = world.path(world.host)
    sandboxes = Sandboxes(_NAMES)
    datapath = Datapath(host, node=_NODE)
    namespaces = Namespaces(host)
    samples: dict[str, list[float]] = {
        name: [] for name in ("attach_batched", "attach_one_by_one", "datapath_attach", "datapath_detach")
    }
    messages: set[int] = set()
    try:
        await datapath.start()
        await datapath.prepare_master(MASTER)
        links = {link.name: link for link in (await datapath.links()).values()}
        sender = await namespaces.run(lambda: _Sender(namespaces, links))
        for start in range(0, count, _AT_A_TIME):
            size = min(_AT_A_TIME, count - start) + (0 if start else _WARM_UP)
            skip = 0 if start else _WARM_UP
            for way, send in (("attach_batched", _together), ("attach_one_by_one", _apart)):
                paths = await sandboxes.make(size)
                for number, path in enumerate(paths):
                    took, sent = await namespaces.run(partial(sender.attach, _want(number, path), send))
                    messages.add(sent)
                    if number >= skip:
                        samples[way].append(took)
                await sandboxes.remove(paths)
            await _through_datapath(datapath, sandboxes, size, skip, samples)
        await namespaces.run(sender.close)
    finally:
        await datapath.close()
        namespaces.close()
    found: Figures = {"netlink_messages_per_attach": max(messages)}
    for name, seconds in samples.items():
        found[f"{name}_median_ms"] = median(seconds) * 1000
        found[f"{name}_p90_ms"] = quantiles(seconds, n=10, method="inclusive")[8] * 1000
    found["attach_batched_ratio"] = found["attach_one_by_one_median_ms"] / found["attach_batched_median_ms"]
    return found


async def _through_datapath(
    datapath: Datapath, sandboxes: Sandboxes, size: int, skip: int, samples: dict[str, list[float]]
) -> None:
    paths = await sandboxes.make(size)
    wants = [_want(number, path) for number, path in enumerate(paths)]
    for number, want in enumerate(wants):
        began = time.perf_counter()
        await datapath.attach(want)
        if number >= skip:
            samples["datapath_attach"].append(time.perf_counter() - began)
    for number, want in enumerate(wants):
        gone = Detach(
            container_id=want.container_id,
            ifname=want.ifname,
            netns=want.netns,
            addresses=tuple(address.ip for address in want.addresses),
        )
        began = time.perf_counter()
        await datapath.detach(gone)
        if number >= skip:
            samples["datapath_detach"].append(time.perf_counter() - began)
    await sandboxes.remove(paths)


class _Sender:
    """The steps of ``datapath.attaching`` for what cannot fail here. Lives in a thread of ``namespaces``."""

    def __init__(self, namespaces: Namespaces, links: dict[str, HostLink]) -> None:
        self._namespaces = namespaces
        self._host = Channel()
        self._numbering = Numbering()
        self._facts = HostFacts(links=links, node_addresses=_NODE.addresses, service_cidrs=_NODE.service_cidrs)

    def close(self) -> None:
        self._host.close()

    def attach(self, want: Want, send: Send) -> tuple[float, int]:
        """Seconds, and how many messages that were. Raises ``ConnectionError`` if the kernel refuses one."""
        began = time.perf_counter()
        with self._namespaces.opened(want.netns) as pod:
            plan = attach.plan(want, self._facts, self._numbering.draw())
            batches = arrange(plan)
            route, netfilter = self._namespaces.inside(pod, partial(_open, batches), path=want.netns)
            try:
                parts = (
                    (self._host, encode(batches.links, indexes={}, pod=pod)),
                    (route, encode(batches.pod, indexes={link.name: link.index for link in plan.pod.links})),
                    (self._host, encode(batches.host, indexes={link.name: link.index for link in plan.host.links})),
                )
                for channel, messages in parts:
                    if failures := send(channel, messages):
                        raise ConnectionError(f"the kernel refused {failures[0]}")
                if failures := nft.install_pod_table(netfilter):
                    raise ConnectionError(f"the kernel refused {failures[0]}")
            finally:
                route.close()
                netfilter.close()
        return time.perf_counter() - began, sum(len(messages) for _, messages in parts)


def _open(batches: Batches) -> tuple[Channel, Channel]:
    for sysctl in batches.files:
        write_sysctl(sysctl)
    return Channel(), nft.open_channel()


def _together(channel: Channel, messages: Sequence[Message]) -> list[Failure]:
    return channel.apply(messages)


def _apart(channel: Channel, messages: Sequence[Message]) -> list[Failure]:
    return [failure for message in messages for failure in channel.apply([message])]


def _want(number: int, netns: Path) -> Want:
    return Want(
        container_id=f"{number:03d}bench{netns.name}",
        ifname="eth0",
        netns=str(netns),
        kind="macvlan",
        master=MASTER,
        addresses=(ip_interface(f"10.0.1.{10 + number}/24"),),
        gateways=(ip_address(GATEWAY),),
    )
