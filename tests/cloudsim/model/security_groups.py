"""Security groups: here only names that an interface must have. Their rules are not simulated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudsim.model.errors import Refused

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud
    from cloudsim.model.vpcs import Vpc

PER_INTERFACE = 5
"""EC2's default quota of security groups per interface."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityGroup:
    id: str
    vpc: str
    name: str
    description: str


def create(cloud: "Cloud", vpc: str, name: str, description: str) -> SecurityGroup:
    if any(group.vpc == vpc and group.name == name for group in cloud.security_groups.values()):
        raise Refused("InvalidGroup.Duplicate", f"The security group '{name}' already exists for VPC '{vpc}'")
    group = SecurityGroup(id=cloud.new_id("sg"), vpc=vpc, name=name, description=description)
    cloud.security_groups.put(group.id, group, cloud.now())
    return group


def choose(cloud: "Cloud", vpc: "Vpc", wanted: Sequence[str]) -> tuple[str, ...]:
    """The groups an interface in ``vpc`` gets: ``wanted``, or the VPC's default group."""
    if not wanted:
        return (vpc.default_group,)
    for id_ in wanted:
        group = cloud.security_groups.get(id_)
        if group is None:
            raise Refused("InvalidGroup.NotFound", f"The security group '{id_}' does not exist")
        if group.vpc != vpc.id:
            raise Refused("InvalidParameter", "You have specified two resources that belong to different networks.")
    if len(set(wanted)) > PER_INTERFACE:
        raise Refused(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "The maximum number of security groups per interface has been reached.",
        )
    return tuple(dict.fromkeys(wanted))
