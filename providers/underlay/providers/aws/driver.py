"""The verbs of ``ProviderDriver`` on EC2: secondary IPv4 addresses of elastic network interfaces.

Making and removing interfaces is in ``interfaces``; here are the verbs of one or two calls.
"""

import re
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address

from underlay.core.cloud import tags
from underlay.core.cloud.errors import Busy, Exhausted, LimitReached, NotFound, Rejected, UnknownOutcome
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
from underlay.core.cloud.registry import ProviderSettings
from underlay.core.errors import InvalidInput
from underlay.core.identity import InstanceId, InterfaceId
from underlay.core.runtime.sharing import Batch, SingleFlight
from underlay.providers.aws import convert, errors, interfaces
from underlay.providers.aws.calls import FILTER_VALUES, Ec2

_PROVIDER_ID = re.compile(r"aws:///[a-z0-9-]+/(i-[0-9a-f]+)")
_READS_APART_SECONDS = 0.25
_LAG_ATTEMPTS = 5
_LAG_FIRST_PAUSE_SECONDS = 0.25


class AwsDriver:
    """One account and region of AWS."""

    name = "aws"
    capabilities = Capabilities(interfaces=True, addresses=True, move_address=True)

    def __init__(self, settings: ProviderSettings) -> None:
        self._ec2 = Ec2(settings)
        self._clock = settings.gate.clock
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
        """By id; IPv4 blocks only."""
        filters = {f"tag:{key}": [value] for key, value in query.tags.items()}
        if query.ids:
            filters["subnet-id"] = list(query.ids)
        if query.network:
            filters["vpc-id"] = [query.network]
        if query.zone:
            filters["availability-zone"] = [query.zone]
        pages = await self._ec2.pages("DescribeSubnets", convert.SubnetPage, filters)
        found = sorted((convert.subnet(item) for page in pages for item in page.subnets), key=lambda item: item.id)
        if missing := sorted(set(query.ids) - {item.id for item in found}):
            message = f"{', '.join(missing)} {'does' if len(missing) == 1 else 'do'} not exist or not match the query"
            raise errors.not_found("DescribeSubnets", "InvalidSubnetID.NotFound", message)
        return found

    async def create_interface(self, want: InterfaceRequest) -> NetworkInterface:
        """See ``interfaces``. After a definite refusal the token is spent: ask with another one."""
        return await interfaces.create(self._ec2, self._clock, want)

    async def delete_interface(self, interface: InterfaceId) -> None:
        """See ``interfaces``."""
        await interfaces.delete(self._ec2, self._clock, interface)

    async def assign(self, interface: InterfaceId, want: AddressRequest) -> frozenset[IPAddress | IPNetwork]:
        """AssignPrivateIpAddresses; by address it may be repeated."""
        try:
            if want.addresses:
                return await self._assign_exactly(interface, want)
            if want.count:
                return await self._assign_any(interface, want.count)
        except Exhausted as error:
            error.subnet = error.subnet or (await self._ec2.eni(interface)).subnet_id
            raise
        return frozenset()

    async def unassign(self, interface: InterfaceId, items: Collection[IPAddress | IPNetwork]) -> None:
        """UnassignPrivateIpAddresses, which refuses the whole when one is absent: then again without those."""
        going: frozenset[IPAddress] = frozenset(item for item in items if isinstance(item, IPv4Address))
        if len(going) < len(set(items)):
            raise _unsupported("UnassignPrivateIpAddresses", "only IPv4 addresses can be unassigned")
        for attempt in range(_LAG_ATTEMPTS):
            if not going or await self._unassigned(interface, going):
                return
            present = going & await self._addresses(interface)
            if present == going:
                # Refused for being absent, and read as present: the read is older.
                await self._clock.sleep(_LAG_FIRST_PAUSE_SECONDS * 2**attempt)
            going = present
        message = f"{', '.join(sorted(map(str, going)))} of {interface} are refused as absent and read as present"
        raise Busy(
            provider=errors.PROVIDER, operation="UnassignPrivateIpAddresses", code="StillChanging", message=message
        )

    async def owned(self, owner: Owner) -> Sequence[NetworkInterface]:
        """By tags, by id."""
        enis = await self._ec2.enis({f"tag:{key}": [value] for key, value in tags.of_owner(owner).items()})
        return sorted((convert.interface(eni) for eni in enis), key=lambda item: item.id)

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

    async def _assign_any(self, interface: str, count: int) -> frozenset[IPAddress | IPNetwork]:
        operation = "AssignPrivateIpAddresses"
        reply = await self._ec2.call(
            operation,
            convert.AssignReply,
            NetworkInterfaceId=interface,
            SecondaryPrivateIpAddressCount=count,
        )
        added = frozenset[IPAddress | IPNetwork](
            item.private_ip_address for item in reply.assigned_private_ip_addresses
        )
        if len(added) != count:
            message = f"asked for {count} addresses of {interface}, the reply names {len(added)}"
            raise UnknownOutcome(provider=errors.PROVIDER, operation=operation, code="MalformedReply", message=message)
        return added

    async def _assign_exactly(self, interface: str, want: AddressRequest) -> frozenset[IPAddress | IPNetwork]:
        try:
            await self._ec2.call(
                "AssignPrivateIpAddresses",
                convert.Nothing,
                NetworkInterfaceId=interface,
                PrivateIpAddresses=sorted(map(str, want.addresses)),
                AllowReassignment=want.reassign,
            )
        except (Busy, LimitReached, Rejected):
            # EC2 may refuse what is there already, such as after a reply that was lost.
            if want.addresses <= await self._addresses(interface):
                return want.addresses
            raise
        return want.addresses

    async def _unassigned(self, interface: str, addresses: frozenset[IPAddress]) -> bool:
        """False: refused because some of them are absent."""
        try:
            await self._ec2.call(
                "UnassignPrivateIpAddresses",
                convert.Nothing,
                NetworkInterfaceId=interface,
                PrivateIpAddresses=sorted(map(str, addresses)),
            )
        except NotFound:
            return True
        except Rejected as error:
            if not errors.is_not_assigned(error):
                raise
            return False
        return True

    async def _addresses(self, interface: str) -> frozenset[IPAddress]:
        try:
            return convert.interface(await self._ec2.eni(interface)).addresses
        except NotFound:
            return frozenset()


def _unsupported(operation: str, message: str) -> Rejected:
    return Rejected(provider=errors.PROVIDER, operation=operation, code="NotSupported", message=message)
