"""Links that DEL left to the namespace's end, and that are still there some time later.

DEL does not wait for links: the runtime removes the namespace next, where the kernel waits once for all that is in it.
A runtime that keeps the namespace, or a call by hand, leaves them; they are removed here, in one request per namespace.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from underlay.cni.datapath import coordinator, lookup
from underlay.cni.datapath.attach import Want
from underlay.cni.datapath.channel import Channel
from underlay.cni.datapath.errors import NamespaceGone
from underlay.cni.datapath.namespaces import Identity, Namespaces
from underlay.cni.datapath.wire import doom


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """What one DEL left. ``namespace`` None: only the host's end was found. Indexes are 0 where there was no link.

    A path may name another namespace by the time this is looked at, therefore the identity; and an index is not used
    twice.
    """

    due: float
    path: str
    namespace: Identity | None
    name: str
    index: int
    host_name: str
    host_index: int


class Leftovers:
    """Those not yet removed."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[Identity | None, int, int], Leftover] = {}

    def add(self, leftover: Leftover) -> None:
        """A repeated DEL of the same links does not start the wait anew."""
        self._waiting.setdefault((leftover.namespace, leftover.index, leftover.host_index), leftover)

    def take(self, want: Want) -> tuple[Leftover, ...]:
        """Take out what DELs left and what is in the way of ``want``: its interface, or its container's veth."""
        return self._take(
            lambda leftover: (
                (leftover.path, leftover.name) == (want.netns, want.ifname)
                or (want.host_path and leftover.host_name == coordinator.host_veth_name(want.container_id))
            )
        )

    def take_due(self, now: float) -> tuple[Leftover, ...]:
        """Take out what has waited long enough."""
        return self._take(lambda leftover: leftover.due <= now)

    def next_due(self) -> float | None:
        """When the first is due."""
        return min((leftover.due for leftover in self._waiting.values()), default=None)

    def _take(self, belongs: Callable[[Leftover], bool]) -> tuple[Leftover, ...]:
        taken = {key: leftover for key, leftover in self._waiting.items() if belongs(leftover)}
        for key in taken:
            del self._waiting[key]
        return tuple(taken.values())


def reap(leftovers: Iterable[Leftover], *, namespaces: Namespaces, host: Channel) -> None:
    """Remove what is still there, in a thread of ``namespaces``: all host ends at once, then pod by pod.

    A link that is gone by now is what was hoped for; whatever the kernel answers, nobody waits for it.
    """
    leftovers = tuple(leftovers)
    ends = [left.host_index for left in leftovers if left.host_index and _is_there(host, left)]
    if ends:
        host.apply(doom(ends))
    slaves: dict[tuple[str, Identity], list[int]] = {}
    for left in leftovers:
        if left.namespace is not None and left.index:
            slaves.setdefault((left.path, left.namespace), []).append(left.index)
    for (path, identity), indexes in slaves.items():
        _reap_inside(path, identity, indexes, namespaces)


def _is_there(host: Channel, left: Leftover) -> bool:
    found = lookup.link(host, left.host_name)
    return found is not None and found.index == left.host_index


def _reap_inside(path: str, identity: Identity, indexes: list[int], namespaces: Namespaces) -> None:
    try:
        with namespaces.opened(path) as descriptor:
            if namespaces.identity(descriptor) != identity:
                return
            channel = namespaces.inside(descriptor, _OPEN, path=path)
            try:
                channel.apply(doom(indexes))
            finally:
                channel.close()
    except NamespaceGone:
        return


_OPEN: Callable[[], Channel] = Channel
