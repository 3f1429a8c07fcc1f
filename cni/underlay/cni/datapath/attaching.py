"""One attachment, carried out in a thread of ``namespaces``:

    1 in the pod   open two sockets, write the file settings
    2 host batch   links (they appear in the pod)
    3 pod batch    settings, addresses, links up, neighbours, routes, rules
    4 host batch   the host's end of the veth up, its neighbour, its route
    5 pod nft      one constant batch

A failure anywhere sends the inverse of what was done, and only of that, and is then explained.
"""

import errno
from collections.abc import Sequence
from functools import partial

from underlay.cni.datapath import attach, lookup, nft
from underlay.cni.datapath.attach import HostFacts, HostLink, Want
from underlay.cni.datapath.batches import Batches, arrange
from underlay.cni.datapath.calls import Attached, AttachedLink, NodeFacts
from underlay.cni.datapath.channel import Channel, Failure
from underlay.cni.datapath.errors import (
    AddressBusy,
    DatapathError,
    InterfaceExists,
    KernelRefused,
    KindConflict,
    MasterMissing,
)
from underlay.cni.datapath.model import Addr, Link, NftTable, Peer
from underlay.cni.datapath.namespaces import Namespaces, write_sysctl
from underlay.cni.datapath.numbers import Numbering
from underlay.cni.datapath.plan import Create, Plan, Remove, SetUp, Step, inverse
from underlay.cni.datapath.wire import doom, encode

_ATTEMPTS = 3
"""Link indexes are drawn anew when one is taken, which is met once in a node's life, if at all."""

Refusal = tuple[Step, Failure]


def attach_one(want: Want, node: NodeFacts, *, namespaces: Namespaces, host: Channel, numbering: Numbering) -> Attached:
    """Make what ``want`` says, or raise and leave nothing. This thread and ``host`` are in the host's namespace."""
    with namespaces.opened(want.netns) as descriptor:
        master = _master(host, want.master)
        facts = HostFacts(
            links={master.name: master},
            node_addresses=node.addresses,
            service_cidrs=node.service_cidrs,
            hijack_cidrs=node.hijack_cidrs,
        )
        attempt = 1
        while True:
            plan = attach.plan(want, facts, numbering.draw())
            batches = arrange(plan)
            route, netfilter = namespaces.inside(descriptor, partial(_open, batches), path=want.netns)
            try:
                refusal = _carry_out(plan, batches, host=host, route=route, netfilter=netfilter, pod=descriptor)
                if refusal is None:
                    return _report(plan, want, master)
                if attempt == _ATTEMPTS or not _number_taken(refusal, host=host, route=route):
                    raise _explained(refusal, want, host)
            finally:
                route.close()
                netfilter.close()
            attempt += 1


def _master(host: Channel, name: str) -> HostLink:
    found = lookup.link(host, name)
    if found is None:
        raise MasterMissing(name)
    return HostLink(index=found.index, name=name, mac=found.mac, mtu=found.mtu, up=found.up)


def _open(batches: Batches) -> tuple[Channel, Channel]:
    """In the pod: what new links take over at their creation is set before there are any."""
    for sysctl in batches.files:
        write_sysctl(sysctl)
    return Channel(), nft.open_channel()


def _carry_out(
    plan: Plan, batches: Batches, *, host: Channel, route: Channel, netfilter: Channel, pod: int
) -> Refusal | None:
    """Send the batches; after the first one with an error, undo all that was done."""
    host_indexes = {link.name: link.index for link in plan.host.links}
    pod_indexes = {link.name: link.index for link in plan.pod.links}
    done: list[Step] = []
    refusal = _send(batches.links, host, {}, done, pod=pod)
    if refusal is None:
        refusal = _send(batches.pod, route, pod_indexes, done)
    if refusal is None:
        refusal = _send(batches.host, host, host_indexes, done)
    if refusal is None and batches.tables:
        failures = nft.install_pod_table(netfilter)
        if not failures:
            return None
        refusal = (Create(batches.tables[0]), failures[0])
    if refusal is not None:
        _undo(done, route, pod_indexes)
    return refusal


def _send(
    steps: Sequence[Step], channel: Channel, indexes: dict[str, int], done: list[Step], *, pod: int = -1
) -> Refusal | None:
    """The kernel goes on after an error, so what was done is everything that it did not refuse."""
    failures = channel.apply(encode(steps, indexes=indexes, pod=pod))
    if not failures:
        done += steps
        return None
    refused = {failure.position for failure in failures}
    done += [step for position, step in enumerate(steps) if position not in refused]
    return steps[failures[0].position], failures[0]


def _undo(done: Sequence[Step], route: Channel, indexes: dict[str, int]) -> None:
    """All that is not in the pod rests on a veth whose other end is; so the pod's inverse is the whole."""
    links: list[int] = []
    others: list[Step] = []
    for step in inverse(done):
        match step:
            case Remove(Link() as link):
                links.append(link.index)
            case Remove(NftTable()):
                pass  # it is made last, so it is never among what was done
            case _:
                others.append(step)
    messages = encode(others, indexes=indexes)
    route.apply([*messages, *doom(links)] if links else messages)


def _number_taken(refusal: Refusal, *, host: Channel, route: Channel) -> bool:
    """Whether a link could not be made because its index is in use: the errors are those for a name in use."""
    match refusal:
        case Create(Link() as link), Failure(errno=errno.EEXIST | errno.EBUSY):
            peer_exists = link.peer is not None and lookup.link(host, link.peer.name) is not None
            return not peer_exists and lookup.link(route, link.name) is None
        case _:
            return False


def _explained(refusal: Refusal, want: Want, host: Channel) -> DatapathError:
    step, failure = refusal
    match step, failure.errno:
        case Create(Link(peer=Peer(name=name))), errno.EEXIST if lookup.link(host, name) is not None:
            return InterfaceExists(name, "the host")
        case Create(Link(name=name)), errno.EEXIST:
            return InterfaceExists(name, want.netns)
        case Create(Link(name=want.ifname)), errno.EBUSY:
            return KindConflict(want.master, want.kind)
        case Create(Link(name=want.ifname)), errno.ENODEV:
            return MasterMissing(want.master)
        case Create(Addr() as addr), errno.EADDRINUSE:
            return AddressBusy(str(addr.address.ip), 0)
        case _:
            return KernelRefused(failure.errno, _words(step), failure.reason)


def _words(step: Step) -> str:
    match step:
        case Create(item):
            return f"create {item}"
        case Remove(item):
            return f"remove {item}"
        case SetUp(link):
            return f"set {link.name} up"
        case _:
            return f"set {step.link.name} down"


def _report(plan: Plan, want: Want, master: HostLink) -> Attached:
    inside = [
        AttachedLink(name=link.name, mac=link.mac or master.mac, mtu=link.mtu or master.mtu, sandbox=want.netns)
        for link in plan.pod.links
    ]
    outside = [
        AttachedLink(name=link.name, mac=link.mac or master.mac, mtu=link.mtu or master.mtu, sandbox="")
        for link in plan.host.links
    ]
    return Attached(interfaces=(*inside, *outside))
