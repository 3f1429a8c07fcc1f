"""The verbs of ``ProviderDriver`` on EC2: elastic network interfaces with their addresses and prefixes.

Making and removing interfaces is in ``interfaces``, what they have in ``addresses``; here are the verbs of one or two
calls.
"""

import re
from collections.abc import Collection, Mapping, Sequence

from underlay.core.cloud import tags
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
    Reservation,
    Subnet,
    SubnetQuery,
    Use,
)
from underlay.core.cloud.registry import ProviderSettings
from underlay.core.errors import InvalidInput
from underlay.core.identity import InstanceId, InterfaceId, ReservationId, SubnetId
from underlay.core.runtime.sharing import Batch, SingleFlight
from underlay.providers.aws import addresses, convert, errors, interfaces, vpc
from underlay.providers.aws.calls import FILTER_VALUES, Ec2
from underlay.providers.aws.services import SERVICES

_PROVIDER_ID = re.compile(r"aws:///[a-z0-9-]+/(i-[0-9a-f]+)")
_ADDRESS_FILTERS = {4: "addresses.private-ip-address", 6: "ipv6-addresses.ipv6-address"}
_READS_APART_SECONDS = 0.25


class AwsDriver:
    """One account and region of AWS."""

    name = "aws"
    services = SERVICES
    capabilities = Capabilities(
        interfaces=True,
        addresses=True,
        prefixes=True,
        ipv6=True,
        move_address=True,
        security_groups=True,
        reservations=True,
    )

    def __init__(self, settings: ProviderSettings) -> None:
        self._ec2 = Ec2(settings)
        self._clock = settings.gate.clock
        self._subnets = vpc.Subnets(self._ec2, self._clock)
        self._limits: dict[str, Limits] = {}
        self._reading_limits: SingleFlight[str, Limits] = SingleFlight()
        self._single_instances = Batch(
            self._instances_by_id, clock=self._clock, gap_seconds=_READS_APART_SECONDS, most=FILTER_VALUES
        )

    def instance_id(self, provider_id: str) -> InstanceId:
        """``aws:///eu-central-1a/i-0abc`` → ``i-0abc``."""
        if match := _PROVIDER_ID.fullmatch(provider_id):
            return InstanceId(match[1])
        raise InvalidInput("spec.providerID", found=provider_id, expected="aws:///<zone>/i-<hexadecimal digits>")

    async def limits(self, instance_type: str) -> Limits:
        """From DescribeInstanceTypes, once per type."""
        if instance_type not in self._limits:
            limits = await self._reading_limits.get(instance_type, lambda: self._read_limits(instance_type))
            self._limits[instance_type] = limits
        return self._limits[instance_type]

    async def instance(self, instance: InstanceId) -> Instance:
        """By a read that is shared with whoever else asks for one: however many nodes start, 200 cost two calls."""
        if (found := await self._single_instances.get(instance)) is not None:
            return found
        raise errors.not_found("DescribeInstances", "InvalidInstanceID.NotFound", f"{instance} does not exist")

    async def instances(self, ids: Collection[InstanceId]) -> Sequence[Instance]:
        """By id, with their interfaces in as many calls as there are pages."""
        found: list[Instance] = []
        ordered = sorted(ids)
        for start in range(0, len(ordered), FILTER_VALUES):
            found += await self._instances(ordered[start : start + FILTER_VALUES])
        return found

    async def subnets(self, query: SubnetQuery) -> Sequence[Subnet]:
        """See ``vpc``."""
        return await self._subnets.get(query)

    async def create_interface(self, want: InterfaceRequest) -> NetworkInterface:
        """See ``interfaces``. After a definite refusal the token is spent: ask with another one."""
        return await interfaces.create(self._ec2, self._clock, want)

    async def adopt(self, interface: InterfaceId, owner: Owner) -> None:
        """CreateTags."""
        labels = [{"Key": key, "Value": value} for key, value in sorted(tags.of_owner(owner).items())]
        await self._ec2.call("CreateTags", convert.Nothing, Resources=[interface], Tags=labels)

    async def end_with_instance(self, interface: InterfaceId) -> None:
        """See ``interfaces``."""
        await interfaces.end_with_instance(self._ec2, interface)

    async def delete_interface(self, interface: InterfaceId) -> None:
        """See ``interfaces``."""
        await interfaces.delete(self._ec2, self._clock, interface)

    async def assign(self, interface: InterfaceId, want: AddressRequest) -> frozenset[IPAddress | IPNetwork]:
        """See ``addresses``."""
        return await addresses.assign(self._ec2, interface, want)

    async def unassign(self, interface: InterfaceId, items: Collection[IPAddress | IPNetwork]) -> None:
        """See ``addresses``."""
        await addresses.unassign(self._ec2, self._clock, interface, items)

    async def owned(self, owner: Owner) -> Sequence[NetworkInterface]:
        """By tags, by id."""
        enis = await self._ec2.enis({f"tag:{key}": [value] for key, value in tags.of_owner(owner).items()})
        return sorted((convert.interface(eni) for eni in enis), key=lambda item: item.id)

    async def holders(self, subnet: SubnetId, addresses: Collection[IPAddress]) -> Sequence[NetworkInterface]:
        """By address: one call for each family, more when there are many."""
        found: dict[str, NetworkInterface] = {}
        for family, field in _ADDRESS_FILTERS.items():
            asked = sorted(str(address) for address in addresses if address.version == family)
            for start in range(0, len(asked), FILTER_VALUES):
                some = asked[start : start + FILTER_VALUES]
                enis = await self._ec2.enis({"subnet-id": [subnet], field: some})
                found |= {eni.network_interface_id: convert.interface(eni) for eni in enis}
        return [found[id_] for id_ in sorted(found)]

    async def security_groups(self, network: str, tags: Mapping[str, str]) -> tuple[str, ...]:
        """See ``vpc``."""
        return await vpc.security_groups(self._ec2, network, tags)

    async def set_security_groups(self, interface: InterfaceId, groups: Collection[str]) -> None:
        """ModifyNetworkInterfaceAttribute."""
        operation, wanted = "ModifyNetworkInterfaceAttribute", sorted(groups)
        await self._ec2.call(operation, convert.Nothing, NetworkInterfaceId=interface, Groups=wanted)

    async def reserve(self, subnet: SubnetId, cidr: IPNetwork, use: Use, owner: Owner) -> Reservation:
        """See ``vpc``."""
        return await vpc.reserve(self._ec2, self._clock, subnet, cidr, use, owner)

    async def reservations(self, subnet: SubnetId) -> Sequence[Reservation]:
        """See ``vpc``."""
        return await vpc.reservations(self._ec2, subnet)

    async def unreserve(self, reservation: ReservationId) -> None:
        """See ``vpc``."""
        await vpc.unreserve(self._ec2, reservation)

    async def close(self) -> None:
        """Ends connections and threads."""
        await self._ec2.close()

    async def _read_limits(self, instance_type: str) -> Limits:
        reply = await self._ec2.call("DescribeInstanceTypes", convert.TypesReply, InstanceTypes=[instance_type])
        if not reply.instance_types:
            message = f"{instance_type} is no instance type of this region"
            raise errors.not_found("DescribeInstanceTypes", "InvalidInstanceType", message)
        return convert.limits(reply.instance_types[0])

    async def _instances_by_id(self, ids: Sequence[InstanceId]) -> dict[InstanceId, Instance]:
        return {instance.id: instance for instance in await self._instances(ids)}

    async def _instances(self, ids: Sequence[str]) -> list[Instance]:
        pages = await self._ec2.pages("DescribeInstances", convert.ReservationPage, {"instance-id": ids})
        machines = [machine for page in pages for group in page.reservations for machine in group.instances]
        if not machines:
            return []
        enis = await self._ec2.enis({"attachment.instance-id": [machine.instance_id for machine in machines]})
        of: dict[str, list[convert.Eni]] = {}
        for eni in enis:
            of.setdefault(eni.attachment.instance_id if eni.attachment else "", []).append(eni)
        return [convert.instance(machine, of.get(machine.instance_id, [])) for machine in machines]
