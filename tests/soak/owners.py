"""What keeps its address: pods of a StatefulSet that end and start elsewhere; and blocks of the subnet that a provider
has the cloud keep, one for them and some for prefixes.
"""

from ipaddress import IPv4Network
from random import Random

from support.agreement import SPIDERPOOL, Json
from support.fixed_site import FixedSite
from support.fleet import Fleet
from support.operator_site import Site
from underlay.core.api.kubernetes import StatefulSet
from underlay.core.api.networkprovider import SpiderNetworkProvider
from world.api import Api


class Owners:
    """``homes``: number of an owner → node of its pod, while it has one. ``block`` has their addresses."""

    def __init__(self, site: Site, api: Api, fleet: Fleet, *, provider: str, subnet: IPv4Network, count: int) -> None:
        self._site = site
        self._api = api
        self._fleet = fleet
        self._set = FixedSite(site=site)
        self._count = count
        # Out of the end of the subnet; addresses are taken from its beginning.
        *_, prefixes, self.block = subnet.subnets(new_prefix=26)
        self._prefixes = list(prefixes.subnets(new_prefix=28))
        self._subnet = subnet
        self._kept: list[IPv4Network] = []
        self.provider = provider
        self.homes: dict[int, str] = {}

    async def begin(self) -> None:
        """The StatefulSet, without pods, and the block its addresses come from."""
        await self._set.stateful_set(self._count)
        await self._ask()

    async def act(self, nodes: list[str], chance: Random) -> None:
        """One of the pods ends, and most often starts again on one of ``nodes``."""
        number = chance.randrange(self._count)
        await self.move(number, chance.choice(nodes) if chance.random() < 0.9 else "")

    async def move(self, number: int, node: str) -> None:
        """Its pod ends; another one starts on the node, if one is named that knows of fixed addresses."""
        if self.homes.pop(number, ""):
            await self._set.delete_set_pod(number)
            del self._fleet.pods[self._name(number)]
        network = await self._site.network(node) if node else None
        if network is not None and network.spec.fixed_address:
            self._fleet.pods[self._name(number)] = await self._set.set_pod(node, number)
            self.homes[number] = node

    async def homeless(self, nodes: list[str], chance: Random) -> list[int]:
        """Owners without a pod, after having tried to start one for each."""
        for number in set(range(self._count)) - self.homes.keys():
            await self.move(number, chance.choice(nodes))
        return sorted(set(range(self._count)) - self.homes.keys())

    async def leave(self, node: str) -> None:
        """Those that are on the node end."""
        for number in [number for number, home in self.homes.items() if home == node]:
            await self.move(number, "")

    async def end(self) -> None:
        """The StatefulSet is no more, and nothing but its block is asked for."""
        await self._site.client.delete(StatefulSet, f"{self._site.name}-db", "default")
        for number in list(self.homes):
            await self.move(number, "")
        self._kept = []
        await self._ask()

    async def reserve(self, chance: Random) -> None:
        """Other blocks are kept for prefixes from now on."""
        self._kept = sorted(chance.sample(self._prefixes, k=chance.randint(0, len(self._prefixes))))
        await self._ask()

    async def addresses(self) -> dict[str, str]:
        """Owner → its address, by the blocks."""
        blocks = await self._api.items(f"{SPIDERPOOL}/spideripblocks")
        entries = [item for block in blocks for item in block.get("status", {}).get("entries", {}).items()]
        return {entry["owner"]: address for address, entry in entries if not entry.get("coolingSince")}

    async def differences(self, table: Json) -> list[str]:
        """Owners with a pod and without an address of their own, and blocks that are not kept as asked for."""
        have = await self.addresses()
        found = [
            f"{self._name(number)} has {have.get(owner)}"
            for number in self.homes
            if (owner := f"StatefulSet/default/{self._name(number)}") and owner not in have
        ]
        if len(have) > self._count or len(set(have.values())) < len(have):
            found.append(f"owners have {have}")
        (row,) = (row for row in table["subnets"] if row["cidr"] == str(self._subnet))
        kept = {item["cidr"]: item["type"] for item in row["reservations"]}
        wanted = {str(self.block): "explicit", **{str(block): "prefix" for block in self._kept}}
        return [*found, *([f"kept {kept}, asked for {wanted}"] if kept != wanted else [])]

    def _name(self, number: int) -> str:
        return f"{self._site.name}-db-{number}"

    async def _ask(self) -> None:
        asked = [{"cidr": str(block), "use": "prefix"} for block in self._kept]
        body = {"spec": {"subnets": {"reservations": [{"cidr": str(self.block), "use": "fixed"}, *asked]}}}
        await self._site.client.merge_patch(SpiderNetworkProvider, self.provider, body)
