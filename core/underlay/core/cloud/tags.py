"""The tags that say whose an interface is. Every driver writes them on what it creates, ``plan`` and the collector
read them. Pure.
"""

from underlay.core.cloud.model import NetworkInterface, Owner

CLUSTER = "underlay.spidernet.io/cluster"
"""UID of namespace kube-system."""
NODE = "underlay.spidernet.io/node"
"""UID of the Node object."""
INTENT = "underlay.spidernet.io/intent"
"""Token of the create call, so that an interface whose creation was interrupted is found again."""


def of_owner(owner: Owner) -> dict[str, str]:
    """The tags by which all interfaces of ``owner`` are found; of the whole cluster when it names no node."""
    return {CLUSTER: owner.cluster} | ({NODE: owner.node} if owner.node else {})


def is_managed(interface: NetworkInterface, cluster: str) -> bool:
    """Pods may get what it has: this cluster's own, or the machine's first unless a service of the cloud runs it."""
    return is_owned(interface, cluster) or (interface.primary and not interface.special)


def is_owned(interface: NetworkInterface, cluster: str) -> bool:
    """The interface was made by the operator of this cluster (for whichever incarnation of the Node), and neither has
    a service of the cloud got it since nor a person forbidden to touch it.
    """
    return not interface.special and bool(cluster) and interface.tags.get(CLUSTER) == cluster
