"""The arithmetic of EC2's token buckets, without a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudsim.server.buckets import Buckets

PUBLISHED = {
    "AttachNetworkInterface": (50, 5),
    "DetachNetworkInterface": (50, 5),
    "CreateNetworkInterface": (100, 5),
    "DeleteNetworkInterface": (100, 5),
    "ModifyNetworkInterfaceAttribute": (100, 5),
    "AssignPrivateIpAddresses": (100, 5),
    "UnassignPrivateIpAddresses": (100, 5),
    "AssignIpv6Addresses": (100, 5),
    "UnassignIpv6Addresses": (50, 5),
    "AssociateTrunkInterface": (50, 5),
    "CreateTags": (100, 10),
    "DeleteTags": (100, 10),
    "CreateSubnetCidrReservation": (5, 1),
    "DescribeSubnets": (100, 20),
    "DescribeInstanceTypes": (100, 20),
}
"""EC2 developer guide, "Request throttling": how many at once, and how many more each second."""


def _seconds(buckets: Buckets, operation: str, calls: int, *, narrowed: bool = True) -> float:
    """How long ``calls`` take a caller that tries again every eighth of a second."""
    eighths = 0
    while calls:
        if buckets.admit(operation, narrowed=narrowed, now=eighths / 8):
            calls -= 1
        else:
            eighths += 1
    return eighths / 8


@pytest.mark.parametrize("operation", PUBLISHED)
def test_thousand_calls_take_what_the_rates_say(operation: str) -> None:
    """(1000 - capacity) / refill seconds: 190 for attaching, 180 for creating."""
    capacity, refill = PUBLISHED[operation]

    assert _seconds(Buckets(), operation, 1000) == pytest.approx((1000 - capacity) / refill, abs=1 / 8)


@pytest.mark.parametrize("operation", ["DescribeNetworkInterfaces", "DescribeInstances", "DescribeSecurityGroups"])
def test_whole_reads_are_half_as_many(operation: str) -> None:
    """Neither filtered nor paged: 50 at once, then 10 a second; they leave the narrowed reads' bucket alone."""
    buckets = Buckets()

    assert _seconds(buckets, operation, 1000, narrowed=False) == pytest.approx(95, abs=1 / 8)
    assert _seconds(buckets, operation, 100) == 0


def test_time_scale_divides_the_time() -> None:
    """Sixty times as fast, a thousand creates take three seconds."""
    assert _seconds(Buckets(60), "CreateNetworkInterface", 1000) == pytest.approx(3, abs=1 / 8)


@given(
    pauses=st.lists(st.floats(0, 30, allow_nan=False), max_size=200),
    operation=st.sampled_from(sorted(PUBLISHED)),
    scale=st.sampled_from((1.0, 4.0)),
)
def test_never_more_than_bucket_and_refill(pauses: list[float], operation: str, scale: float) -> None:
    """However calls are spread, those admitted in any time are at most the capacity and what was refilled in it."""
    capacity, refill = PUBLISHED[operation]
    buckets = Buckets(scale)
    now, admitted = 0.0, 0
    for pause in pauses:
        now += pause
        admitted += sum(buckets.admit(operation, narrowed=True, now=now) for _ in range(20))
        assert admitted <= capacity + now * refill * scale + 1e-6
