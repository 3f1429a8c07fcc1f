"""Which security groups the interfaces of a node should have, and which interfaces have others. Pure."""

from collections.abc import Collection

from underlay.core.api.networkprovider import SecurityGroupSelector
from underlay.core.cloud import tags
from underlay.core.cloud.model import Instance, InterfaceState
from underlay.core.errors import InvalidInput
from underlay.core.identity import InterfaceId

_CHANGEABLE = (InterfaceState.IN_USE, InterfaceState.AVAILABLE)


def wanted(selector: SecurityGroupSelector, tagged: Collection[str], instance: Instance) -> tuple[str, ...]:
    """The ids, those that were found ``tagged``, or those of the primary interface, in this order. Raises
    ``InvalidInput`` when tags are given and no group has them: without groups a cloud would give its own default.
    """
    if selector.ids:
        return tuple(selector.ids)
    if selector.tags:
        if not tagged:
            expected = f"tags that at least one security group of {instance.network} has"
            raise InvalidInput("spec.securityGroups.tags", found=dict(selector.tags), expected=expected)
        return tuple(tagged)
    return next(item.security_groups for item in instance.interfaces if item.primary)


def differing(instance: Instance, groups: Collection[str], cluster: str) -> tuple[InterfaceId, ...]:
    """Interfaces of ours that have other groups than ``groups``. The primary one is the node's; what others made
    is theirs.
    """
    return tuple(
        item.id
        for item in instance.interfaces
        if tags.is_owned(item, cluster)
        and not item.primary
        and item.state in _CHANGEABLE
        and set(item.security_groups) != set(groups)
    )
