"""How many addresses and prefixes an interface may have. Each address and each prefix takes one slot of its family."""

from typing import TYPE_CHECKING

from cloudsim.model import instance_types, instances
from cloudsim.model.errors import Refused

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud
    from cloudsim.model.instance_types import InstanceType
    from cloudsim.model.interfaces import NetworkInterface


def check(
    cloud: "Cloud", eni: "NetworkInterface", *, addresses: int = 0, prefixes: int = 0, ipv6: int = 0, prefixes6: int = 0
) -> None:
    """Refuses what would be too much with so many more. Not attached, the largest instance type is the limit."""
    if eni.attachment is None:
        fits(cloud.most_ipv4, eni.slots + addresses + prefixes)
        fits(cloud.most_ipv6, eni.slots6 + ipv6 + prefixes6)
        return
    type_ = instance_types.require(cloud.types, instances.require(cloud, eni.attachment.instance).type)
    check_type(type_, has_prefixes=bool(prefixes or prefixes6))
    if addresses or prefixes:
        fits(type_.ipv4, eni.slots + addresses + prefixes)
    if ipv6 or prefixes6:
        fits(type_.ipv6, eni.slots6 + ipv6 + prefixes6)


def check_type(type_: "InstanceType", *, has_prefixes: bool) -> None:
    if has_prefixes and not type_.has_prefixes:
        raise Refused("UnsupportedOperation", f"Instance type {type_.name} does not support prefixes: it is not Nitro.")


def fits(limit: int, wanted: int) -> None:
    if wanted > limit:
        raise Refused("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
