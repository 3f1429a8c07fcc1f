"""The contract of ``ProviderDriver``, verb by verb, with its retry contract. Every driver passes it against its
cloud's simulator.

world      what a simulated cloud offers its tests
reading    instance_id, limits, instance, instances, subnets, owned, holders
creating   create_interface
adopting   adopt
deleting   delete_interface
assigning  assign, by count and by name
unassigning
grouping   security_groups, set_security_groups
reserving  reserve, reservations, unreserve
pressing   every verb under throttling, denial, silence, and without the lease

A driver's own test file gives the fixture ``cloud`` and inherits ``DriverContract``. What ``Capabilities`` says the
driver cannot do is not asked of it.
"""

from providers.contract.adopting import Adopting
from providers.contract.assigning import Assigning
from providers.contract.creating import Creating
from providers.contract.deleting import Deleting
from providers.contract.grouping import Grouping
from providers.contract.pressing import Pressing
from providers.contract.reading import Reading
from providers.contract.reserving import Reserving
from providers.contract.unassigning import Unassigning


class DriverContract(Reading, Creating, Adopting, Deleting, Assigning, Unassigning, Grouping, Reserving, Pressing):
    """All of it."""
