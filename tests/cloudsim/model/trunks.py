"""Trunk interfaces carry branch interfaces by VLAN. Only an attached trunk of a type that supports them can."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cloudsim.model.errors import Refused, invalid_value, not_found

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud

VLANS = range(1, 4095)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkAssociation:
    id: str
    trunk: str
    branch: str
    vlan: int

    @property
    def ends(self) -> tuple[str, str]:
        return self.trunk, self.branch


def associate(cloud: "Cloud", trunk: str, branch: str, vlan: int) -> TrunkAssociation:
    """EC2 AssociateTrunkInterface."""
    from cloudsim.model import instance_types, instances, interfaces  # noqa: PLC0415 a cloud's tables know all nouns

    carrier, carried = interfaces.require(cloud, trunk), interfaces.require(cloud, branch)
    if carrier.attachment is not None:
        type_ = instance_types.require(cloud.types, instances.require(cloud, carrier.attachment.instance).type)
        if not type_.has_trunks:
            raise Refused("UnsupportedOperation", f"Instance type {type_.name} does not support trunk interfaces.")
    if carrier.type != "trunk":
        raise invalid_value(f"Network interface '{trunk}' is not a trunk interface.")
    if carrier.attachment is None:
        raise Refused("IncorrectState", f"Trunk interface '{trunk}' is not attached to an instance.")
    if carried.attachment is not None or carried.type != "interface":
        raise Refused("InvalidNetworkInterface.InUse", f"Interface: [{branch}] in use.")
    if vlan not in VLANS:
        raise invalid_value(f"Value ({vlan}) for parameter VlanId is invalid.")
    if any(other.trunk == trunk and other.vlan == vlan for other in cloud.trunk_associations.values()):
        raise invalid_value(f"VLAN {vlan} is already in use on trunk interface '{trunk}'.")
    made = TrunkAssociation(id=cloud.new_id("trunk-assoc"), trunk=trunk, branch=branch, vlan=vlan)
    cloud.trunk_associations.put(made.id, made, cloud.now())
    cloud.interfaces.put(branch, replace(carried, type="branch"), cloud.now())
    return made


def disassociate(cloud: "Cloud", association: str) -> None:
    """EC2 DisassociateTrunkInterface."""
    from cloudsim.model import interfaces  # noqa: PLC0415 likewise

    held = cloud.trunk_associations.get(association)
    if held is None:
        raise not_found("InvalidAssociationID", "association", [association])
    cloud.trunk_associations.remove(association, cloud.now())
    branch = interfaces.require(cloud, held.branch)
    cloud.interfaces.put(branch.id, replace(branch, type="interface"), cloud.now())
