"""What a provider may ask for that this version does not do yet: refused by name rather than silently ignored."""

from underlay.core.api.networkprovider import SpiderNetworkProviderSpec
from underlay.core.cloud.model import Capabilities
from underlay.core.errors import InvalidInput


def check(spec: SpiderNetworkProviderSpec) -> None:
    """Raises ``InvalidInput`` naming the first field that asks for something not supported."""
    refused = {
        "spec.scheduling.mode": (spec.scheduling.mode, "taint"),
    }
    for field, (found, supported) in refused.items():
        if found != supported:
            raise InvalidInput(field, found=found, expected=f"{supported} (this version supports nothing else yet)")


def check_driver(spec: SpiderNetworkProviderSpec, driver: str, capabilities: Capabilities) -> None:
    """Raises ``InvalidInput`` naming the first field that asks for something that ``driver`` cannot do."""
    if spec.addresses.mode == "prefix" and not capabilities.prefixes:
        expected = f"auto or secondaryIP (driver {driver} knows no prefixes)"
        raise InvalidInput("spec.addresses.mode", found=spec.addresses.mode, expected=expected)
    if "ipv6" in spec.addresses.families and not capabilities.ipv6:
        expected = f"ipv4 (driver {driver} knows no IPv6 addresses)"
        raise InvalidInput("spec.addresses.families", found=",".join(spec.addresses.families), expected=expected)
    if spec.security_groups.tags and not capabilities.security_groups:
        expected = f"ids (driver {driver} cannot find groups by tags)"
        raise InvalidInput("spec.securityGroups.tags", found=dict(spec.security_groups.tags), expected=expected)
    if spec.subnets.reservations and not capabilities.reservations:
        expected = f"nothing (driver {driver} cannot reserve blocks)"
        found = ", ".join(item.cidr for item in spec.subnets.reservations)
        raise InvalidInput("spec.subnets.reservations", found=found, expected=expected)
