"""What the driver may call at the cloud, and what of it no provider of the large tests leads to."""

from underlay.providers.aws.calls import RATES

APART: frozenset[str] = frozenset(
    {
        "CreateSubnetCidrReservation",
        "CreateTags",
        "DeleteSubnetCidrReservation",
        "GetSubnetCidrReservations",
        "DescribeSecurityGroups",
    }
)
"""Only providers with reservations, with security groups by tags, or that adopt, lead to these; such have tests of
their own. Whoever gives them to the providers of these stories takes them off this list: tests fail if one of them is
called.
"""
SENT = frozenset(RATES) - APART
WRITES = frozenset(operation for operation in RATES if not operation.startswith(("Describe", "Get")))
"""All that change something, whoever leads to them."""
