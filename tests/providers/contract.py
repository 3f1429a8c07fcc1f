"""The contract of ``ProviderDriver``, verb by verb, with its retry contract. Every driver passes it against its
cloud's simulator.

A driver's own test file gives the fixture ``cloud`` and inherits ``DriverContract``.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address
from typing import Protocol

import pytest

from underlay.core.cloud import errors, tags
from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.limits import CallGate, LeaseNotHeld
from underlay.core.cloud.model import (
    AddressRequest,
    Instance,
    InstanceState,
    InterfaceRequest,
    InterfaceState,
    IPAddress,
    Kind,
    Limits,
    NetworkInterface,
    Owner,
    SubnetQuery,
)
from underlay.core.errors import InvalidInput
from underlay.core.identity import InstanceId, InterfaceId, SubnetId


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """An interface as the cloud's owner knows it, without lag."""

    id: str
    addresses: frozenset[IPAddress]
    tags: Mapping[str, str]
    instance: str
    ends_with_instance: bool


class Cloud(Protocol):
    """A simulated cloud of a test's own: an instance with its primary interface, subnets in its zone, and its faults.

    ``owner`` owns nothing yet, ``instance`` has room for ``limits``, ``subnet`` for hundreds, ``tiny`` for
    ``tiny_free``. ``writes``: the API operations of each changing verb, in order. ``strangers`` are ids of things that
    never existed.
    """

    driver: ProviderDriver
    gate: CallGate
    lease: list[bool]
    provider_id: str
    instance: InstanceId
    owner: Owner
    type: str
    limits: Limits
    network: str
    zone: str
    subnet: SubnetId
    tiny: SubnetId
    tiny_free: int
    writes: Mapping[str, Sequence[str]]
    strange_instance: InstanceId
    strange_subnet: SubnetId
    strange_interface: InterfaceId
    strange_provider_ids: Sequence[str]

    def interfaces(self) -> list[Truth]:
        """All but primary interfaces of the account, as they really are."""
        ...

    def lose_reply(self, operation: str) -> None:
        """The next such call takes effect and is not answered."""
        ...

    def throttle(self, operation: str, times: int) -> None:
        """The next calls are refused for their number."""
        ...

    def deny(self, operation: str) -> None:
        """Takes the permission for the operation from the driver's credentials."""
        ...

    async def terminate(self) -> None:
        """Ends the instance."""
        ...


def wanted(cloud: Cloud, *, name: str = "one", count: int = 2, index: int = 1) -> InterfaceRequest:
    """A request whose token is this test's own for each ``name``."""
    return InterfaceRequest(
        token=f"{cloud.instance} {name}",
        instance=cloud.instance,
        device_index=index,
        subnet=cloud.subnet,
        security_groups=(),
        wanted={Kind.IPV4: count},
        owner=cloud.owner,
        description="underlay: pods of node n",
        tags={"team": "blue"},
    )


async def seen(cloud: Cloud, interface: str, addresses: Collection[IPAddress]) -> Instance:
    """The instance by a read that has caught up with ``addresses``."""
    async with asyncio.timeout(20):
        while True:
            instance = await cloud.driver.instance(cloud.instance)
            if any(item.id == interface and item.addresses == addresses for item in instance.interfaces):
                return instance


async def address_elsewhere(cloud: Cloud) -> tuple[NetworkInterface, NetworkInterface, frozenset[IPAddress]]:
    """Two interfaces and one secondary address of the first."""
    first = await cloud.driver.create_interface(wanted(cloud, name="first", count=1))
    second = await cloud.driver.create_interface(wanted(cloud, name="second", count=1, index=2))
    return first, second, first.addresses


