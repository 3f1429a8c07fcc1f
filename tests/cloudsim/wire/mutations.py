"""Changing operations. Each reads all its parameters, then changes the model once or is refused and changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

from cloudsim.model import addresses, attachments, interfaces, tags
from cloudsim.model.cloud import Cloud
from cloudsim.model.errors import Refused, invalid_value
from cloudsim.model.interfaces import NetworkInterface, Wanted
from cloudsim.model.subnets import parse_address
from cloudsim.wire import shapes
from cloudsim.wire.query import Params
from cloudsim.wire.xml import Node

TRUE: Mapping[str, Node] = {"return": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The answer, and what the network under the instances must still be told.

    ``changed``: interfaces to bring up to date before the answer is given. ``attaching``, ``detaching``: the attachment
    whose completion takes time.
    """

    body: Mapping[str, Node]
    changed: tuple[str, ...] = ()
    attaching: str | None = None
    detaching: str | None = None


def create_network_interface(cloud: Cloud, params: Params) -> Done:
    token = params.text("ClientToken")
    wanted = _wanted(params)
    params.finish()
    asked = params.fingerprint(without=frozenset({"ClientToken"}))
    if token and (made := cloud.tokens.find("CreateNetworkInterface", token, asked, cloud.now())):
        earlier = cloud.interfaces.get(made)
        if earlier is None:
            raise Refused("InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{made}' does not exist")
        return Done(body=_created(cloud, earlier, token))
    eni = interfaces.create(cloud, wanted)
    if token:
        cloud.tokens.remember("CreateNetworkInterface", token, asked, eni.id, cloud.now())
    return Done(body=_created(cloud, eni, token))


def delete_network_interface(cloud: Cloud, params: Params) -> Done:
    interface = params.required("NetworkInterfaceId")
    params.finish()
    interfaces.delete(cloud, interface)
    return Done(body=TRUE)


def attach_network_interface(cloud: Cloud, params: Params) -> Done:
    interface = params.required("NetworkInterfaceId")
    instance = params.required("InstanceId")
    device_index = params.required_integer("DeviceIndex")
    network_card = params.integer("NetworkCardIndex") or 0
    params.finish()
    attachment = attachments.attach(cloud, interface, instance, device_index, network_card)
    return Done(body={"attachmentId": attachment.id, "networkCardIndex": 0}, attaching=attachment.id)


def detach_network_interface(cloud: Cloud, params: Params) -> Done:
    attachment = params.required("AttachmentId")
    params.boolean("Force")
    params.finish()
    attachments.detach(cloud, attachment)
    return Done(body=TRUE, detaching=attachment)


def modify_network_interface_attribute(cloud: Cloud, params: Params) -> Done:
    """One attribute a request, as EC2 wants it."""
    interface = params.required("NetworkInterfaceId")
    groups = params.texts("SecurityGroupId")
    description = params.text("Description.Value")
    source_dest_check = params.boolean("SourceDestCheck.Value")
    attachment = params.text("Attachment.AttachmentId")
    delete_on_termination = params.boolean("Attachment.DeleteOnTermination")
    params.finish()
    given = (bool(groups), description is not None, source_dest_check is not None, attachment is not None)
    if sum(given) > 1:
        raise Refused("InvalidParameterCombination", "Fields for multiple attribute types specified")
    interfaces.require(cloud, interface)
    if groups:
        interfaces.set_groups(cloud, interface, groups)
    elif description is not None:
        interfaces.set_description(cloud, interface, description)
    elif source_dest_check is not None:
        interfaces.set_source_dest_check(cloud, interface, wanted=source_dest_check)
    elif attachment is not None and delete_on_termination is not None:
        attachments.set_delete_on_termination(cloud, interface, attachment, wanted=delete_on_termination)
    else:
        raise Refused("MissingParameter", "No attributes specified.")
    return Done(body=TRUE)


