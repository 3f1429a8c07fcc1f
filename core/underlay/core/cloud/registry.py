"""A driver by its name. Drivers are entry points, so that core imports no cloud's SDK and an image installs only what
it runs.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points

from underlay.core.api.networkprovider import AssumeRole
from underlay.core.cloud.driver import ProviderDriver
from underlay.core.cloud.limits import CallGate
from underlay.core.errors import InvalidInput

GROUP = "underlay.providers"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """What a driver is made from. ``credentials`` None: the workload's own cloud identity; ``role``: what either takes
    on for every call. ``endpoint`` empty: the cloud's own.

    ``name`` is the SpiderNetworkProvider's, ``cluster`` the UID of namespace kube-system.
    """

    name: str
    region: str
    endpoint: str
    credentials: Mapping[str, str] | None = field(repr=False)
    role: AssumeRole | None = None
    gate: CallGate
    cluster: str


async def load(driver: str, settings: ProviderSettings) -> ProviderDriver:
    """The driver named ``driver``. Raises ``InvalidInput``: no such driver, its SDK is not installed, or settings it
    cannot use.
    """
    known = {point.name: point for point in entry_points(group=GROUP)}
    if driver not in known:
        names = ", ".join(sorted(known)) or "none (the package was installed without its entry points)"
        raise InvalidInput("spec.driver", found=driver, expected=f"one of the installed drivers: {names}")
    try:
        # Cloud SDKs take a second to import and to build a client.
        factory: Callable[[ProviderSettings], ProviderDriver] = await asyncio.to_thread(known[driver].load)
        return await asyncio.to_thread(factory, settings)
    except ImportError as error:
        expected = f"the SDK of the driver: pip install 'underlay[{driver}]'"
        raise InvalidInput("spec.driver", found=f"{driver}: {error}", expected=expected) from error
