"""What the driver may call at the cloud, and what of it no provider of the large tests leads to."""

from underlay.providers.aws.calls import RATES

ASKED: frozenset[str] = frozenset(
    {
        "CreateSubnetCidrReservation",
        "CreateTags",
        "DeleteSubnetCidrReservation",
        "DescribeSecurityGroups",
        "GetSubnetCidrReservations",
    }
)
"""Only providers with reservations, with security groups by tags, or that adopt, lead to these: in the soak, and in
tests of their own.
"""
SENT = frozenset(RATES) - ASKED
"""What a provider leads to that asks for nothing special."""
WRITES = frozenset(operation for operation in RATES if not operation.startswith(("Describe", "Get")))
"""All that change something, whoever leads to them."""
