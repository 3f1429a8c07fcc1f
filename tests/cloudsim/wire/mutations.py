"""Changing operations. Each reads all its parameters, then changes the model once or is refused and changes nothing."""

from cloudsim.model import attachments, interfaces, tags
from cloudsim.model.cloud import Cloud
from cloudsim.model.errors import Refused
from cloudsim.wire.done import TRUE, Done
from cloudsim.wire.query import Params


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
    return Done(
        body={"attachmentId": attachment.id, "networkCardIndex": attachment.network_card}, attaching=attachment.id
    )


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
