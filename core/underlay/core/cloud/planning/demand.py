"""How many addresses a node should have. Pure.

Stateless, so that the same pods give the same answer after any crash: whole batches, with a share of one spare.
docs/sizing.md tells it with an example.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from underlay.core.api.networkprovider import AddressPolicy
from underlay.core.cloud.model import Kind
from underlay.core.cloud.planning.pressure import Pressure

NOTHING = Fraction(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """``batch`` and ``spare`` are addresses, ``grain`` is what cannot be divided (a prefix). ``max_idle`` 0: no such
    bound. ``most``: as many as the node may run pods at all; None: not known.
    """

    batch: int
    spare: Fraction
    grain: int = 1
    minimum: int = 0
    max_idle: int = 0
    most: int | None = None


def sizing(
    policy: AddressPolicy, kind: Kind, pressure: Pressure, *, cordoned: bool = False, most: int | None = None
) -> Sizing:
    """The policy's figures for addresses got as ``kind``, under ``pressure``.

    A cordoned node gets what its pods need and nothing to spare. So does one whose subnets are empty, and no more of a
    prefix is wanted than is needed: what prefixes it has may go when single addresses serve its pods.
    """
    # Half of an IPv6 prefix is no spare anybody needs.
    batch = kind.size if kind is Kind.IPV4_PREFIX else max(policy.batch, 1)
    # A float such as 0.7 may be just above what was written, and cost a whole batch.
    spare, grain = Fraction(str(policy.buffer)) * batch, kind.size
    if pressure is Pressure.EMPTY:
        batch, grain = 1, 1
    elif kind.is_prefix:
        batch = kind.size
    elif pressure is not Pressure.NORMAL or cordoned:
        batch = 1
    if pressure is not Pressure.NORMAL:
        spare = min(spare, Fraction(1 if pressure is Pressure.LOW else 0))
    return Sizing(
        batch=batch,
        spare=NOTHING if cordoned else spare,
        grain=grain,
        minimum=0 if cordoned else policy.minimum,
        max_idle=policy.max_idle,
        most=most,
    )


def target(*, pods: int, cooling: int, sizing: Sizing, room: int) -> int:
    """``batch * ceil((spare + used) / batch)``, at least ``minimum``, at most ``room`` and (unless that many pods are
    bound already) ``most``.

    ``used`` is ``pods`` (bound to the node or still holding an address) and ``cooling`` (freed, not yet to be given
    again). With ``max_idle`` no more than that many are kept unused, except for ``minimum``. All but ``room``, which is
    what the node can have at all, are rounded up to the grain.
    """
    used = pods + cooling
    wanted = sizing.batch * ceil((sizing.spare + used) / sizing.batch)
    if sizing.max_idle > 0:
        wanted = min(wanted, _whole(used + sizing.max_idle, sizing.grain))
    wanted = max(wanted, _whole(sizing.minimum, sizing.grain))
    if sizing.most is not None:
        wanted = min(wanted, _whole(max(sizing.most, pods), sizing.grain))
    return max(min(wanted, room), 0)


def _whole(count: int, grain: int) -> int:
    return grain * ceil(Fraction(count, grain))
