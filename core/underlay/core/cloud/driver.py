"""The seam to a cloud: nine verbs over the values of ``model``.

All verbs are idempotent and cancellable, and raise ``cloud.errors`` only. Create+attach+tag+wait is one verb because
its intermediate states mean nothing to a caller and only the driver can finish a half-made one.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from underlay.core.cloud.model import (
    AddressRequest,
    Capabilities,
    Instance,
    InterfaceRequest,
    IPAddress,
    IPNetwork,
    Limits,
    NetworkInterface,
    Owner,
    Subnet,
    SubnetQuery,
)
from underlay.core.identity import InstanceId, InterfaceId


class ProviderDriver(Protocol):
    """One account and region of a cloud. Made by the entry point's factory."""

    name: str
    capabilities: Capabilities

    def instance_id(self, provider_id: str) -> InstanceId:
        """The instance named by ``Node.spec.providerID``. Raises ``InvalidInput`` when the text is not this cloud's."""
        ...

    async def limits(self, instance_type: str) -> Limits:
        """What the type allows; cached. ``NotFound``: no such type."""
        ...

    async def instance(self, instance: InstanceId) -> Instance:
        """The machine with its interfaces, one consistent read. ``NotFound``: gone."""
        ...

    async def instances(self, ids: Collection[InstanceId]) -> Sequence[Instance]:
        """Many at once; ids that do not exist are left out."""
        ...

    async def subnets(self, query: SubnetQuery) -> Sequence[Subnet]:
        """Subnets that match, by id. An id that does not exist raises ``NotFound`` naming it."""
        ...

    async def create_interface(self, want: InterfaceRequest) -> NetworkInterface:
        """Makes, tags, attaches and waits until the interface is in use and goes away with its instance.

        Repeated with the same token it carries on with what the first call made. ``Exhausted``: nothing was made.
        ``LimitReached('instance')``: what was made has been deleted again.
        """
        ...

    async def delete_interface(self, interface: InterfaceId) -> None:
        """Detaches first when attached; an absent interface is success."""
        ...

    async def assign(self, interface: InterfaceId, want: AddressRequest) -> frozenset[IPAddress | IPNetwork]:
        """Adds secondary addresses or prefixes; returns what was added.

        By count it is not repeatable: on ``UnknownOutcome`` compare with before. By name it is.
        """
        ...

    async def unassign(self, interface: InterfaceId, items: Collection[IPAddress | IPNetwork]) -> None:
        """Takes addresses or prefixes away; absent ones are success."""
        ...

    async def owned(self, owner: Owner) -> Sequence[NetworkInterface]:
        """All interfaces that carry the owner's tags, attached or not."""
        ...

    async def close(self) -> None:
        """Lets go of connections and threads."""
        ...