def assign_private_ip_addresses(cloud: Cloud, params: Params) -> Done:
    interface = params.required("NetworkInterfaceId")
    named = tuple(parse_address(text) for text in params.texts("PrivateIpAddress"))
    count = params.integer("SecondaryPrivateIpAddressCount")
    reassign = params.boolean("AllowReassignment") or False
    params.finish()
    if named and count is not None:
        raise Refused(
            "InvalidParameterCombination",
            "The parameter secondaryPrivateIpAddressCount cannot be used with the parameter privateIpAddresses",
        )
    if named:
        done = addresses.assign_exactly(cloud, interface, named, reassign=reassign)
    elif count is not None:
        done = addresses.assign(cloud, interface, count)
    else:
        raise Refused(
            "MissingParameter", "Either secondary private addresses or the secondary private address count is required"
        )
    return Done(
        body={
            **TRUE,
            "networkInterfaceId": interface,
            "assignedPrivateIpAddressesSet": [{"privateIpAddress": str(address)} for address in done.addresses],
        },
        changed=(*done.donors, interface),
    )


def unassign_private_ip_addresses(cloud: Cloud, params: Params) -> Done:
    interface = params.required("NetworkInterfaceId")
    named = tuple(parse_address(text) for text in params.texts("PrivateIpAddress"))
    params.finish()
    if not named:
        raise Refused("MissingParameter", "The request must contain the parameter privateIpAddresses")
    addresses.unassign(cloud, interface, named)
    return Done(body=TRUE, changed=(interface,))


def create_tags(cloud: Cloud, params: Params) -> Done:
    resources = _resources(params)
    wanted = {element.required("Key"): element.text("Value") or "" for element in params.elements("Tag")}
    params.finish()
    if not wanted:
        raise Refused("MissingParameter", "The request must contain the parameter Tags")
    tags.create(cloud, resources, wanted)
    return Done(body=TRUE)


def delete_tags(cloud: Cloud, params: Params) -> Done:
    resources = _resources(params)
    unwanted = {element.required("Key"): element.text("Value") for element in params.elements("Tag")}
    params.finish()
    tags.delete(cloud, resources, unwanted)
    return Done(body=TRUE)


def _resources(params: Params) -> tuple[str, ...]:
    resources = params.texts("ResourceId")
    if not resources:
        raise Refused("MissingParameter", "The request must contain the parameter resourceIdSet")
    return resources


def _wanted(params: Params) -> Wanted:
    subnet = params.required("SubnetId")
    primary = params.text("PrivateIpAddress")
    count = params.integer("SecondaryPrivateIpAddressCount")
    listed = [
        (parse_address(element.required("PrivateIpAddress")), element.boolean("Primary") or False)
        for element in params.elements("PrivateIpAddresses")
    ]
    if count is not None and count < 0:
        raise invalid_value(f"Value ({count}) for parameter secondaryPrivateIpAddressCount is invalid.")
    if count is not None and len(listed) > 1:
        raise Refused(
            "InvalidParameterCombination",
            "The parameter secondaryPrivateIpAddressCount cannot be used with the parameter privateIpAddresses",
        )
    primaries = [address for address, is_primary in listed if is_primary]
    if primary is not None:
        primaries.append(parse_address(primary))
    if len(primaries) > 1:
        raise invalid_value("Only one primary private IP address can be specified")
    return Wanted(
        subnet=subnet,
        description=params.text("Description") or "",
        groups=params.texts("SecurityGroupId"),
        primary=primaries[0] if primaries else None,
        secondary=tuple(address for address, is_primary in listed if not is_primary),
        secondary_count=count or 0,
        tags=_tag_specification(params),
    )


def _tag_specification(params: Params) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for specification in params.elements("TagSpecification"):
        kind = specification.required("ResourceType")
        if kind != "network-interface":
            raise invalid_value(f"'{kind}' is not a valid taggable resource type for this operation.")
        for element in specification.elements("Tag"):
            key = element.required("Key")
            if key in found:
                raise invalid_value(f"Duplicate tag key '{key}' specified.")
            found[key] = element.text("Value") or ""
    return found


def _created(cloud: Cloud, eni: NetworkInterface, token: str | None) -> Mapping[str, Node]:
    groups = dict(cloud.security_groups.items())
    shape = shapes.network_interface(eni, groups, cloud.tags.get(eni.id) or {})
    return {"networkInterface": {**shape, "status": "pending"}, "clientToken": token}
