"""One detachment, carried out in a thread of ``namespaces``. Whatever is gone already is as it should be.

The addresses go first: from then on they are free for another pod, also with ipvlan, where the kernel lets one slave
of a master have an address. None of this waits for RCU, so no ADD is held up by it.
"""

import errno
from collections.abc import Mapping, Sequence
from ipaddress import ip_interface

from underlay.cni.datapath import coordinator, lookup, netlink
from underlay.cni.datapath.calls import Detach
from underlay.cni.datapath.channel import Channel
from underlay.cni.datapath.errors import KernelRefused, NamespaceGone
from underlay.cni.datapath.model import OUR_GROUP, Addr, IPAddress, IPInterface, Neigh
from underlay.cni.datapath.namespaces import Identity, Namespaces
from underlay.cni.datapath.plan import Remove
from underlay.cni.datapath.reaper import Leftover
from underlay.cni.datapath.wire import encode
from underlay.core.identity import Mac

_GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENXIO, errno.EAFNOSUPPORT})


def detach_one(detach: Detach, *, namespaces: Namespaces, host: Channel, due: float) -> Leftover | None:
    """Take addresses, host routes and neighbours away; returns the links left, to be looked at when ``due``."""
    identity, index, addresses = _inside_pod(detach, namespaces)
    host_name, host_index = "", 0
    if detach.host_path:
        host_name = coordinator.host_veth_name(detach.container_id)
        host_index = _on_host(host, host_name, addresses)
    if not index and not host_index:
        return None
    return Leftover(
        due=due,
        path=detach.netns or "",
        namespace=identity,
        name=detach.ifname,
        index=index,
        host_name=host_name,
        host_index=host_index,
    )


def _inside_pod(detach: Detach, namespaces: Namespaces) -> tuple[Identity | None, int, Sequence[IPAddress]]:
    """The namespace, the interface's index (0: it is not there or not ours), and the addresses that are taken away."""
    if not detach.netns:
        return None, 0, detach.addresses
    try:
        with namespaces.opened(detach.netns) as descriptor:
            identity = namespaces.identity(descriptor)
            route = namespaces.inside(descriptor, Channel, path=detach.netns)
            try:
                found = lookup.link(route, detach.ifname)
                if found is None or found.group != OUR_GROUP:
                    return identity, 0, detach.addresses
                given: Sequence[IPInterface] = [ip_interface(address) for address in detach.addresses]
                if not given or any(address.version == 6 for address in given):
                    given = namespaces.inside(descriptor, lambda: _observed(detach.ifname), path=detach.netns)
                steps = [Remove(Addr(link=detach.ifname, address=address)) for address in given]
                remove(route, steps, {detach.ifname: found.index})
                return identity, found.index, [address.ip for address in given]
            finally:
                route.close()
    except NamespaceGone:
        return None, 0, detach.addresses


def _observed(ifname: str) -> tuple[IPInterface, ...]:
    return tuple(a.address for a in netlink.observe().addrs if a.link == ifname and not a.address.is_link_local)


def _on_host(host: Channel, name: str, addresses: Sequence[IPAddress]) -> int:
    """Remove the routes and neighbours that lead to the pod; returns the veth's index at the host, 0 without one."""
    veth = lookup.link(host, name)
    if veth is None or veth.group != OUR_GROUP:
        return 0
    steps = [Remove(coordinator.host_route(name, address)) for address in addresses]
    steps += [Remove(Neigh(link=name, address=address, mac=Mac(""))) for address in addresses]
    remove(host, steps, {name: veth.index})
    return veth.index


def remove(channel: Channel, steps: Sequence[Remove], indexes: Mapping[str, int]) -> None:
    """What is there of it; ``indexes`` as in ``encode``."""
    for failure in channel.apply(encode(steps, indexes=indexes)):
        if failure.errno not in _GONE:
            raise KernelRefused(failure.errno, f"remove {steps[failure.position].object}", failure.reason)