class DriverContract:
    """Verb by verb."""

    def test_instance_id(self, cloud: Cloud) -> None:
        """A node's providerID names its instance; another cloud's is refused by the field's name."""
        assert cloud.driver.instance_id(cloud.provider_id) == cloud.instance
        for text in cloud.strange_provider_ids:
            with pytest.raises(InvalidInput, match=r"spec\.providerID"):
                cloud.driver.instance_id(text)

    async def test_limits(self, cloud: Cloud) -> None:
        """A type's limits are what the cloud publishes, asked once; an unknown type is not found."""
        assert await cloud.driver.limits(cloud.type) == cloud.limits
        asked = sum(count.calls for count in cloud.gate.counts())
        await cloud.driver.limits(cloud.type)

        assert sum(count.calls for count in cloud.gate.counts()) == asked
        with pytest.raises(errors.NotFound):
            await cloud.driver.limits("x9.imaginary")

    async def test_instance(self, cloud: Cloud) -> None:
        """An instance is read with its primary interface, its state and where it is."""
        found = await cloud.driver.instance(cloud.instance)
        (primary,) = found.interfaces

        assert (found.id, found.type) == (cloud.instance, cloud.type)
        assert (found.zone, found.network) == (cloud.zone, cloud.network)
        assert found.state is InstanceState.RUNNING
        assert primary.primary
        assert primary.device_index == 0
        assert primary.state is InterfaceState.IN_USE
        assert primary.mac == primary.mac.lower()
        assert primary.addresses == frozenset()

    async def test_unknown_instance(self, cloud: Cloud) -> None:
        """An instance that does not exist is not found alone, and left out among others."""
        with pytest.raises(errors.NotFound, match=cloud.strange_instance):
            await cloud.driver.instance(cloud.strange_instance)

        found = await cloud.driver.instances([cloud.strange_instance, cloud.instance])

        assert [item.id for item in found] == [cloud.instance]
        assert await cloud.driver.instances([]) == []

    async def test_an_ended_instance_says_so(self, cloud: Cloud) -> None:
        """After the instance ended it is gone, by its state or by not being found, and so is what was made for it."""
        await cloud.driver.create_interface(wanted(cloud))
        await cloud.terminate()

        async with asyncio.timeout(20):
            while True:
                try:
                    if (await cloud.driver.instance(cloud.instance)).state is InstanceState.GONE:
                        break
                except errors.NotFound:
                    break

        assert cloud.interfaces() == []

    async def test_subnets(self, cloud: Cloud) -> None:
        """Subnets are found by id and by place, with gateway and free addresses, in the order of their ids."""
        by_id = await cloud.driver.subnets(SubnetQuery(ids=(cloud.tiny, cloud.subnet), tags={}))
        by_place = await cloud.driver.subnets(SubnetQuery(network=cloud.network, zone=cloud.zone, tags={}))
        tiny = next(item for item in by_id if item.id == cloud.tiny)

        assert [item.id for item in by_id] == sorted([cloud.tiny, cloud.subnet])
        assert list(by_place) == list(by_id)
        assert (tiny.zone, tiny.network, tiny.free) == (cloud.zone, cloud.network, cloud.tiny_free)
        assert [gateway in cidr for gateway, cidr in zip(tiny.gateways, tiny.cidrs, strict=True)] == [True]

    async def test_unknown_subnet(self, cloud: Cloud) -> None:
        """A subnet id that does not exist is named."""
        with pytest.raises(errors.NotFound, match=cloud.strange_subnet):
            await cloud.driver.subnets(SubnetQuery(ids=(cloud.subnet, cloud.strange_subnet), tags={}))

    async def test_create(self, cloud: Cloud) -> None:
        """A created interface is in use, has its addresses and tags, and ends with its instance."""
        made = await cloud.driver.create_interface(wanted(cloud, count=3))
        (truth,) = cloud.interfaces()

        assert made.state is InterfaceState.IN_USE
        assert (made.instance, made.subnet, made.device_index, made.primary) == (cloud.instance, cloud.subnet, 1, False)
        assert made.mac == made.mac.lower()
        assert len(made.addresses) == 3
        assert made.primary_address not in made.addresses
        assert made.addresses == truth.addresses
        assert made.tags.items() >= {"team": "blue", **tags.of_owner(cloud.owner)}.items()
        assert truth.instance == cloud.instance
        assert truth.ends_with_instance
        assert made in (await seen(cloud, made.id, made.addresses)).interfaces

    async def test_create_again_finds_the_first(self, cloud: Cloud) -> None:
        """The same token, at once or later, makes nothing new."""
        first = await cloud.driver.create_interface(wanted(cloud))
        second = await cloud.driver.create_interface(wanted(cloud))

        assert second == first
        assert len(cloud.interfaces()) == 1

    async def test_create_again_with_other_settings_finds_the_first(self, cloud: Cloud) -> None:
        """A token stands for what it made, even if the provider's settings were changed in between."""
        first = await cloud.driver.create_interface(wanted(cloud))
        await seen(cloud, first.id, first.addresses)
        second = await cloud.driver.create_interface(
            replace(wanted(cloud), description="changed", tags={}, device_index=2)
        )

        assert second.id == first.id
        assert len(cloud.interfaces()) == 1

    async def test_create_survives_a_lost_reply_of_each_call(self, cloud: Cloud) -> None:
        """Whichever reply is lost, the outcome is unknown; the same call again leaves one whole interface."""
        for number, operation in enumerate(cloud.writes["create_interface"]):
            want = wanted(cloud, name=f"lost-{number}")
            cloud.lose_reply(operation)
            with pytest.raises(errors.UnknownOutcome, match=operation):
                await cloud.driver.create_interface(want)
            made = await cloud.driver.create_interface(want)
            (truth,) = cloud.interfaces()

            assert made.id == truth.id
            assert truth.instance == cloud.instance
            assert truth.ends_with_instance
            assert len(truth.addresses) == want.wanted[Kind.IPV4]
            await cloud.driver.delete_interface(made.id)

    async def test_create_waits_out_throttling(self, cloud: Cloud) -> None:
        """Refusals for too many calls are waited out, whichever call they hit, and counted."""
        for operation in cloud.writes["create_interface"]:
            cloud.throttle(operation, 2)
        made = await cloud.driver.create_interface(wanted(cloud))
        throttled = {count.operation: count.throttled for count in cloud.gate.counts()}

        assert made.state is InterfaceState.IN_USE
        assert [throttled[operation] for operation in cloud.writes["create_interface"]] == [2, 2, 2]

    async def test_create_in_an_exhausted_subnet_makes_nothing(self, cloud: Cloud) -> None:
        """Too few free addresses: the subnet is named, nothing was made."""
        most = cloud.limits.ipv4_per_interface - 1
        held = await cloud.driver.create_interface(replace(wanted(cloud, count=most), subnet=cloud.tiny))
        more = replace(wanted(cloud, name="more", count=cloud.tiny_free, index=2), subnet=cloud.tiny)
        with pytest.raises(errors.Exhausted) as caught:
            await cloud.driver.create_interface(more)

        assert caught.value.subnet == cloud.tiny
        assert [item.id for item in cloud.interfaces()] == [held.id]

    async def test_create_beyond_the_instances_limit_leaves_nothing(self, cloud: Cloud) -> None:
        """One interface too many: the limit is named, what was made is deleted again."""
        for index in range(1, cloud.limits.interfaces):
            await cloud.driver.create_interface(wanted(cloud, name=f"fits-{index}", index=index))
        with pytest.raises(errors.LimitReached) as caught:
            await cloud.driver.create_interface(wanted(cloud, name="too many", index=cloud.limits.interfaces))

        assert caught.value.what == "instance"
        assert len(cloud.interfaces()) == cloud.limits.interfaces - 1

    async def test_create_at_an_index_somebody_took(self, cloud: Cloud) -> None:
        """If the index was taken in the meantime, another one is used."""
        first = await cloud.driver.create_interface(wanted(cloud, name="first"))
        await seen(cloud, first.id, first.addresses)
        second = await cloud.driver.create_interface(wanted(cloud, name="second"))

        assert (first.device_index, second.device_index) == (1, 2)

    async def test_create_for_what_does_not_exist(self, cloud: Cloud) -> None:
        """An unknown subnet or instance is not found, and nothing is left behind."""
        with pytest.raises(errors.NotFound):
            await cloud.driver.create_interface(replace(wanted(cloud), subnet=cloud.strange_subnet))
        with pytest.raises(errors.NotFound):
            await cloud.driver.create_interface(replace(wanted(cloud, name="other"), instance=cloud.strange_instance))

        assert cloud.interfaces() == []

    async def test_delete(self, cloud: Cloud) -> None:
        """An attached interface is detached and deleted; deleting it again, or one that never was, is success."""
        made = await cloud.driver.create_interface(wanted(cloud))
        await cloud.driver.delete_interface(made.id)

        assert cloud.interfaces() == []
        await cloud.driver.delete_interface(made.id)
        await cloud.driver.delete_interface(cloud.strange_interface)

    async def test_delete_survives_a_lost_reply_of_each_call(self, cloud: Cloud) -> None:
        """Whichever reply is lost, the same call again ends with the interface gone."""
        for number, operation in enumerate(cloud.writes["delete_interface"]):
            made = await cloud.driver.create_interface(wanted(cloud, name=f"lost-{number}"))
            cloud.lose_reply(operation)
            with pytest.raises(errors.UnknownOutcome, match=operation):
                await cloud.driver.delete_interface(made.id)
            await cloud.driver.delete_interface(made.id)

            assert cloud.interfaces() == []

    async def test_assign_by_count(self, cloud: Cloud) -> None:
        """The reply names what was added, and only that."""
        made = await cloud.driver.create_interface(wanted(cloud, count=1))
        added = await cloud.driver.assign(made.id, AddressRequest(count=2))

        assert len(added) == 2
        assert not added & made.addresses
        assert cloud.interfaces()[0].addresses == made.addresses | added

    async def test_a_lost_assignment_is_found_by_comparing(self, cloud: Cloud) -> None:
        """By count an assignment is not repeated: its outcome is unknown, and what is new is what it added."""
        made = await cloud.driver.create_interface(wanted(cloud, count=1))
        for operation in cloud.writes["assign"]:
            cloud.lose_reply(operation)
            with pytest.raises(errors.UnknownOutcome, match=operation):
                await cloud.driver.assign(made.id, AddressRequest(count=2))
        now = cloud.interfaces()[0].addresses

        assert len(now - made.addresses) == 2
        await seen(cloud, made.id, now)

    async def test_assign_beyond_a_limit(self, cloud: Cloud) -> None:
        """A full interface says so; nothing was added."""
        made = await cloud.driver.create_interface(wanted(cloud, count=1))
        with pytest.raises(errors.LimitReached) as caught:
            await cloud.driver.assign(made.id, AddressRequest(count=cloud.limits.ipv4_per_interface))

        assert caught.value.what == "interface"
        assert cloud.interfaces()[0].addresses == made.addresses

    async def test_assign_from_an_exhausted_subnet(self, cloud: Cloud) -> None:
        """An empty subnet is named by its id."""
        most = cloud.limits.ipv4_per_interface - 1
        await cloud.driver.create_interface(replace(wanted(cloud, name="first", count=most), subnet=cloud.tiny))
        left = cloud.tiny_free - 1 - most - 1
        second = replace(wanted(cloud, name="second", count=left - 1, index=2), subnet=cloud.tiny)
        made = await cloud.driver.create_interface(second)
        with pytest.raises(errors.Exhausted) as caught:
            await cloud.driver.assign(made.id, AddressRequest(count=2))

        assert caught.value.subnet == cloud.tiny

    async def test_assign_to_what_does_not_exist(self, cloud: Cloud) -> None:
        """An unknown interface is not found."""
        with pytest.raises(errors.NotFound):
            await cloud.driver.assign(cloud.strange_interface, AddressRequest(count=1))

    async def test_assign_exactly_may_be_repeated(self, cloud: Cloud) -> None:
        """Named addresses are assigned; a second time, or after a lost reply, it is success again."""
        made = await cloud.driver.create_interface(wanted(cloud, count=1))
        given = await cloud.driver.assign(made.id, AddressRequest(count=1))
        taken = frozenset(item for item in given if isinstance(item, IPv4Address))
        await cloud.driver.unassign(made.id, taken)
        want = AddressRequest(addresses=taken)
        for operation in cloud.writes["assign"]:
            cloud.lose_reply(operation)
            with pytest.raises(errors.UnknownOutcome, match=operation):
                await cloud.driver.assign(made.id, want)
        await seen(cloud, made.id, made.addresses | taken)

        assert await cloud.driver.assign(made.id, want) == taken
        assert cloud.interfaces()[0].addresses == made.addresses | taken

    async def test_an_address_of_another_interface(self, cloud: Cloud) -> None:
        """It is refused as in use, and moves only when reassigning is asked for."""
        first, second, taken = await address_elsewhere(cloud)
        with pytest.raises(errors.Busy):
            await cloud.driver.assign(second.id, AddressRequest(addresses=taken))

        if cloud.driver.capabilities.move_address:
            assert await cloud.driver.assign(second.id, AddressRequest(addresses=taken, reassign=True)) == taken
            now = {item.id: item.addresses for item in cloud.interfaces()}
            assert now == {first.id: frozenset(), second.id: second.addresses | taken}

    async def test_unassign(self, cloud: Cloud) -> None:
        """Addresses go; those that are not there, or an interface that is not, are success."""
        made = await cloud.driver.create_interface(wanted(cloud, count=3))
        one, two, three = sorted(made.addresses)
        await cloud.driver.unassign(made.id, [one])
        await cloud.driver.unassign(made.id, [one])
        await cloud.driver.unassign(made.id, [one, two])
        await cloud.driver.unassign(made.id, [])
        await cloud.driver.unassign(cloud.strange_interface, [ip_address("10.0.0.77")])

        assert cloud.interfaces()[0].addresses == {three}

    async def test_unassign_survives_a_lost_reply(self, cloud: Cloud) -> None:
        """The same call again is success, even while reads still show the addresses."""
        made = await cloud.driver.create_interface(wanted(cloud, count=2))
        for operation in cloud.writes["unassign"]:
            cloud.lose_reply(operation)
            with pytest.raises(errors.UnknownOutcome, match=operation):
                await cloud.driver.unassign(made.id, made.addresses)
        await cloud.driver.unassign(made.id, made.addresses)

        assert cloud.interfaces()[0].addresses == frozenset()

    async def test_owned(self, cloud: Cloud) -> None:
        """Interfaces are found by cluster, and by node, and no others are."""
        made = await cloud.driver.create_interface(wanted(cloud))
        other = replace(wanted(cloud, name="other", index=2), owner=replace(cloud.owner, cluster="another"))
        await cloud.driver.create_interface(other)
        await seen(cloud, made.id, made.addresses)

        assert [item.id for item in await cloud.driver.owned(Owner(cluster=cloud.owner.cluster))] == [made.id]
        assert [item.id for item in await cloud.driver.owned(cloud.owner)] == [made.id]
        assert await cloud.driver.owned(Owner(cluster=cloud.owner.cluster, node="another")) == []

    async def test_a_missing_permission_is_named(self, cloud: Cloud) -> None:
        """The first denied action of a verb is what the administrator is told to allow."""
        (operation,) = cloud.writes["assign"]
        cloud.deny(operation)
        made = await cloud.driver.create_interface(wanted(cloud))
        with pytest.raises(errors.Denied) as caught:
            await cloud.driver.assign(made.id, AddressRequest(count=1))

        assert operation in caught.value.permission

    async def test_no_write_without_the_lease(self, cloud: Cloud) -> None:
        """A process that lost the lease still reads, and changes nothing."""
        cloud.lease[0] = False

        assert (await cloud.driver.instance(cloud.instance)).id == cloud.instance
        with pytest.raises(LeaseNotHeld):
            await cloud.driver.create_interface(wanted(cloud))
        assert cloud.interfaces() == []

    async def test_losing_the_lease_half_way_is_recoverable(self, cloud: Cloud) -> None:
        """Whatever call of a creation was the last before the lease was lost, the next leader finishes with the same
        token.
        """
        for number, operation in enumerate(cloud.writes["create_interface"]):
            want = wanted(cloud, name=f"half-{number}")
            cloud.lose_reply(operation)
            with pytest.raises(errors.UnknownOutcome):
                await cloud.driver.create_interface(want)
            cloud.lease[0] = False
            with pytest.raises(LeaseNotHeld):
                await cloud.driver.create_interface(want)
            cloud.lease[0] = True
            made = await cloud.driver.create_interface(want)

            assert [item.id for item in cloud.interfaces()] == [made.id]
            await cloud.driver.delete_interface(made.id)
