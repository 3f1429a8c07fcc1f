"""What the agent asks of the datapath. ``datapath.shell.Datapath`` does it; tests have a small one with state."""

from collections.abc import Collection, Mapping
from typing import Protocol

from underlay.cni.datapath.attach import HostLink, Want
from underlay.cni.datapath.calls import Attached, Detach, NodeFacts, PodLink
from underlay.cni.datapath.model import IPAddress
from underlay.cni.datapath.solicitation import Router6
from underlay.core.identity import Mac


class Kernel(Protocol):
    """Each verb leaves the namespaces as they were when it fails. Errors: ``datapath.errors``."""

    async def start(self) -> None:
        """Make what the host needs once."""
        ...

    async def close(self) -> None:
        """Stop; what pods have stays."""
        ...

    def learn(self, node: NodeFacts) -> None:
        """What the cluster says of this node, for every attach from now on."""
        ...

    async def links(self) -> Mapping[Mac, HostLink]:
        """The host's links by MAC."""
        ...

    async def prepare_master(self, name: str) -> None:
        """Have the link up and set as a master must be."""
        ...

    async def router(self, name: str) -> Router6 | None:
        """The IPv6 router of a link, asked for if need be; None when none answers. Raises ``MasterMissing``."""
        ...

    async def withhold(self, services: Collection[IPAddress], masters: Collection[str]) -> Mapping[str, str]:
        """Keep pods on ``masters`` from these addresses alone, by any way. Masters on which it cannot, and why."""
        ...

    async def attach(self, want: Want) -> Attached:
        """Make the interface and the way to the host. The first link is the one asked for."""
        ...

    async def detach(self, gone: Detach) -> None:
        """Have the addresses free; succeeds with everything gone."""
        ...

    async def forget(self, addresses: Collection[IPAddress], links: Mapping[str, Collection[str]]) -> None:
        """Have none of ``addresses`` known as a neighbour on ``links`` (names by namespace, "" the host's); succeeds
        with everything gone.
        """
        ...

    async def inspect(self, netns: str) -> tuple[PodLink, ...]:
        """The links of a pod. Raises ``NamespaceGone``."""
        ...
