"""security_groups and set_security_groups."""

import pytest

from providers.contract.world import Cloud, wanted
from underlay.core.cloud import errors


class Grouping:
    """Finding changes nothing; setting may be repeated."""

    async def test_groups_are_found_by_their_tags(self, cloud: Cloud) -> None:
        """Those of the network that have all the tags, and no others."""
        if not cloud.driver.capabilities.security_groups:
            return
        first, *_ = cloud.groups
        find = cloud.driver.security_groups

        assert await find(cloud.network, cloud.group_tags) == (first,)
        assert await find(cloud.network, {**cloud.group_tags, "absent": "yes"}) == ()
        assert set(await find(cloud.network, {})) >= set(cloud.groups)
        assert await find("another network", cloud.group_tags) == ()

    async def test_set_groups(self, cloud: Cloud) -> None:
        """The interface has just those groups; again, or after a lost reply, it is success."""
        if not cloud.driver.capabilities.security_groups:
            return
        made = await cloud.driver.create_interface(wanted(cloud))
        one, two, three = cloud.groups
        await cloud.driver.set_security_groups(made.id, [one, two])
        assert set(cloud.truth(made.id).groups) == {one, two}

        (operation,) = cloud.writes["set_security_groups"]
        cloud.lose_reply(operation)
        with pytest.raises(errors.UnknownOutcome, match=operation):
            await cloud.driver.set_security_groups(made.id, [three])
        await cloud.driver.set_security_groups(made.id, [three])
        assert cloud.truth(made.id).groups == (three,)

    async def test_set_groups_of_what_does_not_exist(self, cloud: Cloud) -> None:
        """An unknown interface is not found."""
        if not cloud.driver.capabilities.security_groups:
            return
        with pytest.raises(errors.NotFound):
            await cloud.driver.set_security_groups(cloud.strange_interface, cloud.groups)
