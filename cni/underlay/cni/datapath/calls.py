"""What goes into and comes out of ``Datapath`` beside ``attach.Want``: frozen values. Pure."""

from dataclasses import dataclass

from underlay.cni.datapath.model import IPAddress, IPInterface, IPNetwork, LinkKind
from underlay.core.identity import Mac


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What the cluster knows of this node. ``addresses`` are the Node's InternalIPs.

    ``hijack_cidrs`` are further ranges that pods reach through their node.
    """

    addresses: tuple[IPAddress, ...] = ()
    service_cidrs: tuple[IPNetwork, ...] = ()
    hijack_cidrs: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Detach:
    """One interface to give back. ``netns`` None: the runtime names none any more.

    ``addresses`` are those it was given; empty: whatever it has. ``host_path`` as in ``Want``.
    """

    container_id: str
    ifname: str
    netns: str | None
    addresses: tuple[IPAddress, ...] = ()
    host_path: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachedLink:
    """A link as CNI reports it; ``sandbox`` is the namespace's path, empty for the host."""

    name: str
    mac: Mac
    mtu: int
    sandbox: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The links of one attachment. The first is the one that was asked for and has the addresses."""

    interfaces: tuple[AttachedLink, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLink:
    """A link found in a pod. ``kind`` is empty for what we would not make."""

    name: str
    mac: Mac
    kind: LinkKind
    addresses: tuple[IPInterface, ...]
