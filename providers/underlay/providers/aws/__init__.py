"""AWS: elastic network interfaces and their secondary addresses, through boto3.

driver      the verbs
interfaces  the two verbs of many steps: make and remove an interface
calls       one EC2 call: gate, thread, error table; the published rates; the list of what may be called
convert     replies as values (pure)
errors      EC2's codes as cloud.errors (pure)
"""

from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.registry import ProviderSettings
from underlay.providers.aws.driver import AwsDriver


def driver(settings: ProviderSettings) -> ProviderDriver:
    """The entry point: builds the SDK's client, makes no call."""
    return AwsDriver(settings)
