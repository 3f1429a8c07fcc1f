"""Whether pods' packets get anywhere on the internet, as far as the subnets' routes tell."""

from collections.abc import Iterable

from underlay.core.api.conditions import set_condition
from underlay.core.api.meta import Condition
from underlay.core.api.networkprovider import SpiderNetworkProviderSpec
from underlay.core.cloud.model import Egress, Subnet

POD_EGRESS = "PodEgress"
"""Condition of a provider: False while pods of some subnet cannot reach the internet though it has a way out."""


def told(
    conditions: list[Condition],
    spec: SpiderNetworkProviderSpec,
    subnets: Iterable[Subnet],
    *,
    now: str,
    generation: int | None,
) -> list[Condition]:
    """With the condition, which is there once something has been wrong."""
    if text := stranded(spec, subnets):
        return set_condition(conditions, POD_EGRESS, "False", "NoPublicAddress", text, now, generation)
    if not any(condition.type == POD_EGRESS for condition in conditions):
        return conditions
    text = "no subnet of pods sends packets for the internet to an internet gateway"
    return set_condition(conditions, POD_EGRESS, "True", "NothingFound", text, now, generation)


def stranded(spec: SpiderNetworkProviderSpec, subnets: Iterable[Subnet]) -> str:
    """What is wrong, for a person; empty: nothing is.

    Of subnets that only hold the nodes' own first interfaces nothing is said: pods have no addresses there.
    """
    if "ipv4" not in spec.addresses.families:
        return ""
    found = sorted(item.id for item in subnets if item.egress is Egress.INTERNET_GATEWAY and _serves_pods(spec, item))
    if not found:
        return ""
    return (
        f"{', '.join(found)}: packets for the internet go to an internet gateway, which passes only addresses that have"
        " a public one, and secondary addresses have none: pods with addresses of these subnets do not reach the"
        " internet over IPv4. To do: route 0.0.0.0/0 of these subnets to a NAT gateway, or name other subnets in"
        " spec.subnets; nothing if pods need no internet."
    )


def _serves_pods(spec: SpiderNetworkProviderSpec, subnet: Subnet) -> bool:
    selector = spec.subnets
    if spec.interfaces.use_primary or not (selector.ids or selector.tags):
        return True
    if selector.ids:
        return subnet.id in selector.ids
    return all(subnet.tags.get(name) == value for name, value in selector.tags.items())
