"""What modes say of their machines is so: a story that waits for an interface to come or go has one to wait for."""

import msgspec
import pytest

from cloudsim.model.instance_types import known_types
from support.modes import MODES, Mode
from support.operator_site import FAST
from underlay.core.api.networkprovider import AddressPolicy
from underlay.core.cloud.model import Kind
from underlay.core.cloud.planning import demand
from underlay.core.cloud.planning.pressure import Pressure

TYPES = known_types()
ROOMY = [mode.roomy for mode in MODES if mode.whole]


@pytest.mark.parametrize("mode", [*MODES, *ROOMY], ids=lambda mode: f"{mode}-{mode.small}")
def test_few_pods_fit_on_the_first_interface_and_many_need_every_one(mode: Mode) -> None:
    type_ = TYPES[mode.small]
    policy = msgspec.convert(FAST | dict(mode.addresses), AddressPolicy)
    kind = Kind.IPV4_PREFIX if mode.whole else Kind.IPV6 if policy.families == ["ipv6"] else Kind.IPV4
    # Of IPv4 the interface's own address takes a place.
    each = (type_.ipv4 - 1 if kind.family == 4 else type_.ipv6) * kind.size
    most = each * type_.interfaces

    sizing = demand.sizing(policy, kind, Pressure.NORMAL)
    target = demand.target(pods=mode.many, cooling=0, sizing=sizing, room=most)

    assert mode.few <= each
    assert most - each < target
    assert mode.many <= most
