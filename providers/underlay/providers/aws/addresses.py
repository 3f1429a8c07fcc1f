"""What an interface has besides its primary address: single addresses and prefixes of both families.

EC2 takes one kind in a request, so a mixture is several calls. By count they are not repeatable; by name they are made
so: EC2 refuses to add what is there and to take what is not, and then the interface is looked at.
"""

from collections.abc import Collection
from itertools import groupby

from underlay.core.cloud.errors import (
    Busy,
    CloudError,
    Exhausted,
    LimitReached,
    NoPrefix,
    NotFound,
    Rejected,
    UnknownOutcome,
)
from underlay.core.cloud.model import AddressRequest, IPAddress, IPNetwork, Kind, kind_of
from underlay.core.runtime.clock import Clock
from underlay.providers.aws import convert, errors
from underlay.providers.aws.calls import Ec2

Items = frozenset[IPAddress | IPNetwork]

_ASSIGN = {4: "AssignPrivateIpAddresses", 6: "AssignIpv6Addresses"}
_UNASSIGN = {4: "UnassignPrivateIpAddresses", 6: "UnassignIpv6Addresses"}
COUNTED = {
    Kind.IPV4: "SecondaryPrivateIpAddressCount",
    Kind.IPV4_PREFIX: "Ipv4PrefixCount",
    Kind.IPV6: "Ipv6AddressCount",
    Kind.IPV6_PREFIX: "Ipv6PrefixCount",
}
"""How many of a kind, in the requests that create an interface or assign to it."""
_NAMED = {
    Kind.IPV4: "PrivateIpAddresses",
    Kind.IPV4_PREFIX: "Ipv4Prefixes",
    Kind.IPV6: "Ipv6Addresses",
    Kind.IPV6_PREFIX: "Ipv6Prefixes",
}
_LAG_ATTEMPTS = 5
_LAG_FIRST_PAUSE_SECONDS = 0.25


async def assign(ec2: Ec2, interface: str, want: AddressRequest) -> Items:
    """``ProviderDriver.assign``."""
    try:
        if want.addresses:
            return await assign_exactly(ec2, interface, want.addresses, reassign=want.reassign)
        if want.count:
            return await _assign_any(ec2, interface, want.kind, want.count)
    except (Exhausted, NoPrefix) as error:
        found = of_subnet(error, error.subnet or (await ec2.eni(interface)).subnet_id, prefixes=want.kind.is_prefix)
        raise found from error
    return frozenset()


async def unassign(ec2: Ec2, clock: Clock, interface: str, items: Collection[IPAddress | IPNetwork]) -> None:
    """``ProviderDriver.unassign``."""
    for kind, some in groupby(sorted(set(items), key=_order), key=kind_of):
        await _unassign(ec2, clock, interface, kind, frozenset(some))


async def assign_exactly(ec2: Ec2, interface: str, wanted: Collection[IPAddress], *, reassign: bool) -> Items:
    """Named addresses; success if they are there already."""
    for kind, some in groupby(sorted(set(wanted), key=_order), key=kind_of):
        await _assign_named(ec2, interface, kind, frozenset(some), reassign=reassign)
    return frozenset(wanted)


def of_subnet(error: Exhausted | NoPrefix, subnet: str, *, prefixes: bool) -> CloudError:
    """``error`` with the subnet's name. EC2 has one text for a lack of addresses and of prefixes: asked for prefixes,
    it means these.
    """
    if prefixes and errors.is_lack_of_either(error):
        error = NoPrefix(
            provider=error.provider,
            operation=error.operation,
            code=error.code,
            message=error.message,
            request_id=error.request_id,
        )
    error.subnet = subnet
    return error


async def _assign_any(ec2: Ec2, interface: str, kind: Kind, count: int) -> Items:
    operation = _ASSIGN[kind.family]
    reply: type[convert.Assigned] = convert.AssignedIpv4 if kind.family == 4 else convert.AssignedIpv6
    parameters: dict[str, object] = {"NetworkInterfaceId": interface, COUNTED[kind]: count}
    added = (await ec2.call(operation, reply, **parameters)).items
    if len(added) != count or {kind_of(item) for item in added} != {kind}:
        message = f"asked for {count} {kind} of {interface}, the reply names {', '.join(map(str, added)) or 'nothing'}"
        raise UnknownOutcome(provider=errors.PROVIDER, operation=operation, code="MalformedReply", message=message)
    return added


async def _assign_named(ec2: Ec2, interface: str, kind: Kind, wanted: Items, *, reassign: bool) -> None:
    parameters: dict[str, object] = {"NetworkInterfaceId": interface, _NAMED[kind]: sorted(map(str, wanted))}
    if kind is Kind.IPV4:
        parameters["AllowReassignment"] = reassign
    elif reassign:
        await _take_off(ec2, interface, wanted)
    try:
        await ec2.call(_ASSIGN[kind.family], convert.Nothing, **parameters)
    except (Busy, LimitReached, Rejected):
        # EC2 may refuse what is there already, such as after a reply that was lost.
        if wanted <= await _present(ec2, interface):
            return
        raise


async def _take_off(ec2: Ec2, interface: str, wanted: Items) -> None:
    """IPv6 addresses off whichever other interface has them: EC2 cannot move these in one step. In between nobody has
    them, so there never are two owners, and a repeated call goes on from there.
    """
    for eni in await ec2.enis({"ipv6-addresses.ipv6-address": sorted(map(str, wanted))}):
        held = wanted & {item.ipv6_address for item in eni.ipv6_addresses}
        if eni.network_interface_id != interface and held:
            await _unassigned(ec2, eni.network_interface_id, Kind.IPV6, held)


async def _unassign(ec2: Ec2, clock: Clock, interface: str, kind: Kind, going: Items) -> None:
    """EC2 refuses the whole when one is absent: then again without those."""
    for attempt in range(_LAG_ATTEMPTS):
        if not going or await _unassigned(ec2, interface, kind, going):
            return
        present = going & await _present(ec2, interface)
        if present == going:
            # Refused for being absent, and read as present: the read is older.
            await clock.sleep(_LAG_FIRST_PAUSE_SECONDS * 2**attempt)
        going = present
    message = f"{', '.join(sorted(map(str, going)))} of {interface} are refused as absent and read as present"
    operation = _UNASSIGN[kind.family]
    raise Busy(provider=errors.PROVIDER, operation=operation, code="StillChanging", message=message)


async def _unassigned(ec2: Ec2, interface: str, kind: Kind, going: Items) -> bool:
    """False: refused because some of them are absent."""
    parameters: dict[str, object] = {"NetworkInterfaceId": interface, _NAMED[kind]: sorted(map(str, going))}
    try:
        await ec2.call(_UNASSIGN[kind.family], convert.Nothing, **parameters)
    except NotFound:
        return True
    except Rejected as error:
        if not errors.is_not_assigned(error):
            raise
        return False
    return True


async def _present(ec2: Ec2, interface: str) -> Items:
    try:
        seen = convert.interface(await ec2.eni(interface))
    except NotFound:
        return frozenset()
    return seen.addresses | seen.prefixes


def _order(item: IPAddress | IPNetwork) -> str:
    return kind_of(item)
