"""What belongs to a subnet or a trunk rather than to an interface: CIDR reservations, branch associations."""

from collections.abc import Mapping

from cloudsim.model import reservations, subnets, trunks
from cloudsim.model.cloud import Cloud
from cloudsim.model.errors import Refused, invalid_value
from cloudsim.model.reservations import Reservation
from cloudsim.model.trunks import TrunkAssociation
from cloudsim.wire import network_shapes
from cloudsim.wire.creation import tag_specification
from cloudsim.wire.done import TRUE, Done
from cloudsim.wire.filters import Fields, cut, matching, read_filters, read_page
from cloudsim.wire.query import Params
from cloudsim.wire.xml import Node


def create_subnet_cidr_reservation(cloud: Cloud, params: Params) -> Done:
    subnet = params.required("SubnetId")
    cidr = params.required("Cidr")
    type_ = params.required("ReservationType")
    description = params.text("Description") or ""
    tags = tag_specification(params, "subnet-cidr-reservation")
    params.finish()
    made = reservations.create(cloud, subnet, cidr, type_, description=description, tags=tags)
    return Done(body={"subnetCidrReservation": network_shapes.reservation(made, tags, cloud.account)})


def delete_subnet_cidr_reservation(cloud: Cloud, params: Params) -> Done:
    id_ = params.required("SubnetCidrReservationId")
    params.finish()
    tags = cloud.tags.get(id_) or {}
    gone = reservations.delete(cloud, id_)
    return Done(body={"deletedSubnetCidrReservation": network_shapes.reservation(gone, tags, cloud.account)})


def get_subnet_cidr_reservations(cloud: Cloud, params: Params, moment: float) -> Mapping[str, Node]:
    subnet = params.required("SubnetId")
    filters = read_filters(params)
    page = read_page(params, most=1000)
    params.finish()
    if cloud.subnets.at(subnet, moment) is None:
        subnets.require(cloud, subnet)
    held = [found for found in cloud.reservations.as_of(moment).values() if found.subnet == subnet]
    chosen = matching(held, filters, _RESERVATION_FIELDS, lambda found: cloud.tags.at(found.id, moment) or {})
    shown, token = cut(chosen, page, lambda found: found.id)

    def of_version(version: int) -> list[Node]:
        return [
            network_shapes.reservation(found, cloud.tags.at(found.id, moment) or {}, cloud.account)
            for found in shown
            if found.cidr.version == version
        ]

    return {
        "subnetIpv4CidrReservationSet": of_version(4),
        "subnetIpv6CidrReservationSet": of_version(6),
        "nextToken": token,
    }


def associate_trunk_interface(cloud: Cloud, params: Params) -> Done:
    branch = params.required("BranchInterfaceId")
    trunk = params.required("TrunkInterfaceId")
    vlan = params.integer("VlanId")
    gre = params.integer("GreKey")
    token = params.text("ClientToken")
    params.finish()
    if gre is not None:
        raise invalid_value("GRE is not supported for trunk interfaces; give a VlanId.")
    if vlan is None:
        raise Refused("MissingParameter", "The request must contain the parameter VlanId")
    asked = params.fingerprint(without=frozenset({"ClientToken"}))
    earlier = cloud.tokens.find("AssociateTrunkInterface", token, asked, cloud.now()) if token else None
    made = cloud.trunk_associations.get(earlier) if earlier else trunks.associate(cloud, trunk, branch, vlan)
    if made is None:
        raise Refused("InvalidAssociationID.NotFound", f"The association ID '{earlier}' does not exist")
    if token:
        cloud.tokens.remember("AssociateTrunkInterface", token, asked, made.id, cloud.now())
    return Done(body={"interfaceAssociation": _association(made), "clientToken": token})


def disassociate_trunk_interface(cloud: Cloud, params: Params) -> Done:
    association = params.required("AssociationId")
    token = params.text("ClientToken")
    params.finish()
    trunks.disassociate(cloud, association)
    return Done(body={**TRUE, "clientToken": token})


def trunk_interface_associations(cloud: Cloud, params: Params, moment: float) -> Mapping[str, Node]:
    ids = params.texts("AssociationId")
    filters = read_filters(params)
    page = read_page(params, most=255)
    params.finish()
    held = [found for found in cloud.trunk_associations.as_of(moment).values() if not ids or found.id in ids]
    shown, token = cut(matching(held, filters, _ASSOCIATION_FIELDS), page, lambda found: found.id)
    return {"interfaceAssociationSet": [_association(found) for found in shown], "nextToken": token}


def _association(held: TrunkAssociation) -> Mapping[str, Node]:
    return {
        "associationId": held.id,
        "branchInterfaceId": held.branch,
        "trunkInterfaceId": held.trunk,
        "interfaceProtocol": "VLAN",
        "vlanId": held.vlan,
        "tagSet": (),
    }


_RESERVATION_FIELDS: Fields[Reservation] = {
    "reservationType": lambda found: (found.type.value,),
    "subnet-id": lambda found: (found.subnet,),
}

_ASSOCIATION_FIELDS: Fields[TrunkAssociation] = {
    "gre-key": lambda _: (),
    "interface-protocol": lambda _: ("VLAN",),
}
