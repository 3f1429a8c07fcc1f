"""What the driver may call at the cloud, and what of it no provider can lead to yet."""

from underlay.providers.aws.calls import RATES

AWAITED: frozenset[str] = frozenset(
    {
        "AssignIpv6Addresses",
        "UnassignIpv6Addresses",
        "CreateSubnetCidrReservation",
        "DeleteSubnetCidrReservation",
        "GetSubnetCidrReservations",
        "DescribeRouteTables",
        "DescribeSecurityGroups",
    }
)
"""The driver has words for these and the operator does not say them. Whoever changes that takes them off this list:
tests fail if one of them is called.
"""
SENT = frozenset(RATES) - AWAITED
WRITES = frozenset(operation for operation in RATES if not operation.startswith(("Describe", "Get")))
"""All that change something, awaited ones among them."""
