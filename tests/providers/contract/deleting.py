"""delete_interface."""

import pytest

from providers.contract.world import Cloud, wanted
from underlay.core.cloud import errors


class Deleting:
    """It may be repeated at will; what is gone is success."""

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
