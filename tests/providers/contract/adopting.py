"""adopt."""

import asyncio

import pytest

from providers.contract.world import Cloud
from underlay.core.cloud import errors, tags


class Adopting:
    """May be repeated."""

    async def test_adopt(self, cloud: Cloud) -> None:
        """An interface that somebody else made has the owner's tags besides its own, and is found by them; again, or
        after a lost reply, it is success.
        """
        interface = cloud.by_hand({"team": "blue"})
        (operation,) = cloud.writes["adopt"]
        cloud.lose_reply(operation)
        with pytest.raises(errors.UnknownOutcome, match=operation):
            await cloud.driver.adopt(interface, cloud.owner)
        await cloud.driver.adopt(interface, cloud.owner)

        assert cloud.truth(interface).tags == {"team": "blue", **tags.of_owner(cloud.owner)}
        async with asyncio.timeout(10):
            while [item.id for item in await cloud.driver.owned(cloud.owner)] != [interface]:
                pass

    async def test_adopt_what_does_not_exist(self, cloud: Cloud) -> None:
        """An unknown interface is not found."""
        with pytest.raises(errors.NotFound):
            await cloud.driver.adopt(cloud.strange_interface, cloud.owner)
