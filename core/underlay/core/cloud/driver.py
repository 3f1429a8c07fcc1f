"""The seam to a cloud: verbs over the values of ``model``.

All verbs are idempotent and cancellable, and raise ``cloud.errors`` only. Create+attach+tag+wait is one verb because
its intermediate states mean nothing to a caller and only the driver can finish a half-made one.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from underlay.core.cloud.model import (
    AddressRequest,
    Capabilities,
    CloudService,
    Instance,
    InterfaceRequest,
    IPAddress,
    IPNetwork,
    Limits,
    NetworkInterface,
    Owner,
    Reservation,
    Subnet,
    SubnetQuery,
    Use,
)
from underlay.core.identity import InstanceId, InterfaceId, ReservationId, SubnetId


class ProviderDriver(Protocol):
    """One account and region of a cloud. Made by the entry point's factory."""

    name: str
    capabilities: Capabilities

    @property
    def services(self) -> Collection[CloudService]:
        """The cloud's own services, all of them: what is not named here, pods reach as their routes lead. No call."""
        ...

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

        Repeated with the same token it carries on with what the first call made. ``Exhausted`` and ``NoPrefix`` name
        the subnet: nothing was made. ``LimitReached('instance')``, ``Busy`` because another interface has one of the
        named addresses: what was made has been deleted again. An error that is ``unfinished``: it is still there.
        """
        ...

    async def adopt(self, interface: InterfaceId, owner: Owner) -> None:
        """Gives an interface that somebody else made the owner's tags. It may be repeated. ``NotFound``: gone."""
        ...

    async def end_with_instance(self, interface: InterfaceId) -> None:
        """From now on the cloud deletes the interface with the instance it is attached to. It may be repeated.
        ``NotFound``: gone, or too new to be read.
        """
        ...

    async def delete_interface(self, interface: InterfaceId) -> None:
        """Detaches first when attached; an absent interface is success."""
        ...

    async def assign(self, interface: InterfaceId, want: AddressRequest) -> frozenset[IPAddress | IPNetwork]:
        """Adds secondary addresses or prefixes; returns what was added.

        By count it is not repeatable: on ``UnknownOutcome`` compare with before. By name it is. ``Exhausted`` and
        ``NoPrefix`` name the subnet, ``Busy``: another interface has one of the addresses.
        """
        ...

    async def unassign(self, interface: InterfaceId, items: Collection[IPAddress | IPNetwork]) -> None:
        """Takes addresses or prefixes away; absent ones are success."""
        ...

    async def owned(self, owner: Owner) -> Sequence[NetworkInterface]:
        """All interfaces that carry the owner's tags, attached or not."""
        ...

    async def holders(self, subnet: SubnetId, addresses: Collection[IPAddress]) -> Sequence[NetworkInterface]:
        """Interfaces of the subnet, anybody's, that have one of ``addresses`` as their primary or a single secondary
        one, by id. An address inside somebody's prefix is not found.
        """
        ...

    async def security_groups(self, network: str, tags: Mapping[str, str]) -> tuple[str, ...]:
        """Ids of the groups of ``network`` with all of ``tags``, sorted; none may match."""
        ...

    async def set_security_groups(self, interface: InterfaceId, groups: Collection[str]) -> None:
        """Replaces an interface's groups. May be repeated. ``NotFound``: the interface or a group is gone."""
        ...

    async def reserve(self, subnet: SubnetId, cidr: IPNetwork, use: Use, owner: Owner) -> Reservation:
        """Keeps a block of the subnet for one use, with the owner's tags.

        May be repeated: the same block for the same use is found, whoever made it (``tags`` tell). ``Rejected``: it
        overlaps another reservation or is outside the subnet.
        """
        ...

    async def reservations(self, subnet: SubnetId) -> Sequence[Reservation]:
        """All of a subnet, anybody's, by block. ``NotFound``: no such subnet."""
        ...

    async def unreserve(self, reservation: ReservationId) -> None:
        """Gives a block back to general use; addresses that are in use stay. An absent one is success."""
        ...

    async def close(self) -> None:
        """Lets go of connections and threads."""
        ...
