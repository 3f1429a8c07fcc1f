"""Blocks of subnets that a provider wants kept, against those that are. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from underlay.core.api.conditions import Status
from underlay.core.api.networkprovider import SubnetReservation
from underlay.core.cloud import tags
from underlay.core.cloud.model import IPNetwork, Reservation, Subnet, Use
from underlay.core.errors import InvalidInput
from underlay.core.identity import SubnetId

RESERVED = "Reserved"
"""Condition of a provider: whether the blocks it names are kept."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """The condition's content."""

    status: Status
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Wish:
    """A block to be kept in a subnet."""

    subnet: SubnetId
    cidr: IPNetwork
    use: Use


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """``drop`` comes first: a block that changes its use cannot be had twice."""

    drop: tuple[Reservation, ...]
    make: tuple[Wish, ...]


def parse(asked: Iterable[SubnetReservation]) -> Mapping[IPNetwork, Use]:
    """Raises ``InvalidInput`` naming the entry that is no block."""
    blocks: dict[IPNetwork, Use] = {}
    for number, item in enumerate(asked):
        try:
            blocks[ip_network(item.cidr)] = Use(item.use)
        except ValueError as error:
            field = f"spec.subnets.reservations[{number}].cidr"
            raise InvalidInput(field, found=item.cidr, expected=f"a block such as 10.0.1.64/26 ({error})") from error
    return blocks


def place(blocks: Mapping[IPNetwork, Use], subnets: Iterable[Subnet]) -> tuple[tuple[Wish, ...], tuple[IPNetwork, ...]]:
    """Each block in the subnet it lies in, and those that lie in none."""
    ranges = [(subnet.id, cidr) for subnet in subnets for cidr in subnet.cidrs]
    wishes, homeless = [], []
    for block, use in blocks.items():
        home = next((id_ for id_, cidr in ranges if _is_within(block, cidr)), None)
        if home is None:
            homeless.append(block)
        else:
            wishes.append(Wish(home, block, use))
    return tuple(wishes), tuple(homeless)


def changes(
    wishes: Collection[Wish], kept: Collection[Reservation], cluster: str, *, spared: Collection[IPNetwork]
) -> Changes:
    """What turns ``kept`` into ``wishes``. Others' reservations stay, and do for a wish that they fulfil; so do ours of
    ``spared`` blocks, of which it is not known here whether they are wanted.
    """
    there = {Wish(item.subnet, item.cidr, item.use) for item in kept}
    wanted = set(wishes)
    return Changes(
        drop=tuple(
            item
            for item in kept
            if item.tags.get(tags.CLUSTER) == cluster
            and Wish(item.subnet, item.cidr, item.use) not in wanted
            and item.cidr not in spared
        ),
        make=tuple(wish for wish in wishes if wish not in there),
    )


def _is_within(block: IPNetwork, cidr: IPNetwork) -> bool:
    return block.version == cidr.version and block[0] in cidr and block[-1] in cidr
