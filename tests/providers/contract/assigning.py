"""assign. By count it is not repeatable: after an unknown outcome the caller compares. By name it is."""

from dataclasses import replace

import pytest

from providers.contract.world import Cloud, addresses_of, counted, kinds, seen, single, wanted
from underlay.core.cloud import errors
from underlay.core.cloud.model import AddressRequest, Kind


class Assigning:
    """Every kind."""

    async def test_assign_by_count(self, cloud: Cloud) -> None:
        """The reply names what was added, and only that, whatever else the interface has."""
        made = await cloud.driver.create_interface(wanted(cloud, count=1))
        has = made.addresses | made.prefixes
        for kind in kinds(cloud):
            added = await cloud.driver.assign(made.id, AddressRequest(kind=kind, count=1))

            assert counted(added) == {kind: 1}
            assert not added & has
            has |= added
            assert cloud.truth(made.id).items == has
        await seen(cloud, made.id, has)

    async def test_a_lost_assignment_is_found_by_comparing(self, cloud: Cloud) -> None:
        """By count an assignment is not repeated: its outcome is unknown, and what is new is what it added."""
        made = await cloud.driver.create_interface(wanted(cloud, kinds={}))
        for kind in kinds(cloud):
            before = cloud.truth(made.id).items
            cloud.lose_reply(cloud.assigns[kind])
            with pytest.raises(errors.UnknownOutcome, match=cloud.assigns[kind]):
                await cloud.driver.assign(made.id, AddressRequest(kind=kind, count=2))
            now = cloud.truth(made.id).items

            assert counted(now - before) == {kind: 2}
            await seen(cloud, made.id, now)
            await cloud.driver.unassign(made.id, now)

    async def test_assign_beyond_a_limit(self, cloud: Cloud) -> None:
        """A full interface says so; nothing was added. A prefix takes the place of an address."""
        made = await cloud.driver.create_interface(wanted(cloud, count=1))
        for kind in kinds(cloud):
            per = cloud.limits.ipv4_per_interface if kind.family == 4 else cloud.limits.ipv6_per_interface
            with pytest.raises(errors.LimitReached) as caught:
                await cloud.driver.assign(made.id, AddressRequest(kind=kind, count=per + 1))

            assert caught.value.what == "interface"
            assert cloud.truth(made.id).items == made.addresses

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

    async def test_assign_a_prefix_where_there_is_no_block(self, cloud: Cloud) -> None:
        """That is not an empty subnet: it is named as one without a block, and gives single addresses."""
        if Kind.IPV4_PREFIX in kinds(cloud):
            made = await cloud.driver.create_interface(replace(wanted(cloud, count=1), subnet=cloud.tiny))
            with pytest.raises(errors.NoPrefix) as caught:
                await cloud.driver.assign(made.id, AddressRequest(kind=Kind.IPV4_PREFIX, count=1))

            assert caught.value.subnet == cloud.tiny
            assert len(await cloud.driver.assign(made.id, AddressRequest(count=1))) == 1

    async def test_assign_to_what_does_not_exist(self, cloud: Cloud) -> None:
        """An unknown interface is not found."""
        for kind in kinds(cloud):
            with pytest.raises(errors.NotFound):
                await cloud.driver.assign(cloud.strange_interface, AddressRequest(kind=kind, count=1))

    async def test_assign_nothing(self, cloud: Cloud) -> None:
        """Nothing asked for is nothing done."""
        made = await cloud.driver.create_interface(wanted(cloud, count=1))

        assert await cloud.driver.assign(made.id, AddressRequest()) == frozenset()
        assert cloud.truth(made.id).items == made.addresses

    async def test_assign_exactly_may_be_repeated(self, cloud: Cloud) -> None:
        """Named addresses are assigned; a second time, or after a lost reply, it is success again."""
        for number, kind in enumerate(single(cloud)):
            made = await cloud.driver.create_interface(wanted(cloud, name=f"named-{number}", kinds={kind: 1}))
            taken = addresses_of(await cloud.driver.assign(made.id, AddressRequest(kind=kind, count=1)))
            await cloud.driver.unassign(made.id, taken)
            want = AddressRequest(kind=kind, addresses=taken)
            cloud.lose_reply(cloud.assigns[kind])
            with pytest.raises(errors.UnknownOutcome, match=cloud.assigns[kind]):
                await cloud.driver.assign(made.id, want)
            await seen(cloud, made.id, made.addresses | taken)

            assert await cloud.driver.assign(made.id, want) == taken
            assert await cloud.driver.assign(made.id, replace(want, reassign=True)) == taken
            assert cloud.truth(made.id).items == made.addresses | taken
            await cloud.driver.delete_interface(made.id)

    async def test_an_address_of_another_interface(self, cloud: Cloud) -> None:
        """It is refused as in use, and moves only when reassigning is asked for."""
        for number, kind in enumerate(single(cloud)):
            first = await cloud.driver.create_interface(wanted(cloud, name=f"first-{number}", kinds={kind: 2}))
            second = await cloud.driver.create_interface(
                wanted(cloud, name=f"second-{number}", kinds={kind: 1}, index=2)
            )
            await seen(cloud, second.id, second.addresses)
            stays, *others = sorted(addresses_of(first.addresses), key=str)
            taken = frozenset(others)
            with pytest.raises(errors.Busy):
                await cloud.driver.assign(second.id, AddressRequest(kind=kind, addresses=taken))

            if cloud.driver.capabilities.move_address:
                want = AddressRequest(kind=kind, addresses=taken, reassign=True)
                assert await cloud.driver.assign(second.id, want) == taken
                now = {item.id: item.items for item in cloud.interfaces()}
                assert now == {first.id: {stays}, second.id: second.addresses | taken}
            await cloud.driver.delete_interface(first.id)
            await cloud.driver.delete_interface(second.id)

    async def test_reassigning_survives_a_lost_reply(self, cloud: Cloud) -> None:
        """Whichever call's reply is lost, the same request again ends with the address where it was asked for."""
        if not cloud.driver.capabilities.move_address:
            return
        calls = [(kind, operation) for kind in single(cloud) for operation in cloud.moves[kind]]
        for number, (kind, operation) in enumerate(calls):
            first = await cloud.driver.create_interface(wanted(cloud, name=f"first-{number}", kinds={kind: 1}))
            second = await cloud.driver.create_interface(wanted(cloud, name=f"second-{number}", kinds={}, index=2))
            await seen(cloud, first.id, first.addresses)
            want = AddressRequest(kind=kind, addresses=addresses_of(first.addresses), reassign=True)
            cloud.lose_reply(operation)
            with pytest.raises(errors.UnknownOutcome, match=operation):
                await cloud.driver.assign(second.id, want)

            assert await cloud.driver.assign(second.id, want) == want.addresses
            now = {item.id: item.items for item in cloud.interfaces()}
            assert now == {first.id: frozenset(), second.id: want.addresses}
            await cloud.driver.delete_interface(first.id)
            await cloud.driver.delete_interface(second.id)
