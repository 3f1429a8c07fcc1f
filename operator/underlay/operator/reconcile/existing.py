"""What a node had before Underlay came: addresses of its first interface, and interfaces that somebody attached.

Left alone (``spec.interfaces.existing: leave``) they are never given to a pod, changed or given back. Adopted they
become this cluster's own with all they have; what a pod of another network plugin still has follows when it ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address

from underlay.core.addresses import RangeSet
from underlay.core.api.kubernetes import Pod
from underlay.core.api.nodenetwork import InterfaceStatus
from underlay.core.cloud import items, tags
from underlay.core.cloud.items import Item
from underlay.core.cloud.model import Instance, InterfaceState, NetworkInterface
from underlay.core.identity import InterfaceId
from underlay.operator.reconcile.demand import wants_address

Foreign = Mapping[InterfaceId, frozenset[Item]]


def foreign(read: Instance, recorded: Sequence[InterfaceStatus], own: frozenset[str]) -> Foreign:
    """What is not ours, by interface: as ``recorded``, or at the first sight of a node all that its first interface
    has. ``own``: the addresses by which the cluster knows the machine.
    """
    if recorded:
        return {
            InterfaceId(entry.id): frozenset(map(items.parse, entry.foreign)) for entry in recorded if entry.foreign
        }
    return {
        interface.id: had
        for interface in read.interfaces
        if interface.primary
        and (had := frozenset(item for item in items.of_interface(interface) if str(item) not in own))
    }


def adoptable(instance: Instance) -> tuple[NetworkInterface, ...]:
    """Attached interfaces that are nobody's: not the first, no cloud service's, without any cluster's tag."""
    return tuple(
        interface
        for interface in instance.interfaces
        if not interface.primary
        and not interface.special
        and interface.state is InterfaceState.IN_USE
        and tags.CLUSTER not in interface.tags
    )


def of_others(
    read: Instance, pods: Iterable[Pod], listed: Mapping[InterfaceId, RangeSet], own: frozenset[str]
) -> Foreign:
    """What living ``pods`` have of the instance's interfaces without an agent of ours having given it to them.

    ``listed``: what each interface's pools list. Of those addresses whoever has one got it from them. A prefix counts
    whole as soon as one of its addresses is somebody else's.
    """
    taken = frozenset(
        ip_address(entry.ip) for pod in pods if wants_address(pod) for entry in pod.status.pod_ips if entry.ip
    )
    found = {}
    for interface in read.interfaces:
        ours = listed.get(interface.id, RangeSet())
        others = {address for address in taken if address not in ours and str(address) not in own}
        if had := frozenset(item for item in items.of_interface(interface) if items.within(item, others)):
            found[interface.id] = had
    return found


def without(read: Instance, foreign: Foreign, own: frozenset[str]) -> Instance:
    """The instance with ours only. An IPv6 address of the machine itself is like any other to a cloud."""
    interfaces = (
        items.having(
            interface,
            (
                item
                for item in items.of_interface(interface) - foreign.get(interface.id, frozenset())
                if str(item) not in own
            ),
        )
        for interface in read.interfaces
    )
    return replace(read, interfaces=tuple(interfaces))
