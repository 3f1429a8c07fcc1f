"""Addresses of fixed pools that the cloud gave to a node by its own choice: they are that node's, and no owner's.

Where no reservation keeps the range, nothing prevents that. Such an address may be a pod's already, so it is not given
as a fixed one before it has left the node.
"""

from collections.abc import Mapping

from underlay.core.addresses import IPAddress, RangeSet
from underlay.core.api.nodenetwork import InterfaceStatus, SpiderNodeNetwork
from underlay.core.cloud import items
from underlay.core.kube.reflector import Change, Reflector, Removed
from underlay.operator.fixed.blocks import Blocks
from underlay.operator.fixed.pools import FixedPools
from underlay.operator.nodework import NodeWork
from underlay.operator.reconcile.floating import FloatingPool


class Strays:
    """Kept for each node, and looked for anew in all of them when pools change."""

    def __init__(self, *, networks: Reflector[SpiderNodeNetwork], pools: FixedPools, blocks: Blocks) -> None:
        self._networks = networks
        self._pools = pools
        self._blocks = blocks
        self._seen: tuple[FloatingPool, ...] = ()
        self._of: dict[str, RangeSet] = {}
        networks.subscribe(self._changed)

    def within(self, pool: FloatingPool) -> Mapping[IPAddress, str]:
        """Those of the pool, with the node that has each."""
        self._keep_up()
        return {
            address: node
            for node, stray in sorted(self._of.items())
            for address in stray.intersection(pool.addresses)
            if self._blocks.entry(address) is None
        }

    def on(self, work: NodeWork) -> frozenset[IPAddress]:
        """Those of one node, by what the cloud says of it now, and of all others, by what is recorded."""
        self._keep_up()
        there = {address for stray in self._of.values() for address in stray}
        here = {
            address
            for interface in work.known.instance.interfaces
            for item in items.of_interface(interface)
            for pool in self._seen
            for address in RangeSet([items.served(item)]).intersection(pool.addresses)
        }
        return frozenset(address for address in there | here if self._blocks.entry(address) is None)

    def _keep_up(self) -> None:
        if (pools := self._pools.all()) != self._seen:
            self._seen, self._of = pools, {}
            for network in self._networks.store.items():
                self._look(network)

    def _changed(self, change: Change[SpiderNodeNetwork]) -> None:
        self._of.pop(change.object.metadata.name, None)
        if not isinstance(change, Removed):
            self._look(change.object)

    def _look(self, network: SpiderNodeNetwork) -> None:
        fixed = RangeSet(part for pool in self._seen for part in pool.addresses.ranges)
        if fixed and (stray := _ordinary(network).intersection(fixed)):
            self._of[network.metadata.name] = stray


def _ordinary(network: SpiderNodeNetwork) -> RangeSet:
    interfaces: list[InterfaceStatus] = network.status.interfaces if network.status else []
    had = ((*interface.addresses, *interface.prefixes, *interface.foreign) for interface in interfaces)
    return RangeSet(items.served(items.parse(text)) for texts in had for text in texts)
