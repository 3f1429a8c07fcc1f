"""What a plan asks of the cloud: one action is one verb of the driver. Frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass

from underlay.core.cloud.items import Item
from underlay.core.cloud.model import IPAddress, Kind
from underlay.core.identity import InterfaceId, SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """Ask for ``count`` more of ``kind``."""

    interface: InterfaceId
    kind: Kind = Kind.IPV4
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Make an interface with so many of each kind (one kind of a family) and attach it."""

    subnet: SubnetId
    device_index: int
    network_card: int = 0
    wanted: Mapping[Kind, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Take ``items`` out of use, then unassign them.

    ``fence``: addresses of them that nobody uses; no pod shall get them from now on. Those of a prefix may be fewer
    than it has: it drains, and goes when all are fenced.
    """

    interface: InterfaceId
    items: frozenset[Item]
    fence: frozenset[IPAddress] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Detach and delete an interface that has nothing left that is a pod's."""

    interface: InterfaceId


Action = Assign | Create | Release | Delete
