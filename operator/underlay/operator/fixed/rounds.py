"""The shell round ``reconcile.floating`` and ``core.cloud.floating``: fixed addresses of one node.

``look`` decides about the node's pods, claims by compare-and-swap, says in the SpiderNodeNetwork who waits for what and
which addresses its agent shall give up, and finds the next step at the cloud; ``step`` takes it. Both look at what is:
whatever a crash interrupts is found again from blocks, SpiderNodeNetworks and the cloud.

    claim in the block ─▶ (place made, interface attached) ─▶ assigned here ─▶ listed for the pod ─▶ the agent's ADD
    of another node:  recall there ─▶ confirmed, or proof ─▶ handed over in the block ─▶ reassigned here
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import structlog

from underlay.core.addresses import IPAddress
from underlay.core.api.conditions import rfc3339
from underlay.core.api.ipblock import BlockEntry
from underlay.core.api.ippool import parse_allocations
from underlay.core.api.kubernetes import Pod
from underlay.core.api.nodenetwork import FixedVerdict
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import Limits
from underlay.core.cloud.planning import floating as ways
from underlay.core.identity import InterfaceId
from underlay.core.ipam import blocks as claims
from underlay.core.ipam.blocks import Claimant, Taken
from underlay.core.ipam.ownership import Standing, may_be_fixed
from underlay.core.kube.events import Recorder, reference
from underlay.core.runtime.checkpoints import Checkpoint
from underlay.core.runtime.clock import Clock
from underlay.operator.cloudwrites import CloudWrites
from underlay.operator.fixed.blocks import Blocks
from underlay.operator.fixed.calls import FixedCalls
from underlay.operator.fixed.orders import FixedOrders
from underlay.operator.fixed.pools import FixedPools
from underlay.operator.fixed.standing import Standings, away
from underlay.operator.fixed.steps import as_action, release
from underlay.operator.fixed.strays import Strays
from underlay.operator.nodepools import NodePools
from underlay.operator.nodework import BringHere, Fixed, NodeWork, SendAway
from underlay.operator.reconcile import fences
from underlay.operator.reconcile import floating as decisions
from underlay.operator.reconcile.demand import need
from underlay.operator.reconcile.floating import (
    Arrive,
    Claim,
    FloatingPool,
    HandOver,
    Keep,
    Outcome,
    Place,
    Refuse,
    Situation,
    Wait,
    Wish,
)
from underlay.operator.records import Records
from underlay.operator.steps import FixedStep

ASSIGNED = "FixedAddressAssigned"
REFUSED = "FixedAddressRefused"
WAITING = "FixedAddressWaiting"
_PATIENCE_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 2.0
_SAID_AT_MOST = 4000


@dataclass(slots=True, kw_only=True)
class _Look:
    """One look at a node, as it comes to its result."""

    ground: ways.Ground
    coming: dict[IPAddress, InterfaceId]
    going: set[Item]
    arriving: dict[IPAddress, tuple[InterfaceId, str]]
    served: set[str]
    verdicts: dict[str, FixedVerdict]
    step: BringHere | SendAway | None = None
    again: bool = False


class Floats:
    """``owners_gone``: owners that are gone for good, whose addresses are to be given up."""

    def __init__(
        self,
        *,
        clock: Clock,
        cluster: str,
        blocks: Blocks,
        pools: FixedPools,
        standings: Standings,
        records: Records,
        writes: CloudWrites,
        node_pools: NodePools,
        calls: FixedCalls,
        recorder: Recorder,
        strays: Strays,
        pods_of: Callable[[str], list[Pod]],
        labels_of: Callable[[str], Mapping[str, str]],
        owners_gone: Callable[[], set[str]],
        checkpoint: Checkpoint,
    ) -> None:
        self._clock = clock
        self._cluster = cluster
        self._blocks = blocks
        self._pools = pools
        self._standings = standings
        self._writes = writes
        self._node_pools = node_pools
        self._calls = calls
        self._recorder = recorder
        self._strays = strays
        self._pods_of = pods_of
        self._labels_of = labels_of
        self._orders = FixedOrders(
            records=records, blocks=blocks, standings=standings, owners_gone=owners_gone, checkpoint=checkpoint
        )
        self._step = checkpoint
        self._unsettled: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._log = structlog.get_logger()

    async def look(self, work: NodeWork, limits: Limits) -> None:
        """Leaves its result in the node's memory."""
        name, spec = work.name, work.memory.network.spec
        recorded, pods = self._blocks.on(name), [pod for pod in self._pods_of(name) if may_be_fixed(pod.metadata)]
        default = any(pool.spec.default for pool in self._pools.all() if pool.provider == work.provider.name)
        at = self._place(work)
        if not (default or at.required or recorded or pods or spec.fixed or spec.recall or spec.fixed_address):
            work.memory.fixed = Fixed()
            return
        look = _Look(ground=self._ground(work, limits), coming={}, going=set(), arriving={}, served=set(), verdicts={})
        ordinary = {verdict.pod_uid: verdict for verdict in spec.fixed if verdict.ordinary}
        holding = self._holding_ordinary(name)
        for pod in sorted(pods, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.name)):
            uid = pod.metadata.uid or ""
            wanted = decisions.wish(pod, self._pools.all(), at)
            if wanted is None or uid in holding:
                continue
            if uid in ordinary:
                look.verdicts[uid] = ordinary[uid]
            elif wanted.ordinary:
                look.verdicts[uid] = _verdict(pod, wanted.ordinary, ordinary=True)
            else:
                await self._serve(work, look, wanted)
        if work.retiring:
            await self._give_back(work)
        await self._bring(work, look)
        self._send_away(work, look)
        work.memory.fixed = Fixed(
            coming=look.coming,
            going=frozenset(look.going),
            arriving=look.arriving,
            served=frozenset(look.served),
            step=look.step,
            look_again=_LOOK_AGAIN_SECONDS if look.again else None,
        )
        await self._orders.write(work, tuple(look.verdicts.values()), stable=default or at.required)

    async def step(self, work: NodeWork) -> None:
        """Carries out what ``look`` found: at most one write at the cloud."""
        step = work.memory.fixed.step
        match step:
            case None:
                return
            case BringHere(address=address, by=ways.Bring(interface=interface)):
                await self._calls.assign(work, address, interface)
            case BringHere(by=ways.MakeRoom() as room):
                await self._node_pools.ask_release(work, release(room))
            case _:
                await self._writes.carry_out(work, as_action(step))

    async def _serve(self, work: NodeWork, look: _Look, wanted: Wish) -> None:
        """Decides for one pod and records it."""
        uid = wanted.pod.metadata.uid or ""
        recorded = decisions.counting_first(self._blocks.of(str(wanted.owner)))
        try:
            outcome = await self._record(work, wanted, await self._decide(work, look, wanted, recorded))
        except Taken as taken:
            outcome = Wait(address=taken.address, why=f"{taken}; another address is looked for")
        if isinstance(outcome, Wait | Refuse):
            self._hesitate(work, look, wanted.pod, outcome)
            return
        self._unsettled.pop(uid, None)
        look.served.add(uid)
        if isinstance(outcome, Arrive):
            await self._arrive(work, look, outcome.address, uid)

    async def _decide(
        self, work: NodeWork, look: _Look, wanted: Wish, recorded: list[tuple[IPAddress, BlockEntry]]
    ) -> Outcome:
        subnets = await self._calls.subnets(work)
        standings: dict[str, Standing] = {}
        for address, entry in recorded:
            if entry.cooling_since is None and entry.node != work.name:
                standings[entry.uid] = await self._standings.of(address, entry, work.provider)
        now, cooldown = self._clock.now(), work.provider.value.spec.addresses.cooldown_seconds
        gateways = {gateway for subnet in subnets for gateway in subnet.gateways}

        def choose(pool: FloatingPool) -> IPAddress | str:
            """Only who has no address yet comes here: strays are not looked for in the rounds of all others."""
            strays = self._strays.on(work)

            def unusable(address: IPAddress) -> str:
                if address in strays:
                    return "ordinary addresses of nodes"
                return "gateways" if address in gateways else self._calls.refused(work.provider, address)

            return claims.choose(
                pool.addresses, self._blocks.all, now=now, cooldown_seconds=cooldown, unusable=unusable
            )

        return decisions.decide(
            wanted,
            recorded,
            Situation(
                node=work.name,
                away="its provider is being removed" if work.retiring else away(work.node),
                way=lambda address: self._calls.way(look.ground, address, subnets),
                standing=lambda entry: standings[entry.uid],
                alive=self._standings.alive,
                choose=choose,
            ),
        )

    async def _record(self, work: NodeWork, wanted: Wish, outcome: Outcome) -> Outcome:
        """Writes a claim or a handing-over. Raises ``Taken`` when somebody was quicker."""
        if not isinstance(outcome, Claim | HandOver):
            return outcome
        meta, now = wanted.pod.metadata, rfc3339(self._clock.now())
        who = Claimant(owner=wanted.owner, pod=f"{meta.namespace}/{meta.name}", uid=meta.uid or "", node=work.name)
        self._step(FixedStep.BLOCK_WRITING)
        if isinstance(outcome, Claim):
            cooldown = work.provider.value.spec.addresses.cooldown_seconds
            await self._blocks.claim(outcome.address, who, now=now, cooldown_seconds=cooldown)
            self._tell(
                wanted.pod, "Normal", ASSIGNED, f"{outcome.address} is {wanted.owner}'s; it is brought to {work.name}"
            )
        else:
            await self._blocks.hand_over(outcome.address, who, before=outcome.before, now=now)
            if outcome.proof is not None:
                self._calls.moving(outcome.address, wanted.pod, outcome.before.node, outcome.proof)
        self._step(FixedStep.BLOCK_WRITTEN)
        self._log.info("fixed-address.recorded", address=str(outcome.address), owner=str(wanted.owner), node=work.name)
        return Keep(address=outcome.address)

    def _hesitate(self, work: NodeWork, look: _Look, pod: Pod, outcome: Wait | Refuse) -> None:
        """Not now: said at once; where the provider prefers and does not require it, an ordinary one after a while."""
        uid, now = pod.metadata.uid or "", self._clock.monotonic()
        since = self._unsettled.setdefault(uid, now)
        preferred = work.provider.value.spec.fixed_address == "preferred"
        ordinary = preferred and now - since >= _PATIENCE_SECONDS
        look.again = True
        look.verdicts[uid] = _verdict(pod, outcome.why, ordinary=ordinary)
        if ordinary:
            look.served.discard(uid)
            self._unsettled.pop(uid, None)
        else:
            look.served.add(uid)
        text = f"{outcome.why.rstrip('.')}. It gets an ordinary address" if ordinary else outcome.why
        reason = REFUSED if isinstance(outcome, Refuse) or ordinary else WAITING
        self._tell(pod, "Warning", reason, text)

    async def _arrive(self, work: NodeWork, look: _Look, address: IPAddress, uid: str) -> None:
        look.again = True
        by = self._calls.way(look.ground, address, await self._calls.subnets(work))
        match by:
            case ways.Here(interface=interface) | ways.Bring(interface=interface):
                look.arriving[address] = (interface, uid)
                if isinstance(by, ways.Bring):
                    self._come(look, address, by)
            case ways.MakeRoom(interface=interface) | ways.OnTheWay(interface=interface):
                look.arriving[address] = (interface, uid)
                self._come(look, address, by)
                if isinstance(by, ways.MakeRoom):
                    look.step = look.step or BringHere(address=address, by=by)
            case ways.Attach():
                look.step = look.step or BringHere(address=address, by=by)

    async def _bring(self, work: NodeWork, look: _Look) -> None:
        """The way of each address that a living pod of this node has, one after the other: they share the room."""
        for address, entry in sorted(self._blocks.on(work.name).items()):
            pod = self._standings.pod(entry.uid)
            verdict = look.verdicts.get(entry.uid)
            if entry.cooling_since is not None or pod is None or (verdict is not None and verdict.ordinary):
                continue
            by = self._calls.way(look.ground, address, await self._calls.subnets(work))
            match by:
                case ways.Here():
                    self._calls.arrived(work, address)
                    continue
                case ways.Bring() | ways.MakeRoom():
                    self._come(look, address, by)
                case ways.OnTheWay():
                    self._come(look, address, by)
                    look.again = True
                    continue
                case ways.Blocked(why=why):
                    self._hesitate(work, look, pod, Refuse(why=f"{address}: {why}"))
                    continue
            if not self._calls.may_come(work, address):
                look.again = True
            elif look.step is None:
                look.step = BringHere(address=address, by=by)

    def _come(self, look: _Look, address: IPAddress, by: ways.Bring | ways.MakeRoom | ways.OnTheWay) -> None:
        """Its place is taken from now on."""
        going = ways.making_room(look.ground, by) if not isinstance(by, ways.Bring) else frozenset()
        look.coming[address] = by.interface
        look.going |= going
        instance = ways.reserved(look.ground.instance, {address: by.interface}, going)
        look.ground = replace(look.ground, instance=instance, fixed=look.ground.fixed | {address})

    async def _give_back(self, work: NodeWork) -> None:
        """The provider goes: what no pod uses any more is nobody's."""
        for address, entry in self._blocks.on(work.name).items():
            if entry.cooling_since is None and self._standings.confirmed(work.name, address):
                self._step(FixedStep.BLOCK_WRITING)
                with contextlib.suppress(Taken):
                    await self._blocks.cool(address, before=entry, now=rfc3339(self._clock.now()))
                self._step(FixedStep.BLOCK_WRITTEN)

    def _send_away(self, work: NodeWork, look: _Look) -> None:
        for interface in work.known.instance.interfaces:
            going = {address for address in interface.addresses if self._goes(work, address)}
            if going and look.step is None:
                look.step = SendAway(interface=interface.id, addresses=frozenset(going))

    def _goes(self, work: NodeWork, address: IPAddress) -> bool:
        entry = self._blocks.entry(address)
        if entry is None:
            return False
        moves = entry.node != work.name and not work.driver.capabilities.move_address
        return entry.cooling_since is not None or moves

    def _holding_ordinary(self, name: str) -> set[str]:
        """Pods that have an address of a node pool already: they started before there were fixed ones."""
        return {
            claim.pod_uid
            for pool in self._node_pools.of(name)
            for claim in parse_allocations(pool.status.allocated_ips if pool.status else None).values()
        }

    def _place(self, work: NodeWork) -> Place:
        provider = work.provider
        required = provider.value.spec.fixed_address == "required" and not work.retiring
        return Place(node=work.node, provider=provider.name, required=required, labels_of=self._labels_of)

    def _ground(self, work: NodeWork, limits: Limits) -> ways.Ground:
        held = need((), self._node_pools.of(work.name)).held
        on_it = {address for interface in work.known.instance.interfaces for address in interface.addresses}
        return ways.Ground(
            instance=work.known.instance,
            limits=limits,
            cluster=self._cluster,
            policy=work.provider.value.spec.interfaces,
            fixed=frozenset(address for address in on_it if self._blocks.entry(address) is not None),
            busy=held,
            leaving=fences.leaving(work.memory.network.spec, work.answered),
        )

    def _tell(self, pod: Pod, kind: Literal["Normal", "Warning"], reason: str, text: str) -> None:
        """Once for each new text."""
        uid = pod.metadata.uid or ""
        if self._said.get(uid) == text:
            return
        if len(self._said) >= _SAID_AT_MOST:
            self._said.clear()
        self._said[uid] = text
        self._recorder.event(reference(pod), kind, reason, text)


def _verdict(pod: Pod, reason: str, *, ordinary: bool) -> FixedVerdict:
    meta = pod.metadata
    return FixedVerdict(pod_uid=meta.uid or "", pod=f"{meta.namespace}/{meta.name}", ordinary=ordinary, reason=reason)
