"""Fixed addresses, as this node's agent sees them: which pod waits for one, and what it is offered. Pure.

A pod that may have one (``core.ipam.ownership.may_be_fixed``) gets nothing before the operator has spoken in the
SpiderNodeNetwork: an address listed for this very incarnation of the pod, or the verdict that it gets an ordinary one.
A StatefulSet's pod or a virtual machine waits for that only where the provider has pools for such, or requires that
they have fixed addresses.

A listed address is given to that pod alone, once no sandbox here has it and no recall names it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from underlay.cni.state import State
from underlay.core.addresses import IPAddress, parse_address
from underlay.core.api.ippool import MAC_ANNOTATION, SpiderIPPool, SpiderIPPoolSpec
from underlay.core.api.meta import ObjectMeta
from underlay.core.api.nodenetwork import Floating, InterfaceStatus
from underlay.core.errors import InvalidInput
from underlay.core.identity import Attachment, Mac, PodRef

OF_FIXED = "of fixed addresses"
"""Where the operator names no pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordinary:
    """The pod is served from the node's own pools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """``address``, in the shape of a pool of the interface that has it."""

    address: IPAddress
    pool: SpiderIPPool


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """Not yet, for ``why``."""

    pool: str
    why: str


def offer(state: State, pod: PodRef, attachment: Attachment) -> Ordinary | Offer | Awaited:
    """What ``attachment`` of ``pod`` may have."""
    known = state.pods.get((pod.namespace, pod.name))
    network = state.node_network
    if known is None or known.ref != pod or not known.fixed or network is None:
        return Ordinary()
    verdict = next((item for item in network.spec.fixed if item.pod_uid == pod.uid), None)
    if verdict is not None and verdict.ordinary:
        return Ordinary()
    listed = next(((item, where) for item, where in listings(state) if item.pod_uid == pod.uid), None)
    if listed is not None:
        return _listed(state, *listed, attachment)
    if verdict is not None:
        return Awaited(pool=OF_FIXED, why=verdict.reason)
    if known.fixed == "owner" and not network.spec.fixed_address:
        return Ordinary()
    return Awaited(pool=OF_FIXED, why="the operator has not brought the pod's address to an interface of this node yet")


def listings(state: State) -> Iterator[tuple[Floating, InterfaceStatus]]:
    """Every fixed address of this node, for whomever."""
    if state.node_network is not None and state.node_network.status is not None:
        for interface in state.node_network.status.interfaces:
            for item in interface.floating:
                yield item, interface


def macs(state: State) -> frozenset[Mac]:
    """Interfaces that have fixed addresses."""
    return frozenset(Mac(interface.mac.lower()) for _, interface in listings(state))


def subnet_of(state: State, address: IPAddress) -> tuple[str, str]:
    """CIDR and gateway of a listed fixed address; empty texts when it is listed no more."""
    for item, interface in listings(state):
        if item.address == str(address):
            return interface.ipv4_cidr, interface.ipv4_gateway
    return "", ""


def _listed(state: State, item: Floating, interface: InterfaceStatus, attachment: Attachment) -> Offer | Awaited:
    name = item.pool or OF_FIXED
    try:
        address = parse_address(item.address, "status.interfaces.floating.address")
    except InvalidInput as error:
        return Awaited(pool=name, why=str(error))
    holder = state.ledger.held.get(address)
    if holder is not None and holder != attachment:
        return Awaited(pool=name, why=f"{address} is still in sandbox {holder}")
    if address in state.ledger.fenced:
        return Awaited(pool=name, why=f"{address} is being recalled from this node")
    pool = SpiderIPPool(
        metadata=ObjectMeta(name=name, uid=item.pool_uid, annotations={MAC_ANNOTATION: interface.mac}),
        spec=SpiderIPPoolSpec(
            subnet=interface.ipv4_cidr, ip_version=4, gateway=interface.ipv4_gateway, ips=[item.address]
        ),
    )
    return Offer(address=address, pool=pool)
