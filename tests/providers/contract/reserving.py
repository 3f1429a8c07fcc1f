"""reserve, reservations and unreserve."""

import asyncio

import pytest

from providers.contract.world import Cloud
from underlay.core.cloud import errors, tags
from underlay.core.cloud.model import Use


class Reserving:
    """All may be repeated: a block is found by where it is and what it is for."""

    async def test_reserve(self, cloud: Cloud) -> None:
        """A block is kept for its use with the owner's tags; again, it is the same one; given back, it is gone."""
        if not cloud.driver.capabilities.reservations:
            return
        made = await cloud.driver.reserve(cloud.subnet, cloud.block, Use.PREFIX, cloud.owner)
        again = await cloud.driver.reserve(cloud.subnet, cloud.block, Use.PREFIX, cloud.owner)
        other = await cloud.driver.reserve(cloud.subnet, cloud.other_block, Use.FIXED, cloud.owner)
        there = cloud.blocks()

        assert (made.subnet, made.cidr, made.use) == (cloud.subnet, cloud.block, Use.PREFIX)
        assert again == made
        assert made.tags.items() >= tags.of_owner(cloud.owner).items()
        assert there.keys() == {str(cloud.block), str(cloud.other_block)}
        assert len(set(there.values())) == 2
        async with asyncio.timeout(10):
            while list(await cloud.driver.reservations(cloud.subnet)) != sorted([made, other], key=lambda r: r.cidr):
                pass
        await cloud.driver.unreserve(made.id)
        await cloud.driver.unreserve(made.id)
        assert cloud.blocks().keys() == {str(cloud.other_block)}

    async def test_reserve_survives_a_lost_reply(self, cloud: Cloud) -> None:
        """After a lost reply the same call again finds what the first made; so it is when giving back."""
        if not cloud.driver.capabilities.reservations:
            return
        (operation,) = cloud.writes["reserve"]
        cloud.lose_reply(operation)
        with pytest.raises(errors.UnknownOutcome, match=operation):
            await cloud.driver.reserve(cloud.subnet, cloud.block, Use.PREFIX, cloud.owner)
        made = await cloud.driver.reserve(cloud.subnet, cloud.block, Use.PREFIX, cloud.owner)
        assert cloud.blocks().keys() == {str(made.cidr)}

        (operation,) = cloud.writes["unreserve"]
        cloud.lose_reply(operation)
        with pytest.raises(errors.UnknownOutcome, match=operation):
            await cloud.driver.unreserve(made.id)
        await cloud.driver.unreserve(made.id)
        assert cloud.blocks() == {}

    async def test_reserve_what_is_kept_for_something_else(self, cloud: Cloud) -> None:
        """A block that overlaps another, or is kept for another use, is refused by that one's name; nothing changes."""
        if not cloud.driver.capabilities.reservations:
            return
        made = await cloud.driver.reserve(cloud.subnet, cloud.block, Use.PREFIX, cloud.owner)
        whole = cloud.block.supernet()
        for cidr, use in ((cloud.block, Use.FIXED), (whole, Use.PREFIX)):
            with pytest.raises(errors.Rejected) as caught:
                await cloud.driver.reserve(cloud.subnet, cidr, use, cloud.owner)
            assert made.id in caught.value.message

        assert cloud.blocks().keys() == {str(cloud.block)}

    async def test_reservations_of_what_does_not_exist(self, cloud: Cloud) -> None:
        """An unknown subnet is not found; giving back what never was is success."""
        if not cloud.driver.capabilities.reservations:
            return
        with pytest.raises(errors.NotFound):
            await cloud.driver.reservations(cloud.strange_subnet)
        with pytest.raises(errors.NotFound):
            await cloud.driver.reserve(cloud.strange_subnet, cloud.block, Use.PREFIX, cloud.owner)
        await cloud.driver.unreserve(cloud.strange_reservation)
