"""AWS: elastic network interfaces with their addresses and prefixes, through boto3.

driver      the verbs
interfaces  the two verbs of many steps: make and remove an interface
addresses   what an interface has: assign and unassign, every kind
vpc         what interfaces live in: subnets, security groups, reservations
calls       one EC2 call: gate, thread, error table; the published rates; the list of what may be called
credentials whom calls are signed as: Secret, own identity, assumed role; renewed before they end
sessions    the SDK's sessions, with one copy of its descriptions
convert     replies on interfaces, instances and their types as values (pure)
networks    replies on what interfaces live in as values (pure)
errors      EC2's codes as cloud.errors (pure)
"""

from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.registry import ProviderSettings
from underlay.providers.aws.driver import AwsDriver


def driver(settings: ProviderSettings) -> ProviderDriver:
    """The entry point: builds the SDK's client, makes no call."""
    return AwsDriver(settings)
