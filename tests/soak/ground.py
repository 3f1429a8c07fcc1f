"""What the story plays on: a provider for each mode, each with a subnet of its own.

That of single addresses has fixed ones too, that of prefixes has the cloud keep a block for them, and two find their
security groups by tags, and one adopts interfaces.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from soak.hands import Hands
from soak.owners import Owners
from soak.stage import Stage
from support.fleet import Fleet
from support.modes import MODES, Mode
from support.operator_site import ZONE, Site
from support.ownership import Ownership
from underlay.core.kube.client import KubeClient

_COOLDOWN_SECONDS = 1
_OWNERS = 3
_TAGS = {"pods": "yes"}
_GROUPED = frozenset({"secondary", "ipv6"})
_ADOPTING = frozenset({"dual"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """``fleets`` (which share site and ownership) and ``subnets`` by provider. ``adopting``: providers that make their
    own what somebody attaches.
    """

    site: Site
    fleets: Mapping[str, Fleet]
    subnets: Mapping[str, str]
    owners: Owners
    hands: Hands
    adopting: frozenset[str]


async def ground(stage: Stage, client: KubeClient, ownership: Ownership) -> Ground:
    """Nothing of it has an operator yet."""
    vpc = stage.sim.control("POST", "/vpcs", {"cidr": "10.80.0.0/16", "ipv6_cidr": "2001:db8:80::/56"})["id"]
    stage.sim.control("POST", "/security-groups", {"vpc": vpc, "name": "pods", "tags": _TAGS})
    hands = Hands(stage.sim)
    site = Site(name="soak", client=client, sim=stage.sim, vpc=vpc, subnet="")
    fleets, subnets, blocks = {}, {}, {}
    for place, mode in enumerate(MODES):
        name, block = provider_of(site, mode), IPv4Network(f"10.80.{16 * place}.0/22")
        fleets[name], blocks[name] = Fleet(site, stage.api, mode, ownership), block
        subnets[name] = _subnet(stage, vpc, block, mode)
        await fleets[name].add_provider(
            name,
            addresses={"cooldownSeconds": _COOLDOWN_SECONDS},
            network={"type": stage.kind},
            garbageCollection={"minAgeSeconds": 3},
            fixedAddress="required",
            securityGroups={"tags": _TAGS} if mode.name in _GROUPED else {},
            interfaces={"usePrimary": True, "existing": "adopt" if mode.name in _ADOPTING else "leave"},
            subnets={"reservations": _kept(mode, block)},
        )
    first = next(iter(fleets))
    owners = Owners(site, stage.api, fleets[first], provider=first, subnet=blocks[first], count=_OWNERS)
    # Before there are nodes, so that none has one of these addresses: it would be left to it.
    await hands.keep(subnets[first], str(owners.block))
    await owners.begin()
    return Ground(
        site=site,
        fleets=fleets,
        subnets=subnets,
        owners=owners,
        hands=hands,
        adopting=frozenset(provider_of(site, mode) for mode in MODES if mode.name in _ADOPTING),
    )


def provider_of(site: Site, mode: Mode) -> str:
    return f"{site.name}-{mode}"


def _subnet(stage: Stage, vpc: str, block: IPv4Network, mode: Mode) -> str:
    ipv6 = {"ipv6_cidr": "next"} if mode.ipv6 else {}
    return str(stage.sim.control("POST", "/subnets", {"vpc": vpc, "cidr": str(block), "zone": ZONE, **ipv6})["id"])


def _kept(mode: Mode, block: IPv4Network) -> list[dict[str, str]]:
    *_, last = block.subnets(new_prefix=26)
    return [{"cidr": str(last), "use": "prefix"}] if mode.name == "prefix" else []
