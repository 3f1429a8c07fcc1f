"""What a provider may ask for that this version does not do yet: refused by name rather than silently ignored."""

from underlay.core.api.networkprovider import SpiderNetworkProviderSpec
from underlay.core.errors import InvalidInput


def check(spec: SpiderNetworkProviderSpec) -> None:
    """Raises ``InvalidInput`` naming the first field that asks for something not supported."""
    refused = {
        "spec.addresses.mode": (spec.addresses.mode, "secondaryIP"),
        "spec.addresses.families": (",".join(spec.addresses.families), "ipv4"),
        "spec.scheduling.mode": (spec.scheduling.mode, "taint"),
        "spec.fixedAddress": (spec.fixed_address, "preferred"),
    }
    for field, (found, supported) in refused.items():
        if found != supported:
            raise InvalidInput(field, found=found, expected=f"{supported} (this version supports nothing else yet)")
    if spec.security_groups.tags:
        expected = "nothing (this version takes spec.securityGroups.ids only)"
        raise InvalidInput("spec.securityGroups.tags", found=dict(spec.security_groups.tags), expected=expected)
