"""Cloud writes of a node: intent, call, record, in this order, so that a killed operator finds out what happened."""

from collections.abc import Iterable
from secrets import token_hex

import structlog

from underlay.core.api.conditions import parse_rfc3339, rfc3339
from underlay.core.api.nodenetwork import Demand, Intent, OperatorStatus
from underlay.core.cloud import intents, items, tags
from underlay.core.cloud.errors import Busy, CloudError, Denied, LimitReached, Throttled, Unavailable, UnknownOutcome
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import AddressRequest, InterfaceRequest, Limits, Owner, kind_of
from underlay.core.cloud.planning.actions import Action, Assign, Create, Delete, Release
from underlay.core.cloud.settle import OwnWrite, learn, wrote
from underlay.core.identity import InterfaceId
from underlay.core.runtime.checkpoints import Checkpoint
from underlay.core.runtime.clock import Clock
from underlay.operator.adoption import Adoption
from underlay.operator.fixed.pools import Listing
from underlay.operator.groups import SecurityGroups
from underlay.operator.nodework import NodeWork, makes_interface
from underlay.operator.providers import Providers
from underlay.operator.reconcile import status as render
from underlay.operator.records import Records, operator_part
from underlay.operator.steps import WarmStep


class CloudWrites:
    """``settle_seconds``: how long the cloud's reads may lag behind its writes."""

    def __init__(
        self,
        *,
        records: Records,
        providers: Providers,
        groups: SecurityGroups,
        clock: Clock,
        cluster: str,
        settle_seconds: float,
        listing: Listing,
        adoption: Adoption,
        checkpoint: Checkpoint,
    ) -> None:
        self._listing = listing
        self._adoption = adoption
        self._records = records
        self._providers = providers
        self._groups = groups
        self._clock = clock
        self._cluster = cluster
        self._settle = settle_seconds
        self._step = checkpoint
        self._log = structlog.get_logger()

    async def read(self, work: NodeWork, *, resync_seconds: float) -> float | None:
        """Reads the instance when that is due; seconds until it must be read again to settle something, else None."""
        memory, now = work.memory, self._clock.monotonic()
        age = now - memory.read_at
        fresh = self._settle if work.unsettled else resync_seconds
        if memory.known is None or age >= fresh:
            read = await work.driver.instance(work.driver.instance_id(work.node.spec.provider_id or ""))
            status = memory.network.status
            read = await self._adoption.ours(work, read)
            accepted = {
                InterfaceId(interface.id): render.accepted(interface)
                for interface in (status.interfaces if status else [])
            }
            if memory.known is None and accepted.keys() - {interface.id for interface in read.interfaces}:
                # What an earlier leader made last may be too new for this read.
                memory.doubted_at = memory.doubted_at or now
                if now - memory.doubted_at < self._settle:
                    return 0.0
            memory.known = learn(memory.known, read, began=now, settle=self._settle, accepted=accepted)
            memory.read_at, age = now, 0.0
            work.look_at_limit()
        return self._settle - age if work.unsettled else None

    async def carry_out(self, work: NodeWork, action: Action) -> None:
        """Intent, cloud write, record. A refusal removes the intent; an unknown outcome leaves it to ``recover``."""
        if isinstance(action, Create):
            # Known before there is an intent, which would be repeated for as long as they cannot be found.
            await self._groups.of(work.provider, work.known.instance)
        started_at = rfc3339(self._clock.now())
        intent = intents.before(action, work.known.instance, id=token_hex(8), started_at=started_at)
        self._step(WarmStep.INTENDING)
        await self.report(work, [*work.intents, intent])
        self._step(WarmStep.INTENDED)
        await self._call(work, intent)

    async def recover(self, work: NodeWork, intent: Intent) -> bool:
        """Finds out what became of an intent whose round did not end; False: the cloud does not show it yet."""
        if intent.operation != "assign":
            # Repeating is safe: the same token, or the same arguments.
            await self._call(work, intent, again=True)
            return True
        lagging = self._clock.now() - parse_rfc3339(intent.started_at) < self._settle
        read = await work.driver.instance(work.known.instance.id)
        instance = await self._adoption.ours(work, read)
        rest = work.intents_without(intent)
        match intents.settle(intent, instance, lagging=lagging):
            case intents.Done(interface=interface, added=added):
                write = OwnWrite(at=self._clock.monotonic(), interface=interface, added=added)
                await self.took_place(work, write, rest)
                return True
            case intents.NotDone():
                await self.report(work, rest)
                return True
            case intents.Unclear():
                return False

    async def report(self, work: NodeWork, intents_now: list[Intent], limits: Limits | None = None) -> None:
        """Writes the operator's part of the status, if it changed."""
        memory, instance = work.memory, work.known.instance
        subnets = await work.provider.subnets.of(work.driver, instance)
        had, fixed = operator_part(memory.network), self._listing.of(work)
        conditions = had.conditions
        if memory.plan is not None and memory.need is not None:
            conditions = render.sufficient(
                conditions,
                memory.plan,
                memory.need.pods,
                memory.trouble,
                now=rfc3339(self._clock.now()),
                generation=memory.network.metadata.generation,
            )
        status = OperatorStatus(
            instance=render.instance_status(instance),
            limits=render.limits_status(limits) if limits else had.limits,
            interfaces=[
                render.interface_status(
                    interface,
                    subnets,
                    fixed.get(interface.id, ()),
                    managed=tags.is_managed(interface, self._cluster),
                    foreign=(memory.foreign or {}).get(interface.id, frozenset()),
                )
                for interface in instance.interfaces
            ],
            intents=intents_now,
            demand=_demand(work) or had.demand,
            conditions=conditions,
        )
        memory.network = await self._records.write_status(memory.network, status)

    async def _call(self, work: NodeWork, intent: Intent, *, again: bool = False) -> None:
        rest = work.intents_without(intent)
        try:
            write = await self._cloud_write(work, intent)
        except UnknownOutcome:
            raise
        except CloudError as error:
            if isinstance(error, LimitReached) and error.what == "instance":
                work.learn_limit()
            # That this attempt was not permitted says nothing of what an earlier one made.
            unknown = error.unfinished or (again and isinstance(error, Denied))
            may_go_on = unknown or isinstance(error, Throttled | Busy | Unavailable)
            if makes_interface(intent) and may_go_on:
                # Its first calls may have taken place; repeated with the same token it goes on from there.
                raise
            await self.report(work, rest)
            raise
        self._step(WarmStep.CALLED)
        await self.took_place(work, write, rest)

    async def took_place(self, work: NodeWork, write: OwnWrite, rest: list[Intent]) -> None:
        """Records the reply of a write of ours; ``rest`` are the intents without that one."""
        self._account(work, write)
        work.memory.known = wrote(work.known, write)
        await self.report(work, rest)
        self._step(WarmStep.RECORDED)
        self._log.info(
            "cloud.written",
            node=work.name,
            interface=write.interface,
            added=len(write.added) + (len(items.of_interface(write.created)) if write.created else 0),
            removed=len(write.removed),
            deleted=write.deleted,
        )

    def _account(self, work: NodeWork, write: OwnWrite) -> None:
        """The subnet's free addresses, until they are read again."""
        before = {interface.id: interface for interface in work.known.instance.interfaces}
        if write.created is not None:
            self._providers.account_gives(work.provider)
            taken = 1 + _ipv4(items.of_interface(write.created))
            work.provider.subnets.took(write.created.subnet, taken)
        elif (interface := before.get(write.interface)) is not None:
            gone = 1 + _ipv4(items.of_interface(interface)) if write.deleted else _ipv4(write.removed)
            work.provider.subnets.took(interface.subnet, _ipv4(write.added) - gone)

    async def _cloud_write(self, work: NodeWork, intent: Intent) -> OwnWrite:
        now = self._clock.monotonic
        match intents.again(intent, work.known.instance):
            case Create() as create:
                made = await work.driver.create_interface(await self._request(work, intent.token, create))
                return OwnWrite(at=now(), interface=made.id, created=made)
            case Assign(interface=interface, kind=kind, count=count):
                added = await work.driver.assign(interface, AddressRequest(kind=kind, count=count))
                return OwnWrite(at=now(), interface=interface, added=added)
            case Release(interface=interface, items=going):
                await work.driver.unassign(interface, going)
                return OwnWrite(at=now(), interface=interface, removed=going)
            case Delete(interface=interface):
                await work.driver.delete_interface(interface)
                return OwnWrite(at=now(), interface=interface, deleted=True)

    async def _request(self, work: NodeWork, token: str, create: Create) -> InterfaceRequest:
        instance, spec = work.known.instance, work.provider.value.spec
        return InterfaceRequest(
            token=token,
            instance=instance.id,
            device_index=create.device_index,
            network_card=create.network_card,
            subnet=create.subnet,
            security_groups=await self._groups.of(work.provider, instance),
            wanted=create.wanted,
            owner=Owner(cluster=self._cluster, node=work.node.metadata.uid or ""),
            description=f"underlay: pods of node {work.name}",
            tags=spec.interfaces.tags,
        )


def _demand(work: NodeWork) -> Demand | None:
    plan, need = work.memory.plan, work.memory.need
    if plan is None or need is None:
        return None
    return Demand(pods=need.pods, cooling=work.cooling, target=plan.target, usable=plan.usable, room=plan.room)


def _ipv4(of: Iterable[Item]) -> int:
    """Addresses they take of the subnet."""
    return sum(kind_of(item).size for item in of if item.version == 4)
