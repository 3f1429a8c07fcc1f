"""Making and removing an interface: several EC2 calls each, any of which may be the last before a crash.

Making: create (the client token finds what an earlier attempt made) → addresses by name that EC2 does not take together
with a count → attach → wait until in use → let it end with its instance. Removing: detach → wait → delete. Both look at
what is there rather than remember what they did, and take a NotFound or an old state shortly after a write for EC2's
lag.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256

from underlay.core.cloud import tags
from underlay.core.cloud.errors import (
    Busy,
    CloudError,
    Denied,
    Exhausted,
    LimitReached,
    NoPrefix,
    NotFound,
    Rejected,
)
from underlay.core.cloud.model import InterfaceRequest, InterfaceState, IPAddress, NetworkInterface
from underlay.core.runtime.clock import Clock
from underlay.providers.aws import addresses, convert, errors
from underlay.providers.aws.calls import Ec2

_LAG_SECONDS = 15.0
_CHANGE_SECONDS = 90.0
_FIRST_LOOK_SECONDS = 0.2
_LONGEST_LOOK_SECONDS = 2.0
_INDEX_ATTEMPTS = 3


async def create(ec2: Ec2, clock: Clock, want: InterfaceRequest) -> NetworkInterface:
    """``ProviderDriver.create_interface``."""
    if convert.HANDS_OFF in want.tags.items():
        raise errors.hands_off("CreateNetworkInterface", "=".join(convert.HANDS_OFF))
    later = _with_a_count(want)
    made = await _made(ec2, clock, want, without=later)
    try:
        await _fill(ec2, clock, made, later)
        await _attach(ec2, clock, made, want)
    except (LimitReached, NotFound, Denied, Rejected, _AddressTaken):
        # A definite refusal: nothing would ever use what was made, unless an earlier attempt has attached it: pods may
        # have its addresses by now. Should this look or delete fail, its error goes to the caller, whose next attempt
        # with the same token comes here again.
        with _unfinished():
            there = await _is_attached(ec2, made, want.instance)
            if not there:
                await delete(ec2, clock, made)
        if not there:
            raise
    with _unfinished():
        eni = await _in_use(ec2, clock, made, want.instance)
        if eni.attachment is not None and not eni.attachment.delete_on_termination:
            await _end_with_instance(ec2, eni)
    seen = convert.interface(eni)
    return replace(seen, addresses=seen.addresses | later, ends_with_instance=True)


async def end_with_instance(ec2: Ec2, interface: str) -> None:
    """``ProviderDriver.end_with_instance``."""
    await _end_with_instance(ec2, await ec2.eni(interface))


async def delete(ec2: Ec2, clock: Clock, interface: str) -> None:
    """``ProviderDriver.delete_interface``."""
    detached: set[str] = set()
    async for _ in _looks(clock, _CHANGE_SECONDS):
        try:
            eni = await ec2.eni(interface)
        except NotFound:
            # Reads lag behind a creation; the delete itself is what knows.
            if await _deleted(ec2, interface):
                return
            continue
        if eni.attachment is None or convert.state(eni) is InterfaceState.AVAILABLE:
            if await _deleted(ec2, interface):
                return
        elif eni.attachment.attachment_id not in detached and convert.state(eni) is not InterfaceState.DETACHING:
            detached.add(eni.attachment.attachment_id)
            await _detach(ec2, eni.attachment.attachment_id)
    raise _still_changing("DeleteNetworkInterface", interface, "detached")


async def _end_with_instance(ec2: Ec2, eni: convert.Eni) -> None:
    if eni.attachment is not None:
        await ec2.call(
            "ModifyNetworkInterfaceAttribute",
            convert.Nothing,
            NetworkInterfaceId=eni.network_interface_id,
            Attachment={"AttachmentId": eni.attachment.attachment_id, "DeleteOnTermination": True},
        )


@contextmanager
def _unfinished() -> Iterator[None]:
    """Whatever is refused in here, such as all of it when credentials end, leaves the interface where it is."""
    try:
        yield
    except CloudError as error:
        error.unfinished = True
        raise


class _AddressTaken(Busy):
    """A named address is another interface's."""


def _with_a_count(want: InterfaceRequest) -> frozenset[IPAddress]:
    """Named addresses of a family of which others are asked for by count: EC2 takes one or the other in a request."""
    counted = {kind.family for kind, count in want.wanted.items() if count}
    return frozenset(address for address in want.addresses if address.version in counted)


async def _made(ec2: Ec2, clock: Clock, want: InterfaceRequest, *, without: frozenset[IPAddress]) -> str:
    """The interface of the token: made now or before."""
    labels = {**want.tags, **tags.of_owner(want.owner), tags.INTENT: want.token}
    parameters: dict[str, object] = {
        "ClientToken": sha256(f"{want.owner.cluster} {want.token}".encode()).hexdigest(),
        "SubnetId": want.subnet,
        "Description": want.description,
        "TagSpecifications": [
            {
                "ResourceType": "network-interface",
                "Tags": [{"Key": key, "Value": value} for key, value in sorted(labels.items())],
            },
        ],
    }
    if want.security_groups:
        parameters["Groups"] = list(want.security_groups)
    parameters |= {addresses.COUNTED[kind]: count for kind, count in want.wanted.items() if count}
    named = sorted(want.addresses - without, key=str)
    if ipv4 := [{"PrivateIpAddress": str(address), "Primary": False} for address in named if address.version == 4]:
        parameters["PrivateIpAddresses"] = ipv4
    if ipv6 := [{"Ipv6Address": str(address)} for address in named if address.version == 6]:
        parameters["Ipv6Addresses"] = ipv6
    try:
        reply = await ec2.call("CreateNetworkInterface", convert.CreateReply, **parameters)
    except (Exhausted, NoPrefix) as error:
        prefixes = any(kind.is_prefix for kind, count in want.wanted.items() if count)
        raise addresses.of_subnet(error, want.subnet, prefixes=prefixes) from error
    except Rejected as error:
        # The settings changed since the first attempt; what it made is still what the token stands for.
        if errors.is_token_of_other_request(error) and (found := await _tagged(ec2, clock, want)):
            return found
        raise
    return reply.network_interface.network_interface_id


