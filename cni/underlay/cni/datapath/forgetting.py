"""Neighbours that have left the node, in a thread of ``namespaces``. Whatever is gone already is as it should be.

A pod knows another one on its node by that one's own MAC (macvlan) or by the master's (ipvlan). Nobody corrects that
when the address comes to another node, since a cloud carries no announcements: until its kernel asks anew, after up to
50 seconds, the pod would send to where the address was.
"""

from collections.abc import Collection, Mapping, Sequence

from underlay.cni.datapath import lookup
from underlay.cni.datapath.channel import Channel
from underlay.cni.datapath.detaching import remove
from underlay.cni.datapath.errors import NamespaceGone
from underlay.cni.datapath.model import IPAddress, Neigh
from underlay.cni.datapath.namespaces import Namespaces
from underlay.cni.datapath.plan import Remove
from underlay.core.identity import Mac

_AT_ONCE = 64
"""Entries that are not there are answered one by one, and what the socket does not hold of the answers is lost."""


def forget(
    addresses: Sequence[IPAddress],
    links: Mapping[str, Collection[str]],
    *,
    namespaces: Namespaces,
    host: Channel,
) -> None:
    """Remove the entries for ``addresses`` on ``links``: their names by the namespace's path, empty for the host's."""
    for netns, names in links.items():
        if not netns:
            _forget(host, addresses, names)
            continue
        try:
            with namespaces.opened(netns) as descriptor:
                pod = namespaces.inside(descriptor, Channel, path=netns)
        except NamespaceGone:
            continue
        try:
            _forget(pod, addresses, names)
        finally:
            pod.close()


def _forget(channel: Channel, addresses: Sequence[IPAddress], names: Collection[str]) -> None:
    for name in names:
        found = lookup.link(channel, name)
        if found is None:
            continue
        for start in range(0, len(addresses), _AT_ONCE):
            entries = [Neigh(link=name, address=each, mac=Mac("")) for each in addresses[start : start + _AT_ONCE]]
            remove(channel, [Remove(entry) for entry in entries], {name: found.index})
