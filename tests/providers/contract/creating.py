"""create_interface. Repeated with the same token it carries on with what the first call made."""

from dataclasses import replace

import pytest

from providers.contract.world import Cloud, addresses_of, counted, mixtures, seen, single, wanted
from underlay.core.cloud import errors, tags
from underlay.core.cloud.model import AddressRequest, InterfaceState


class Creating:
    """Whatever happens in between, one whole interface is there in the end, or none."""

    async def test_create(self, cloud: Cloud) -> None:
        """A created interface is in use, has its addresses and tags, and ends with its instance."""
        made = await cloud.driver.create_interface(wanted(cloud, count=3))
        (there,) = cloud.interfaces()

        assert made.state is InterfaceState.IN_USE
        assert (made.instance, made.subnet, made.device_index, made.primary) == (cloud.instance, cloud.subnet, 1, False)
        assert made.mac == made.mac.lower()
        assert len(made.addresses) == 3
        assert made.primary_address not in made.addresses
        assert made.addresses == there.items
        assert made.tags.items() >= {"team": "blue", **tags.of_owner(cloud.owner)}.items()
        assert there.instance == cloud.instance
        assert there.ends_with_instance
        assert made in (await seen(cloud, made.id, made.addresses)).interfaces

    async def test_create_with_every_mixture(self, cloud: Cloud) -> None:
        """One kind of each family can be asked for together: the interface has just so many of each."""
        for number, kinds in enumerate(mixtures(cloud)):
            made = await cloud.driver.create_interface(wanted(cloud, name=f"mixture-{number}", kinds=kinds))
            there = cloud.truth(made.id)

            assert counted(made.addresses | made.prefixes) == kinds
            assert made.addresses | made.prefixes == there.items
            await cloud.driver.delete_interface(made.id)

    async def test_create_with_named_addresses(self, cloud: Cloud) -> None:
        """Addresses by name come with the interface, alone or beside others by count, and again with the token."""
        for number, kind in enumerate(single(cloud)):
            first = await cloud.driver.create_interface(wanted(cloud, name=f"source-{number}", kinds={kind: 2}))
            free = addresses_of(first.addresses)
            await cloud.driver.delete_interface(first.id)
            alone = wanted(cloud, name=f"alone-{number}", kinds={}, addresses=free)
            made = await cloud.driver.create_interface(alone)
            assert made.addresses == free == cloud.truth(made.id).items
            await cloud.driver.delete_interface(made.id)

            beside = wanted(cloud, name=f"beside-{number}", kinds={kind: 1}, addresses=free)
            made = await cloud.driver.create_interface(beside)
            again = await cloud.driver.create_interface(beside)
            there = cloud.truth(made.id)
            assert free < made.addresses == there.items == again.addresses
            assert (len(there.items), again.id) == (3, made.id)
            await cloud.driver.delete_interface(made.id)

    async def test_create_with_an_address_of_another(self, cloud: Cloud) -> None:
        """An address that somebody has is refused as in use; nothing is left behind."""
        held = await cloud.driver.create_interface(wanted(cloud, name="held", count=1))
        for number, kinds in enumerate([{}, wanted(cloud).wanted]):
            want = wanted(cloud, name=f"thief-{number}", kinds=kinds, addresses=addresses_of(held.addresses), index=2)
            with pytest.raises(errors.Busy):
                await cloud.driver.create_interface(want)

            assert [item.id for item in cloud.interfaces()] == [held.id]

    async def test_create_on_a_network_card(self, cloud: Cloud) -> None:
        """The interface is on the card asked for."""
        made = await cloud.driver.create_interface(wanted(cloud))
        there = cloud.truth(made.id)

        assert (made.network_card, there.network_card) == (0, 0)

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
            (there,) = cloud.interfaces()

            assert made.id == there.id
            assert there.instance == cloud.instance
            assert there.ends_with_instance
            assert counted(there.items) == want.wanted
            await cloud.driver.delete_interface(made.id)

    async def test_create_with_names_survives_a_lost_reply_of_each_call(self, cloud: Cloud) -> None:
        """So it is when addresses by name and by count are mixed, which takes one call more."""
        for kind in single(cloud):
            for number, operation in enumerate((*cloud.writes["create_interface"], cloud.assigns[kind])):
                source = wanted(cloud, name=f"source-{kind}-{number}", kinds={kind: 1})
                first = await cloud.driver.create_interface(source)
                free = addresses_of(first.addresses)
                await cloud.driver.delete_interface(first.id)
                want = wanted(cloud, name=f"lost-{kind}-{number}", kinds={kind: 1}, addresses=free)
                cloud.lose_reply(operation)
                with pytest.raises(errors.UnknownOutcome, match=operation):
                    await cloud.driver.create_interface(want)
                made = await cloud.driver.create_interface(want)
                (there,) = cloud.interfaces()

                assert made.id == there.id
                assert free < there.items == made.addresses
                assert len(there.items) == 2
                await cloud.driver.delete_interface(made.id)

    async def test_create_in_an_exhausted_subnet_makes_nothing(self, cloud: Cloud) -> None:
        """Too few free addresses: the subnet is named, nothing was made."""
        most = cloud.limits.ipv4_per_interface - 1
        held = await cloud.driver.create_interface(replace(wanted(cloud, count=most), subnet=cloud.tiny))
        more = replace(wanted(cloud, name="more", count=cloud.tiny_free, index=2), subnet=cloud.tiny)
        with pytest.raises(errors.Exhausted) as caught:
            await cloud.driver.create_interface(more)

        assert caught.value.subnet == cloud.tiny
        assert [item.id for item in cloud.interfaces()] == [held.id]

    async def test_create_in_a_subnet_without_a_block_makes_nothing(self, cloud: Cloud) -> None:
        """No room for a prefix: that, and the subnet's name, is what is said, since single addresses may be there."""
        for number, kinds in enumerate(kinds for kinds in mixtures(cloud) if min(kinds).is_prefix):
            want = replace(wanted(cloud, name=f"prefixes-{number}", kinds=kinds), subnet=cloud.tiny)
            with pytest.raises(errors.NoPrefix) as caught:
                await cloud.driver.create_interface(want)

            assert caught.value.subnet == cloud.tiny
            assert cloud.interfaces() == []

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

    async def test_a_created_interface_can_be_filled(self, cloud: Cloud) -> None:
        """One made without addresses is filled later."""
        made = await cloud.driver.create_interface(wanted(cloud, kinds={}))
        assert made.addresses | made.prefixes == frozenset()

        added = await cloud.driver.assign(made.id, AddressRequest(count=1))
        assert cloud.truth(made.id).items == added
