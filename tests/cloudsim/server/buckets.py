"""Token buckets per account, region and operation.

Source: EC2 developer guide, "Request throttling for the Amazon EC2 API".
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """``capacity`` requests at once, ``refill`` more each second."""

    capacity: float
    refill: float


FILTERED_READ = Rate(capacity=100, refill=20)
WHOLE_READ = Rate(capacity=50, refill=10)
OTHER_WRITE = Rate(capacity=50, refill=5)

WHOLE_READS = {"DescribeInstances", "DescribeNetworkInterfaces", "DescribeSecurityGroups"}
"""Reads with a smaller bucket when neither filtered nor paged."""

RATES = {
    "AssignPrivateIpAddresses": Rate(capacity=100, refill=5),
    "AssignIpv6Addresses": Rate(capacity=100, refill=5),
    "CreateNetworkInterface": Rate(capacity=100, refill=5),
    "CreateSubnetCidrReservation": Rate(capacity=5, refill=1),
    "CreateTags": Rate(capacity=100, refill=10),
    "DeleteNetworkInterface": Rate(capacity=100, refill=5),
    "DeleteTags": Rate(capacity=100, refill=10),
    "ModifyNetworkInterfaceAttribute": Rate(capacity=100, refill=5),
    "UnassignPrivateIpAddresses": Rate(capacity=100, refill=5),
}


class Buckets:
    """``time_scale`` 10 refills ten times as quickly, so that a long story fits into a short test."""

    def __init__(self, time_scale: float = 1.0) -> None:
        self._scale = time_scale
        self._level: dict[str, tuple[float, float]] = {}

    def admit(self, operation: str, *, narrowed: bool, now: float) -> bool:
        """Takes a token if there is one. ``narrowed``: the read is filtered or paged."""
        bucket, rate = _bucket(operation, narrowed=narrowed)
        level, since = self._level.get(bucket, (rate.capacity, now))
        level = min(rate.capacity, level + (now - since) * rate.refill * self._scale)
        admitted = level >= 1
        self._level[bucket] = (level - 1 if admitted else level, now)
        return admitted


def _bucket(operation: str, *, narrowed: bool) -> tuple[str, Rate]:
    if not operation.startswith(("Describe", "Get")):
        return operation, RATES.get(operation, OTHER_WRITE)
    if operation in WHOLE_READS and not narrowed:
        return f"{operation} whole", WHOLE_READ
    return operation, FILTERED_READ
