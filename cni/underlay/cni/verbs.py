"""ADD and DEL: what a call becomes, step by step. Each step before the answer is undone when a later one fails.

    ADD   spool empty → pod known → addresses claimed (on disk) → attached → answered → confirmed
    DEL   detached → released (on disk) → answered

One operation at a time per sandbox. A claim that was never confirmed belongs to an ADD that failed or was killed: a
repeated ADD takes it over with its addresses. Confirming comes after the answer has left, so that an agent killed
in between does not refuse the repetition.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_interface

import structlog

from underlay.cni.answers import add_result, cni_error
from underlay.cni.book import Book
from underlay.cni.datapath.attach import Want
from underlay.cni.datapath.calls import Detach
from underlay.cni.datapath.errors import DatapathError, MasterMissing
from underlay.cni.errors import CniError, Code
from underlay.cni.kernel import Kernel
from underlay.cni.nodepools import NodePools
from underlay.cni.pods import Pods
from underlay.cni.protocol import AddResult, CniRequest
from underlay.cni.records import Confirmed, Released
from underlay.cni.spool import Spool
from underlay.core.errors import InvalidInput
from underlay.core.identity import Attachment, PodRef
from underlay.core.ipam.allocate import Assigned
from underlay.core.ipam.claims import Claim
from underlay.core.runtime.checkpoints import Checkpoint, passing

FOUND = "found-"
"""Begins the container id of a claim that was read off a pod namespace, whose container nobody knows."""


class Step(StrEnum):
    """Crash points."""

    ADD_RECEIVED = "add.received"
    ADD_CLAIMED = "add.claimed"
    ADD_ATTACHED = "add.attached"
    ADD_ANSWERED = "add.answered"
    ADD_CONFIRMED = "add.confirmed"
    ADD_UNDONE = "add.undone"
    DEL_RECEIVED = "del.received"
    DEL_DETACHED = "del.detached"
    DEL_RELEASED = "del.released"
    DEL_ANSWERED = "del.answered"
    SPOOL_REPLAYED = "spool.replayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long an ADD may wait for an address, and the event that says nobody waits for the ADD any more."""

    wait_seconds: float
    abandoned: asyncio.Event


