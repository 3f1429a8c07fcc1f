"""How scarce a subnet is."""

from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.cloud_values import subnet
from underlay.core.cloud.planning.pressure import Pressure, pressure, watermark


def sized(prefix: int, free: int | None) -> object:
    return replace(subnet(free=free), cidrs=(IPv4Network(f"10.0.0.0/{prefix}"),))


@pytest.mark.parametrize(
    ("prefix", "nodes", "expected"),
    [
        pytest.param(24, 3, 25, id="a tenth of 256"),
        pytest.param(26, 0, 16, id="sixteen at least"),
        pytest.param(24, 60, 76, id="one for each node beside"),
        pytest.param(28, 3, 8, id="half of a small one at most"),
    ],
)
def test_watermark(prefix: int, nodes: int, expected: int) -> None:
    """Below it a subnet runs low."""
    assert watermark(replace(subnet(), cidrs=(IPv4Network(f"10.0.0.0/{prefix}"),)), nodes=nodes) == expected


@pytest.mark.parametrize(
    ("free", "before", "blocked", "lacking", "expected"),
    [
        pytest.param(100, Pressure.NORMAL, False, False, Pressure.NORMAL, id="plenty"),
        pytest.param(25, Pressure.NORMAL, False, False, Pressure.LOW, id="at the watermark"),
        pytest.param(26, Pressure.LOW, False, False, Pressure.NORMAL, id="above it"),
        pytest.param(0, Pressure.LOW, False, False, Pressure.EMPTY, id="none left"),
        pytest.param(100, Pressure.NORMAL, True, False, Pressure.EMPTY, id="refused as exhausted"),
        pytest.param(5, Pressure.NORMAL, False, True, Pressure.EMPTY, id="pods lack addresses"),
        pytest.param(5, Pressure.EMPTY, False, False, Pressure.EMPTY, id="what was taken back is not shared out"),
        pytest.param(26, Pressure.EMPTY, False, False, Pressure.NORMAL, id="refilled"),
        pytest.param(None, Pressure.EMPTY, False, False, Pressure.NORMAL, id="the cloud does not say"),
    ],
)
def test_what_leads_where(
    free: int | None,
    before: Pressure,
    blocked: bool,  # noqa: FBT001 (a table)
    lacking: bool,  # noqa: FBT001
    expected: Pressure,
) -> None:
    """A /24 with a few nodes."""
    net = replace(subnet(free=free), cidrs=(IPv4Network("10.0.0.0/24"),))

    assert pressure(net, before, blocked=blocked, lacking=lacking, nodes=3) is expected


@given(st.lists(st.tuples(st.integers(0, 24), st.integers(0, 4)), min_size=1, max_size=40))
def test_spare_addresses_do_not_go_round_in_circles(nodes: list[tuple[int, int]]) -> None:
    """Nodes that each take and give what the pressure asks of them come to rest: no subnet goes from empty to low and
    back for ever.
    """
    pods, have = [wanted for wanted, _ in nodes], [had for _, had in nodes]
    level, net = Pressure.NORMAL, replace(subnet(), cidrs=(IPv4Network("10.0.0.0/24"),))
    for _ in range(20):
        before = list(have)
        for index, wanted in enumerate(pods):
            free = 251 - sum(have)
            lacking = free <= 0 and any(mine < need for mine, need in zip(have, pods, strict=True))
            level = pressure(replace(net, free=max(free, 0)), level, blocked=False, lacking=lacking, nodes=len(pods))
            target = wanted + {Pressure.NORMAL: 4, Pressure.LOW: 1, Pressure.EMPTY: 0}[level]
            if have[index] < target:
                have[index] += min(target - have[index], max(free, 0))
            elif level is Pressure.EMPTY:
                have[index] = target
        if before == have:
            return
    raise AssertionError(f"still changing at {level}: {have}")