async def _tagged(ec2: Ec2, clock: Clock, want: InterfaceRequest) -> str | None:
    filters = {f"tag:{tags.INTENT}": [want.token], f"tag:{tags.CLUSTER}": [want.owner.cluster]}
    async for _ in _looks(clock, _LAG_SECONDS):
        if found := await ec2.enis(filters):
            return found[0].network_interface_id
    return None


async def _fill(ec2: Ec2, clock: Clock, interface: str, named: frozenset[IPAddress]) -> None:
    async for _ in _looks(clock, _LAG_SECONDS):
        try:
            await addresses.assign_exactly(ec2, interface, named, reassign=False)
        except NotFound as error:
            if not errors.is_missing_interface(error):
                raise
            missing = error
        except Busy as error:
            if not errors.is_address_taken(error):
                raise
            raise _AddressTaken(
                provider=error.provider,
                operation=error.operation,
                code=error.code,
                message=error.message,
                request_id=error.request_id,
            ) from error
        else:
            return
    raise missing


async def _attach(ec2: Ec2, clock: Clock, interface: str, want: InterfaceRequest) -> None:
    index = want.device_index
    for attempt in range(1, _INDEX_ATTEMPTS + 1):
        try:
            await _attach_at(ec2, clock, interface, want, index)
        except Rejected as error:
            if not errors.is_place_taken(error):
                raise
            eni = await _seen(ec2, clock, interface)
            owner = eni.attachment.instance_id if eni.attachment else ""
            if owner == want.instance:
                return
            if owner or attempt == _INDEX_ATTEMPTS:
                raise
            index = await _free_index(ec2, want)
        else:
            return


async def _attach_at(ec2: Ec2, clock: Clock, interface: str, want: InterfaceRequest, index: int) -> None:
    # Left out where there is but one card.
    card: dict[str, object] = {"NetworkCardIndex": want.network_card} if want.network_card else {}
    async for _ in _looks(clock, _LAG_SECONDS):
        try:
            await ec2.call(
                "AttachNetworkInterface",
                convert.Nothing,
                NetworkInterfaceId=interface,
                InstanceId=want.instance,
                DeviceIndex=index,
                **card,
            )
        except NotFound as error:
            if not errors.is_missing_interface(error):
                raise
            missing = error
        else:
            return
    raise missing


async def _is_attached(ec2: Ec2, interface: str, instance: str) -> bool:
    try:
        eni = await ec2.eni(interface)
    except NotFound:
        return False
    return eni.attachment is not None and eni.attachment.instance_id == instance


async def _in_use(ec2: Ec2, clock: Clock, interface: str, instance: str) -> convert.Eni:
    """Waits until the attachment is complete."""
    async for _ in _looks(clock, _CHANGE_SECONDS):
        eni = await _seen(ec2, clock, interface)
        if convert.state(eni) is InterfaceState.IN_USE and eni.attachment and eni.attachment.instance_id == instance:
            return eni
    raise _still_changing("AttachNetworkInterface", interface, "attached")


async def _seen(ec2: Ec2, clock: Clock, interface: str) -> convert.Eni:
    """The interface by a read that knows it already."""
    async for _ in _looks(clock, _LAG_SECONDS):
        try:
            return await ec2.eni(interface)
        except NotFound as error:
            missing = error
    raise missing


async def _free_index(ec2: Ec2, want: InterfaceRequest) -> int:
    """Each network card counts by itself; index 0 is the primary interface's."""
    taken = {
        eni.attachment.device_index
        for eni in await ec2.enis({"attachment.instance-id": [want.instance]})
        if eni.attachment and eni.attachment.network_card_index == want.network_card
    }
    return next(index for index in range(1, len(taken) + 3) if index not in taken | {want.device_index})


async def _detach(ec2: Ec2, attachment: str) -> None:
    try:
        await ec2.call("DetachNetworkInterface", convert.Nothing, AttachmentId=attachment)
    except (NotFound, Busy):
        return  # detached already, or being so: the next look tells


async def _deleted(ec2: Ec2, interface: str) -> bool:
    try:
        await ec2.call("DeleteNetworkInterface", convert.Nothing, NetworkInterfaceId=interface)
    except NotFound:
        return True
    except Busy:
        return False
    return True


async def _looks(clock: Clock, bound_seconds: float) -> AsyncIterator[int]:
    """A growing pause between looks at something that changes by itself; ends when the bound is over."""
    end, pause, count = clock.monotonic() + bound_seconds, _FIRST_LOOK_SECONDS, 0
    while True:
        yield count
        if clock.monotonic() + pause > end:
            return
        await clock.sleep(pause)
        pause, count = min(pause * 1.6, _LONGEST_LOOK_SECONDS), count + 1


def _still_changing(operation: str, interface: str, state: str) -> CloudError:
    message = f"{interface} was not {state} within {_CHANGE_SECONDS:g} s"
    return Busy(provider=errors.PROVIDER, operation=operation, code="StillChanging", message=message)