@dataclass(slots=True)
class _Sandbox:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Verbs:
    """What the agent does for a runtime. ``touched`` is told of each pod whose addresses have changed."""

    def __init__(
        self,
        *,
        book: Book,
        pools: NodePools,
        pods: Pods,
        kernel: Kernel,
        spool: Spool,
        now: Callable[[], float],
        touched: Callable[[PodRef], None],
        checkpoint: Checkpoint = passing,
    ) -> None:
        self._book = book
        self._pools = pools
        self._pods = pods
        self._kernel = kernel
        self._spool = spool
        self._now = now
        self._touched = touched
        self._checkpoint = checkpoint
        self._sandboxes: dict[str, _Sandbox] = {}
        self._log = structlog.get_logger()

    async def add(self, request: CniRequest, patience: Patience) -> AddResult:
        """Give the pod its interface and addresses. Raises ``CniError``."""
        self._checkpoint(Step.ADD_RECEIVED)
        await self.drain_spool()
        async with self._alone(request.attachment.container_id):
            pod = await self._pods.find(request.pod)
            await self._take_over(request, pod)
            claim, assigned = await self._pools.claim(
                request,
                pod,
                first=self._is_first(request.attachment, request.netns),
                wait_seconds=patience.wait_seconds,
                abandoned=patience.abandoned,
            )
            self._checkpoint(Step.ADD_CLAIMED)
            try:
                attached = await self._kernel.attach(self._want(request, claim, assigned))
            except (DatapathError, InvalidInput) as failed:
                await self._undo(claim)
                raise cni_error(failed, request) from failed
            except Exception:
                await self._detach(claim.attachment, claim.netns, [claim])  # nobody says what was left behind
                await self._undo(claim)
                raise
            self._checkpoint(Step.ADD_ATTACHED)
        self._touched(pod)
        return add_result(assigned, attached, default_route=claim.first)

    def add_answered(self, attachment: Attachment) -> None:
        """The answer of an ADD has left: a repeated ADD is the runtime's mistake from now on."""
        self._checkpoint(Step.ADD_ANSWERED)
        # Not worth an fsync of its own: lost in a crash, it lets a repeated ADD succeed that should have been refused.
        self._book.record(Confirmed(attachment=attachment), lazily=True)
        self._checkpoint(Step.ADD_CONFIRMED)

    async def delete(self, attachment: Attachment, netns: str) -> None:
        """Take back what this very container got; nothing to take back is success. Raises ``CniError`` where the
        kernel refuses.
        """
        self._checkpoint(Step.DEL_RECEIVED)
        async with self._alone(attachment.container_id):
            ledger = self._book.state.ledger
            claims = [ledger.claims[attachment]] if attachment in ledger.claims else []
            # After a lost journal the container is not known; its namespace is.
            claims += [
                item for item in ledger.claims.values() if netns and item.netns == netns and _found_as(item, attachment)
            ]
            await self._detach(attachment, netns or next((item.netns for item in claims), ""), claims)
            self._checkpoint(Step.DEL_DETACHED)
            if claims:
                now = self._now()
                await self._book.record(*(Released(attachment=item.attachment, at=now) for item in claims))
            self._checkpoint(Step.DEL_RELEASED)
        for item in claims:
            self._touched(item.pod)

    def delete_answered(self) -> None:
        """The answer of a DEL has left."""
        self._checkpoint(Step.DEL_ANSWERED)

    async def check(self, request: CniRequest) -> None:
        """CNI CHECK: the claim, and its addresses on the interface, are still there. Raises ``CniError``."""
        claim = self._book.state.ledger.claims.get(request.attachment)
        if claim is None:
            raise CniError(Code.UNKNOWN_CONTAINER, f"CNI_CONTAINERID: no addresses were given to {request.attachment}")
        try:
            links = await self._kernel.inspect(request.netns)
        except DatapathError as gone:
            raise cni_error(gone, request) from gone
        there = {address.ip for link in links if link.name == request.attachment.ifname for address in link.addresses}
        if lost := [str(item.address) for item in claim.addresses if item.address not in there]:
            raise CniError(Code.REFUSED_BY_KERNEL, f"interface {request.attachment.ifname} has lost {', '.join(lost)}")

    async def collect(self, request: CniRequest) -> None:
        """CNI GC: a DEL for every attachment of this network that is not listed as valid. Without a list nothing is
        done.
        """
        config = request.config
        listed = config.valid_attachments if config.valid_attachments is not None else config.attachments
        if listed is None:
            return
        valid = {Attachment(container_id=item.container_id, ifname=item.ifname) for item in listed}
        for claim in list(self._book.state.ledger.claims.values()):
            if claim.network == config.name and claim.confirmed and claim.attachment not in valid:
                await self.delete(claim.attachment, claim.netns)

    def wake(self) -> None:
        """Let ADDs that wait for an address look again."""
        self._book.room.notify()

    async def drain_spool(self) -> None:
        """Carry out the DELs that the launcher kept."""
        await self._spool.drain(self.delete, lambda: self._checkpoint(Step.SPOOL_REPLAYED))

    async def _take_over(self, request: CniRequest, pod: PodRef) -> None:
        """Make way for an ADD of an attachment that is claimed already."""
        claim = self._book.state.ledger.claims.get(request.attachment)
        if claim is None:
            return
        if claim.confirmed:
            addresses = ", ".join(str(item.address) for item in claim.addresses)
            raise CniError(
                Code.INVALID_ENVIRONMENT,
                f"CNI_IFNAME: {request.attachment.ifname} exists already in container {claim.attachment.container_id}",
                f"pod {claim.pod}, {addresses}; a second ADD needs a DEL before it",
            )
        await self._detach(claim.attachment, claim.netns, [claim])
        if claim.pod != pod:
            await self._book.record(Released(attachment=claim.attachment, at=self._now()))

    async def _undo(self, claim: Claim) -> None:
        """A failed attach leaves nothing in the kernel; its addresses cool as any others, since they may have been
        on the wire.
        """
        await self._book.record(Released(attachment=claim.attachment, at=self._now()))
        self._checkpoint(Step.ADD_UNDONE)

    async def _detach(self, attachment: Attachment, netns: str, claims: list[Claim]) -> None:
        gone = Detach(
            container_id=attachment.container_id,
            ifname=attachment.ifname,
            netns=netns or None,
            addresses=tuple(item.address for claim in claims for item in claim.addresses),
            host_path=any(claim.first for claim in claims) if claims else self._is_first(attachment, netns),
        )
        try:
            await self._kernel.detach(gone)
        except DatapathError as refused:
            raise CniError(
                Code.REFUSED_BY_KERNEL, f"interface {attachment} could not be removed: {refused}"
            ) from refused

    def _is_first(self, attachment: Attachment, netns: str) -> bool:
        """Whether no other interface of the sandbox is its first."""
        return not any(
            claim.first
            and claim.attachment != attachment
            and (claim.attachment.container_id == attachment.container_id or (netns and claim.netns == netns))
            for claim in self._book.state.ledger.claims.values()
        )

    def _want(self, request: CniRequest, claim: Claim, assigned: Assigned) -> Want:
        node_network = self._book.state.node_network
        pools = [grant.pool for grant in assigned.grants]
        master = self._pools.links.get(pools[0].mac)
        if master is None:
            raise MasterMissing(f"with MAC {pools[0].mac}")
        return Want(
            container_id=request.attachment.container_id,
            ifname=request.attachment.ifname,
            netns=request.netns,
            kind=node_network.spec.network_type if node_network else "ipvlan",
            master=master.name,
            addresses=tuple(ip_interface((grant.address, grant.pool.subnet.prefixlen)) for grant in assigned.grants),
            gateways=tuple(pool.gateway for pool in pools if pool.gateway is not None and claim.first),
            host_path=claim.first and request.config.coordinator,
        )

    @asynccontextmanager
    async def _alone(self, container_id: str) -> AsyncIterator[None]:
        sandbox = self._sandboxes.setdefault(container_id, _Sandbox())
        sandbox.users += 1
        try:
            async with sandbox.lock:
                yield
        finally:
            sandbox.users -= 1
            if not sandbox.users:
                del self._sandboxes[container_id]


def _found_as(claim: Claim, attachment: Attachment) -> bool:
    return claim.attachment.container_id.startswith(FOUND) and claim.attachment.ifname == attachment.ifname
