"""Pools of fixed addresses, and which address of which interface is listed for whom."""

from collections.abc import Mapping
from dataclasses import replace

import structlog

from underlay.core.addresses import IPAddress, RangeSet
from underlay.core.api.ippool import SpiderIPPool
from underlay.core.api.nodenetwork import Floating
from underlay.core.api.reservedip import SpiderReservedIP
from underlay.core.errors import InvalidInput
from underlay.core.identity import InterfaceId
from underlay.core.ipam.blocks import holder
from underlay.core.kube.reflector import Change, Reflector, Removed
from underlay.operator.fixed.blocks import Blocks
from underlay.operator.nodework import NodeWork
from underlay.operator.reconcile.floating import FloatingPool, recognised


class FixedPools:
    """Those pools that are one provider's and no node's, without what SpiderReservedIPs keep from all pools."""

    def __init__(self, view: Reflector[SpiderIPPool], reserved: Reflector[SpiderReservedIP]) -> None:
        self._pools: dict[str, FloatingPool] = {}
        self._reserved: dict[str, RangeSet] = {}
        self._all: tuple[FloatingPool, ...] | None = ()
        self._log = structlog.get_logger()
        view.subscribe(self._seen)
        reserved.subscribe(self._kept)

    def all(self) -> tuple[FloatingPool, ...]:
        """By name."""
        if self._all is None:
            kept = RangeSet(part for each in self._reserved.values() for part in each.ranges)
            ordered = sorted(self._pools.values(), key=lambda pool: pool.name)
            self._all = tuple(replace(pool, addresses=pool.addresses.difference(kept)) for pool in ordered)
        return self._all

    def of(self, address: IPAddress) -> FloatingPool | None:
        """The pool that lists ``address``."""
        return next((pool for pool in self.all() if address in pool.listed), None)

    def _seen(self, change: Change[SpiderIPPool]) -> None:
        name = change.object.metadata.name
        self._all = None
        self._pools.pop(name, None)
        if isinstance(change, Removed) or change.object.metadata.deletion_timestamp is not None:
            return
        try:
            pool = recognised(change.object)
        except InvalidInput as error:
            self._log.warning("fixed-pool.unreadable", pool=name, reason=str(error))
            return
        if pool is not None:
            self._pools[name] = pool

    def _kept(self, change: Change[SpiderReservedIP]) -> None:
        name = change.object.metadata.name
        self._all = None
        self._reserved.pop(name, None)
        if isinstance(change, Removed):
            return
        try:
            self._reserved[name] = RangeSet.parse(change.object.spec.ips or (), f"SpiderReservedIP {name} spec.ips")
        except InvalidInput as error:
            self._log.warning("reserved-ips.unreadable", name=name, reason=str(error))


class Listing:
    """What ``status.interfaces[].floating`` of a node says: a function of blocks and of what its interfaces have."""

    def __init__(self, blocks: Blocks, pools: FixedPools) -> None:
        self._blocks = blocks
        self._pools = pools

    def of(self, work: NodeWork) -> Mapping[InterfaceId, list[Floating]]:
        """By interface. Every address that has an entry is listed, so that no node pool gets it; with a pod's uid only
        what that pod may have here.
        """
        listed: dict[InterfaceId, list[Floating]] = {}
        for interface in work.known.instance.interfaces:
            for address in sorted(interface.addresses, key=lambda item: (item.version, int(item))):
                entry = self._blocks.entry(address)
                if entry is not None:
                    served = entry.node == work.name and entry.cooling_since is None
                    listed.setdefault(interface.id, []).append(
                        self._listed(address, holder(entry), entry.uid if served else "")
                    )
        for address, (where, uid) in work.memory.fixed.arriving.items():
            entry = self._blocks.entry(address)
            if entry is not None and entry.node != work.name:
                listed.setdefault(where, []).append(self._listed(address, holder(entry), uid, arriving=True))
        return listed

    def _listed(self, address: IPAddress, owner: str, uid: str, *, arriving: bool = False) -> Floating:
        pool = self._pools.of(address)
        return Floating(
            address=str(address),
            owner=owner,
            pod_uid=uid,
            pool=pool.name if pool else "",
            pool_uid=pool.uid if pool else "",
            arriving=arriving,
        )
