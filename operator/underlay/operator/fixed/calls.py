"""Cloud calls for fixed addresses: assigned by name, taken in one step from the interface that had them.

An address is reassigned only from an interface that a SpiderNodeNetwork lists it on as a fixed one; otherwise it is
asked for without that, so that nothing is taken from what is not ours. The call may be repeated, which is how an intent
of it is recovered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from secrets import token_hex

import structlog

from underlay.core.addresses import IPAddress
from underlay.core.api.conditions import rfc3339
from underlay.core.api.kubernetes import Pod
from underlay.core.api.nodenetwork import Intent, SpiderNodeNetwork
from underlay.core.cloud.errors import Busy, CloudError, Rejected, UnknownOutcome
from underlay.core.cloud.model import AddressRequest, Subnet, SubnetQuery
from underlay.core.cloud.planning import floating as ways
from underlay.core.cloud.settle import OwnWrite
from underlay.core.identity import InterfaceId, SubnetId
from underlay.core.ipam.blocks import Taken
from underlay.core.ipam.ownership import Proof
from underlay.core.kube.events import Recorder, reference
from underlay.core.kube.reflector import Reflector
from underlay.core.runtime.checkpoints import Checkpoint
from underlay.core.runtime.clock import Clock
from underlay.operator.cloudwrites import CloudWrites
from underlay.operator.fixed.blocks import Blocks
from underlay.operator.nodework import NodeWork
from underlay.operator.providers import Provider
from underlay.operator.steps import FixedStep, WarmStep

MOVED = "FixedAddressMoved"
_SUBNETS_FRESH_SECONDS = 60.0
_REFUSED_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """From ``node`` to ``pod``."""

    pod: Pod
    node: str
    proof: Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subnets:
    """Read ``at``."""

    at: float
    subnets: tuple[Subnet, ...]


class FixedCalls:
    """``networks`` is indexed by ``floating`` (addresses as text). ``gone``: told (node, interface, address) when the
    cloud took an address from another node's interface.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        blocks: Blocks,
        writes: CloudWrites,
        networks: Reflector[SpiderNodeNetwork],
        recorder: Recorder,
        gone: Callable[[str, InterfaceId, IPAddress], None],
        checkpoint: Checkpoint,
    ) -> None:
        self._clock = clock
        self._blocks = blocks
        self._writes = writes
        self._networks = networks
        self._recorder = recorder
        self._gone = gone
        self._step = checkpoint
        self._subnets: dict[tuple[str, str], _Subnets] = {}
        self._refused: dict[tuple[str, IPAddress], float] = {}
        self._moves: dict[IPAddress, _Move] = {}
        self._transit: dict[IPAddress, SubnetId] = {}
        self._log = structlog.get_logger()

    async def subnets(self, work: NodeWork) -> Sequence[Subnet]:
        """All of the node's network, of every zone."""
        key, now = (work.provider.name, work.known.instance.network), self._clock.monotonic()
        known = self._subnets.get(key)
        if known is None or now - known.at > _SUBNETS_FRESH_SECONDS:
            found = await work.driver.subnets(SubnetQuery(network=work.known.instance.network, tags={}))
            known = self._subnets[key] = _Subnets(at=now, subnets=tuple(found))
        return known.subnets

    def way(self, ground: ways.Ground, address: IPAddress, subnets: Sequence[Subnet]) -> ways.Way:
        """The next step that brings ``address`` to the node."""
        subnet = next((item for item in subnets if any(address in cidr for cidr in item.cidrs)), None)
        if subnet is None:
            return ways.Blocked(why=f"subnet: no subnet of network {ground.instance.network} has {address}")
        return ways.way(ground, address, subnet)

    def refused(self, provider: Provider, address: IPAddress) -> str:
        """The cloud has refused ``address`` lately, since something that is not ours has it."""
        until = self._refused.get((provider.name, address), float("-inf"))
        return "in use at the cloud by something else" if until > self._clock.monotonic() else ""

    def moving(self, address: IPAddress, pod: Pod, node: str, proof: Proof) -> None:
        """It was handed over to ``pod``; it is still on an interface of ``node``."""
        self._moves[address] = _Move(pod=pod, node=node, proof=proof)

    def may_come(self, work: NodeWork, address: IPAddress) -> bool:
        """A cloud that cannot move it in one step must have taken it from its former interface first."""
        if work.driver.capabilities.move_address:
            return True
        subnet = next(
            (s.id for known in self._subnets.values() for s in known.subnets if any(address in c for c in s.cidrs)),
            None,
        )
        if subnet is not None:
            self._transit[address] = subnet
        return self._elsewhere(work, address) is None

    def arrived(self, work: NodeWork, address: IPAddress) -> None:
        """It is on an interface of the node."""
        self._transit.pop(address, None)
        move = self._moves.pop(address, None)
        if move is not None:
            text = f"{address} moved from node {move.node} to node {work.name}: {move.proof}"
            self._recorder.event(reference(move.pod), "Normal", MOVED, text)
            self._log.info("fixed-address.moved", address=str(address), source=move.node, node=work.name)

    def in_transit(self) -> frozenset[SubnetId]:
        """Subnets in which nothing may be assigned by count: an address there is free for a moment and not for all."""
        return frozenset(self._transit.values())

    async def assign(self, work: NodeWork, address: IPAddress, interface: InterfaceId) -> None:
        """Intent, call, record."""
        intent = Intent(
            id=token_hex(8),
            operation="assign",
            started_at=rfc3339(self._clock.now()),
            interface=interface,
            addresses=[str(address)],
            reassign=self._elsewhere(work, address) is not None,
        )
        self._step(WarmStep.INTENDING)
        await self._writes.report(work, [*work.intents, intent])
        self._step(FixedStep.INTENDED)
        await self._send(work, intent, address)

    @staticmethod
    def is_ours(intent: Intent) -> bool:
        """An intent to assign by name."""
        return intent.operation == "assign" and bool(intent.addresses)

    async def recover(self, work: NodeWork, intent: Intent) -> None:
        """Repeats the call, unless the address has been given to another node since."""
        address = ip_address(intent.addresses[0])
        entry = self._blocks.entry(address)
        if entry is None or entry.node != work.name or entry.cooling_since is not None:
            work.memory.read_at = float("-inf")
            await self._writes.report(work, work.intents_without(intent))
            return
        await self._send(work, intent, address)

    async def _send(self, work: NodeWork, intent: Intent, address: IPAddress) -> None:
        interface, rest = InterfaceId(intent.interface), work.intents_without(intent)
        donor = self._elsewhere(work, address)
        try:
            wanted = AddressRequest(addresses=frozenset({address}), reassign=intent.reassign)
            await work.driver.assign(interface, wanted)
        except UnknownOutcome:
            raise
        except CloudError as error:
            await self._writes.report(work, rest)
            if isinstance(error, Busy | Rejected) and await self._given_up(work, address):
                return
            raise
        self._step(FixedStep.CALLED)
        if donor is not None:
            self._gone(*donor, address)
        write = OwnWrite(at=self._clock.monotonic(), interface=interface, added=frozenset({address}))
        await self._writes.took_place(work, write, rest)

    async def _given_up(self, work: NodeWork, address: IPAddress) -> bool:
        """The cloud will not give an address that was claimed and never in use: another one is chosen."""
        entry = self._blocks.entry(address)
        if entry is None or entry.interface or self._elsewhere(work, address) is not None:
            return False
        self._refused[work.provider.name, address] = self._clock.monotonic() + _REFUSED_SECONDS
        self._log.warning("fixed-address.refused", address=str(address), node=work.name)
        try:
            await self._blocks.forget(address, before=entry)
        except Taken:
            return False
        return True

    def _elsewhere(self, work: NodeWork, address: IPAddress) -> tuple[str, InterfaceId] | None:
        """Node and interface that have it as a fixed one, as far as is recorded."""
        for network in self._networks.store.by("floating", str(address)):
            if network.metadata.name == work.name or network.status is None:
                continue
            for interface in network.status.interfaces:
                if any(item.address == str(address) and not item.arriving for item in interface.floating):
                    return network.metadata.name, InterfaceId(interface.id)
        return None
