"""unassign. It may be repeated at will; what is not there is success."""

from ipaddress import ip_address, ip_network

import pytest

from providers.contract.world import Cloud, kinds, mixtures, seen, wanted
from underlay.core.cloud import errors
from underlay.core.cloud.model import AddressRequest


class Unassigning:
    """Every kind, and all kinds at once."""

    async def test_unassign(self, cloud: Cloud) -> None:
        """Addresses go; those that are not there, or an interface that is not, are success."""
        made = await cloud.driver.create_interface(wanted(cloud, count=3))
        one, two, three = sorted(made.addresses, key=str)
        await cloud.driver.unassign(made.id, [one])
        await cloud.driver.unassign(made.id, [one])
        await cloud.driver.unassign(made.id, [one, two])
        await cloud.driver.unassign(made.id, [])
        await cloud.driver.unassign(cloud.strange_interface, [ip_address("10.0.0.77"), ip_network("10.0.0.96/28")])

        assert cloud.truth(made.id).items == {three}

    async def test_unassign_a_mixture(self, cloud: Cloud) -> None:
        """Addresses and prefixes of both families go in one request, whether all of them are there or not."""
        made = await cloud.driver.create_interface(wanted(cloud, kinds=mixtures(cloud)[0]))
        has = made.addresses | made.prefixes
        for kind in kinds(cloud):
            has |= await cloud.driver.assign(made.id, AddressRequest(kind=kind, count=1))
        gone = min(has, key=str)
        await cloud.driver.unassign(made.id, [gone])
        await cloud.driver.unassign(made.id, has)

        assert cloud.truth(made.id).items == frozenset()

    async def test_unassign_survives_a_lost_reply(self, cloud: Cloud) -> None:
        """The same call again is success, even while reads still show what is gone."""
        made = await cloud.driver.create_interface(wanted(cloud, kinds={}))
        for kind in kinds(cloud):
            items = await cloud.driver.assign(made.id, AddressRequest(kind=kind, count=2))
            await seen(cloud, made.id, items)
            cloud.lose_reply(cloud.unassigns[kind])
            with pytest.raises(errors.UnknownOutcome, match=cloud.unassigns[kind]):
                await cloud.driver.unassign(made.id, items)
            await cloud.driver.unassign(made.id, items)

            assert cloud.truth(made.id).items == frozenset()
