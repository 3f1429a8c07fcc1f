"""Tags of any resource. EC2 User Guide, "Tag restrictions": 50 tags, keys up to 127 and values up to 255 characters."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from cloudsim.model.errors import Refused, invalid_value, not_found

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud

Tags = Mapping[str, str]

MOST = 50
KEY_LENGTH = 127
VALUE_LENGTH = 255

KINDS = {
    "eni": ("network-interface", "InvalidNetworkInterfaceID", "networkInterface"),
    "i": ("instance", "InvalidInstanceID", "instance"),
    "subnet": ("subnet", "InvalidSubnetID", "subnet"),
    "vpc": ("vpc", "InvalidVpcID", "vpc"),
    "sg": ("security-group", "InvalidGroup", "security group"),
    "scr": ("subnet-cidr-reservation", "InvalidSubnetCidrReservationID", "subnet CIDR reservation"),
    "rtb": ("route-table", "InvalidRouteTableID", "routeTable"),
}
"""Prefix of an id → resource type, first part of the NotFound code, word in its text."""


def check(tags: Tags) -> None:
    """Refuses what no resource may carry."""
    if len(tags) > MOST:
        raise Refused("TagLimitExceeded", "The maximum number of Tags for a resource has been reached.")
    for key, value in tags.items():
        if not key:
            raise invalid_value("Tag key cannot be empty")
        if key.lower().startswith("aws:"):
            raise invalid_value(f"Tag keys starting with 'aws:' are reserved for internal use: {key}")
        if len(key) > KEY_LENGTH:
            raise invalid_value(f"Tag key exceeds the maximum length of {KEY_LENGTH} characters")
        if len(value) > VALUE_LENGTH:
            raise invalid_value(f"Tag value exceeds the maximum length of {VALUE_LENGTH} characters")


def create(cloud: "Cloud", resources: Sequence[str], tags: Tags) -> None:
    """EC2 CreateTags: adds or overwrites, on all resources or none."""
    for id_ in resources:
        require_resource(cloud, id_)
        check({**(cloud.tags.get(id_) or {}), **tags})
    for id_ in resources:
        cloud.tags.put(id_, {**(cloud.tags.get(id_) or {}), **tags}, cloud.now())


def delete(cloud: "Cloud", resources: Sequence[str], unwanted: Mapping[str, str | None]) -> None:
    """EC2 DeleteTags: a key with a value goes only if the value is that; nothing named: all tags go."""
    for id_ in resources:
        require_resource(cloud, id_)
    for id_ in resources:
        held = cloud.tags.get(id_) or {}
        left = {
            key: value
            for key, value in held.items()
            if unwanted and not (key in unwanted and unwanted[key] in {None, value})
        }
        if left != held:
            cloud.tags.put(id_, left, cloud.now())


def resource_type(id_: str) -> str:
    return KINDS[id_.partition("-")[0]][0]


def require_resource(cloud: "Cloud", id_: str) -> None:
    prefix = id_.partition("-")[0]
    readers: Mapping[str, Callable[[str], object]] = {
        "eni": cloud.interfaces.get,
        "i": cloud.instances.get,
        "subnet": cloud.subnets.get,
        "vpc": cloud.vpcs.get,
        "sg": cloud.security_groups.get,
        "scr": cloud.reservations.get,
        "rtb": cloud.route_tables.get,
    }
    if prefix not in readers:
        raise Refused("InvalidID", f"The ID '{id_}' is not valid")
    if readers[prefix](id_) is None:
        _, code, label = KINDS[prefix]
        raise not_found(code, label, [id_])
