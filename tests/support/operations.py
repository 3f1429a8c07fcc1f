"""What the driver may call at the cloud, and what of it no provider of the large tests leads to."""

from underlay.providers.aws.calls import RATES

AWAITED: frozenset[str] = frozenset(
    {
        "AssignIpv6Addresses",
        "UnassignIpv6Addresses",
        "CreateSubnetCidrReservation",
        "DeleteSubnetCidrReservation",
        "GetSubnetCidrReservations",
        "DescribeSecurityGroups",
    }
)
"""The operator does not call these, or only for groups by tags and reserved blocks, which have tests of their own
(test_networks). Whoever changes that takes them off this list: tests fail if one of them is called.
"""
SENT = frozenset(RATES) - AWAITED
WRITES = frozenset(operation for operation in RATES if not operation.startswith(("Describe", "Get")))
"""All that change something, awaited ones among them."""
