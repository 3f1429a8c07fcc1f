"""Every changing verb under throttling, denial and silence, and without the lease: it says which of them it was, and
nothing is done twice.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from providers.contract.world import Cloud, addresses_of, impatient, kinds, single, wanted
from underlay.core.cloud import errors
from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.limits import LeaseNotHeld
from underlay.core.cloud.model import AddressRequest, InterfaceState, NetworkInterface, Use

READING = frozenset(
    {"limits", "instance", "instances", "subnets", "owned", "holders", "security_groups", "reservations"}
)
"""Verbs that change nothing."""


@dataclass(frozen=True, slots=True)
class Write:
    """A changing verb with its arguments."""

    verb: str
    arguments: tuple[object, ...]

    async def __call__(self, driver: ProviderDriver) -> object:
        return await getattr(driver, self.verb)(*self.arguments)


def writes(cloud: Cloud, made: NetworkInterface) -> Mapping[str, tuple[str, Write]]:
    """A write of each changing verb and kind, on ``made`` where one is needed, with its first API operation."""
    every: dict[str, tuple[str, Write]] = {}

    def add(name: str, operation: str, verb: str, *arguments: object) -> None:
        every[name] = operation, Write(verb, arguments)

    add("create", cloud.writes["create_interface"][0], "create_interface", wanted(cloud, name="pressed", index=2))
    add("adopt", cloud.writes["adopt"][0], "adopt", made.id, cloud.owner)
    for kind in kinds(cloud):
        add(f"assign {kind}", cloud.assigns[kind], "assign", made.id, AddressRequest(kind=kind, count=1))
    for kind in single(cloud):
        some = frozenset(address for address in made.addresses if address.version == kind.family)
        add(f"unassign {kind}", cloud.unassigns[kind], "unassign", made.id, some)
        named = AddressRequest(kind=kind, addresses=some)
        add(f"assign {kind} by name", cloud.assigns[kind], "assign", made.id, named)
    if cloud.driver.capabilities.security_groups:
        (operation,) = cloud.writes["set_security_groups"]
        add("set groups", operation, "set_security_groups", made.id, cloud.groups)
    if cloud.driver.capabilities.reservations:
        block = (cloud.subnet, cloud.block, Use.PREFIX, cloud.owner)
        add("reserve", cloud.writes["reserve"][0], "reserve", *block)
        add("unreserve", cloud.writes["unreserve"][0], "unreserve", cloud.strange_reservation)
    add("end with instance", cloud.writes["end_with_instance"][0], "end_with_instance", made.id)
    add("delete", cloud.writes["delete_interface"][0], "delete_interface", made.id)
    return every


async def interface_with_all(cloud: Cloud) -> NetworkInterface:
    """One with an address of each family."""
    return await cloud.driver.create_interface(wanted(cloud, kinds=dict.fromkeys(single(cloud), 1)))


class Pressing:
    """Whatever the verb."""

    async def test_every_changing_verb_is_pressed(self, cloud: Cloud) -> None:
        """A verb that is new in the seam is one of those below, or said to change nothing."""
        verbs = {name for name, _ in inspect.getmembers(ProviderDriver, inspect.iscoroutinefunction)} - {"close"}
        made = await interface_with_all(cloud)

        assert {write.verb for _, write in writes(cloud, made).values()} == verbs - READING

    async def test_throttling_is_waited_out(self, cloud: Cloud) -> None:
        """Refusals for too many calls are waited out, whichever verb they hit, and counted."""
        made = await interface_with_all(cloud)
        pressed: dict[str, int] = {}
        for operation, write in writes(cloud, made).values():
            cloud.throttle(operation, 2)
            await write(cloud.driver)
            pressed[operation] = pressed.get(operation, 0) + 2

        assert {
            count.operation: count.throttled for count in cloud.gate.counts() if count.operation in pressed
        } == pressed

    async def test_create_waits_out_throttling_of_each_call(self, cloud: Cloud) -> None:
        """So are those of the later calls of a verb."""
        for operation in cloud.writes["create_interface"]:
            cloud.throttle(operation, 2)
        made = await cloud.driver.create_interface(wanted(cloud))
        throttled = {count.operation: count.throttled for count in cloud.gate.counts()}

        assert made.state is InterfaceState.IN_USE
        assert [throttled[operation] for operation in cloud.writes["create_interface"]] == [2, 2, 2]

    async def test_a_missing_permission_is_named(self, cloud: Cloud) -> None:
        """The denied action is what the administrator is told to allow, whichever verb needs it; nothing is done."""
        made = await interface_with_all(cloud)
        before, blocks = cloud.truth(made.id), cloud.blocks()
        for operation, write in writes(cloud, made).values():
            cloud.deny(operation)
            with pytest.raises(errors.Denied) as caught:
                await write(cloud.driver)
            assert operation in caught.value.permission

        assert cloud.interfaces() == [before]
        assert cloud.blocks() == blocks

    async def test_silence_has_an_unknown_outcome(self, cloud: Cloud) -> None:
        """A write that is never answered ends in time, and nobody claims to know what became of it."""
        made = await interface_with_all(cloud)
        driver = await cloud.another_driver(impatient(cloud))
        for operation, write in writes(cloud, made).values():
            cloud.hang(operation)
            with pytest.raises(errors.UnknownOutcome, match="no answer within"):
                await write(driver)
        await driver.close()

    async def test_no_write_without_the_lease(self, cloud: Cloud) -> None:
        """A process that lost the lease still reads, and changes nothing."""
        made = await interface_with_all(cloud)
        before = cloud.interfaces()
        cloud.lease[0] = False

        assert (await cloud.driver.instance(cloud.instance)).id == cloud.instance
        for _, write in writes(cloud, made).values():
            with pytest.raises(LeaseNotHeld):
                await write(cloud.driver)
        assert cloud.interfaces() == before
        assert cloud.blocks() == {}

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
            assert addresses_of(cloud.truth(made.id).items) == made.addresses
            await cloud.driver.delete_interface(made.id)
