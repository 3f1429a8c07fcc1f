"""How many addresses a node should have. Pure.

Stateless, so that the same pods give the same answer after any crash: whole batches, with a share of one spare.
"""

from fractions import Fraction
from math import ceil

from underlay.core.api.networkprovider import AddressPolicy


def target(*, pods: int, cooling: int, policy: AddressPolicy, room: int) -> int:
    """``batch * ceil(buffer + used / batch)``, at least ``minimum``, at most ``room``.

    ``used`` is ``pods`` (bound to the node or still holding an address) and ``cooling`` (freed, not yet to be given
    again). With ``max_idle`` no more than that many are kept unused, except for ``minimum``. ``room`` is what the node
    can have at all.
    """
    used = pods + cooling
    batch = max(policy.batch, 1)
    # A float sum such as 0.7 + 0.3 may land just above a whole number and cost a whole batch.
    wanted = batch * ceil(Fraction(str(policy.buffer)) + Fraction(used, batch))
    if policy.max_idle > 0:
        wanted = min(wanted, used + policy.max_idle)
    return max(min(max(wanted, policy.minimum), room), 0)
