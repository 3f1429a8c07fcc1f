"""What a provider no longer serves is given back: what is kept meanwhile, when nothing is left, what is waited for."""

from collections.abc import Iterable

from msgspec import structs

from underlay.core.api.networkprovider import AddressPolicy, InterfacePolicy
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.cloud import items, tags
from underlay.core.cloud.model import Instance

_NAMED = 5


def interfaces(given: InterfacePolicy) -> InterfacePolicy:
    """The provider's; also what the primary interface got while it was used goes back."""
    return structs.replace(given, use_primary=True)


def addresses(given: AddressPolicy) -> AddressPolicy:
    """The provider's, with nothing to spare and nothing to wait for; a pod is no reason for a prefix any more."""
    return structs.replace(given, mode="secondaryIP", batch=1, buffer=0, minimum=0, max_idle=0, release_delay_seconds=0)


def is_returned(network: SpiderNodeNetwork, instance: Instance, cluster: str) -> bool:
    """The machine has nothing of ours any more, and no release or cloud write is under way."""
    status = network.status
    if network.spec.release or (status is not None and status.intents):
        return False
    for interface in instance.interfaces:
        if not interface.primary and tags.is_owned(interface, cluster):
            return False
        served = {4 if name == "ipv4" else 6 for name in network.spec.families}
        if interface.primary and any(item.version in served for item in items.of_interface(interface)):
            return False
    return True


def waiting(networks: Iterable[SpiderNodeNetwork]) -> str:
    """What still keeps a provider that is to be deleted, for a person; empty when no node has anything of it."""
    texts = []
    for network in sorted(networks, key=lambda item: item.metadata.name):
        demand = network.status.demand if network.status else None
        held = f"{demand.pods} pods hold addresses" if demand and demand.pods else "its addresses are going back"
        texts.append(f"{network.metadata.name} ({held})")
    if not texts:
        return ""
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return (
        f"{len(texts)} nodes still have addresses of this provider: {', '.join(texts[:_NAMED])}{more}."
        " To do: delete those pods, or move them to nodes of another provider; the rest is returned by itself."
    )
