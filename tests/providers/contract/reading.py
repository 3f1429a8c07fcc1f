"""Verbs that change nothing."""

import asyncio
from dataclasses import replace

import pytest

from providers.contract.world import Cloud, addresses_of, kinds, seen, wanted
from underlay.core.cloud import errors
from underlay.core.cloud.model import InstanceState, InterfaceState, Owner, SubnetQuery
from underlay.core.errors import InvalidInput


class Reading:
    """They may be repeated at will."""

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
        assert not primary.special
        assert (primary.network_card, primary.device_index) == (0, 0)
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
        """Subnets are found by id and by place, with one gateway entry for each block and free addresses, in the order
        of their ids.
        """
        by_id = await cloud.driver.subnets(SubnetQuery(ids=(cloud.tiny, cloud.subnet), tags={}))
        by_place = await cloud.driver.subnets(SubnetQuery(network=cloud.network, zone=cloud.zone, tags={}))
        tiny = next(item for item in by_id if item.id == cloud.tiny)
        known = [(gateway, cidr) for gateway, cidr in zip(tiny.gateways, tiny.cidrs, strict=True) if gateway]

        assert [item.id for item in by_id] == sorted([cloud.tiny, cloud.subnet])
        assert list(by_place) == list(by_id)
        assert (tiny.zone, tiny.network, tiny.free) == (cloud.zone, cloud.network, cloud.tiny_free)
        assert known
        assert [gateway for gateway, cidr in known if gateway not in cidr] == []

    async def test_subnets_have_blocks_of_both_families(self, cloud: Cloud) -> None:
        """The blocks out of which the driver can assign are listed, IPv4 first."""
        (subnet,) = await cloud.driver.subnets(SubnetQuery(ids=(cloud.subnet,), tags={}))

        assert [cidr.version for cidr in subnet.cidrs] == sorted({kind.family for kind in kinds(cloud)})

    async def test_unknown_subnet(self, cloud: Cloud) -> None:
        """A subnet id that does not exist is named."""
        with pytest.raises(errors.NotFound, match=cloud.strange_subnet):
            await cloud.driver.subnets(SubnetQuery(ids=(cloud.subnet, cloud.strange_subnet), tags={}))

    async def test_owned(self, cloud: Cloud) -> None:
        """Interfaces are found by cluster, and by node, and no others are."""
        made = await cloud.driver.create_interface(wanted(cloud))
        other = replace(wanted(cloud, name="other", index=2), owner=replace(cloud.owner, cluster="another"))
        await cloud.driver.create_interface(other)
        await seen(cloud, made.id, made.addresses)

        assert [item.id for item in await cloud.driver.owned(Owner(cluster=cloud.owner.cluster))] == [made.id]
        assert [item.id for item in await cloud.driver.owned(cloud.owner)] == [made.id]
        assert await cloud.driver.owned(Owner(cluster=cloud.owner.cluster, node="another")) == []

    async def test_holders(self, cloud: Cloud) -> None:
        """Whoever has one of the addresses is found, as primary or secondary one, and nobody else."""
        first = await cloud.driver.create_interface(wanted(cloud, name="first", count=1))
        second = await cloud.driver.create_interface(wanted(cloud, name="second", count=1, index=2))
        await seen(cloud, second.id, second.addresses)
        taken = addresses_of(first.addresses)

        assert [item.id for item in await cloud.driver.holders(cloud.subnet, taken)] == [first.id]
        found = await cloud.driver.holders(cloud.subnet, taken | {second.primary_address})
        assert [item.id for item in found] == sorted([first.id, second.id])
        assert await cloud.driver.holders(cloud.tiny, taken) == []
        assert await cloud.driver.holders(cloud.subnet, []) == []
