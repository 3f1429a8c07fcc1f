"""Attaching and detaching an interface. Both take time: the state machine is attaching → attached → detaching → gone.

The shell calls ``complete_attach`` and ``complete_detach`` when the time has passed and the link is really there or
gone.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from cloudsim.model.errors import Refused, invalid_value, not_found

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud
    from cloudsim.model.instance_types import InstanceType
    from cloudsim.model.interfaces import NetworkInterface


class AttachmentState(StrEnum):
    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    id: str
    instance: str
    device_index: int
    state: AttachmentState
    attach_time: float
    delete_on_termination: bool = False
    network_card: int = 0


def attach(cloud: "Cloud", interface: str, instance: str, device_index: int, network_card: int = 0) -> Attachment:
    """EC2 AttachNetworkInterface."""
    from cloudsim.model import instance_types, instances, interfaces, slots  # noqa: PLC0415 these nouns know attachments

    eni = interfaces.require(cloud, interface)
    machine = instances.require(cloud, instance)
    if eni.attachment is not None:
        raise Refused("InvalidNetworkInterface.InUse", f"Interface: [{interface}] in use.")
    if machine.state not in {instances.InstanceState.RUNNING, instances.InstanceState.STOPPED}:
        raise Refused("IncorrectState", f"Instance '{instance}' is not 'running' or 'stopped'.")
    if eni.zone != machine.zone:
        raise Refused(
            "InvalidParameterCombination",
            "You may not attach a network interface to an instance if they are not in the same availability zone",
        )
    if eni.vpc != machine.vpc:
        raise Refused("InvalidParameterCombination", "The interface and the instance are not in the same VPC")
    type_ = instance_types.require(cloud.types, machine.type)
    if not 0 <= network_card < len(type_.cards):
        raise invalid_value(f"Network card index {network_card} is not supported for instance type {machine.type}")
    if device_index < 0:
        raise invalid_value(f"Invalid value '{device_index}' for device index")
    present = [other.attachment for other in cloud.interfaces_of(instance) if other.attachment]
    on_card = [other for other in present if other.network_card == network_card]
    if any(other.device_index == device_index for other in on_card):
        raise invalid_value(
            f"Instance '{instance}' already has an interface attached at device index '{device_index}'."
        )
    if len(present) + 1 > type_.interfaces or len(on_card) + 1 > type_.cards[network_card]:
        raise Refused(
            "AttachmentLimitExceeded", f"Interface count {len(present) + 1} exceeds the limit for {machine.type}"
        )
    slots.fits(type_.ipv4, eni.slots)
    slots.fits(type_.ipv6, eni.slots6)
    slots.check_type(type_, has_prefixes=bool(eni.prefixes or eni.prefixes6))
    _check_kind(type_, eni.type)
    return bind(cloud, eni, instance, device_index, AttachmentState.ATTACHING, network_card=network_card)


def bind(
    cloud: "Cloud",
    eni: "NetworkInterface",
    instance: str,
    device_index: int,
    state: AttachmentState,
    *,
    delete_on_termination: bool = False,
    network_card: int = 0,
) -> Attachment:
    """Record an attachment that has been checked."""
    attachment = Attachment(
        id=cloud.new_id("eni-attach"),
        instance=instance,
        device_index=device_index,
        state=state,
        attach_time=cloud.now(),
        delete_on_termination=delete_on_termination,
        network_card=network_card,
    )
    cloud.interfaces.put(eni.id, replace(eni, attachment=attachment), cloud.now())
    cloud.attached.setdefault(instance, set()).add(eni.id)
    cloud.attachment_owner[attachment.id] = eni.id
    return attachment


def complete_attach(cloud: "Cloud", attachment: str) -> bool:
    """Attaching → attached. False if that is no longer wanted."""
    return _move(cloud, attachment, AttachmentState.ATTACHING, AttachmentState.ATTACHED)


def detach(cloud: "Cloud", attachment: str) -> Attachment:
    """EC2 DetachNetworkInterface. Force only tells EC2 not to wait for the guest, which here never refuses."""
    eni, held = require(cloud, attachment)
    if held.device_index == 0:
        raise Refused("OperationNotPermitted", "The network interface at device index 0 cannot be detached.")
    if held.state is AttachmentState.DETACHING:
        raise Refused("IncorrectState", f"Attachment '{attachment}' of interface '{eni.id}' is already detaching.")
    _move(cloud, attachment, held.state, AttachmentState.DETACHING)
    return replace(held, state=AttachmentState.DETACHING)


def complete_detach(cloud: "Cloud", attachment: str) -> bool:
    """Detaching → gone."""
    found = cloud.attachment(attachment)
    if found is None or found[1].state is not AttachmentState.DETACHING:
        return False
    unbind(cloud, found[0])
    return True


def unbind(cloud: "Cloud", eni: "NetworkInterface") -> None:
    """Forget the attachment, whatever its state."""
    if eni.attachment is None:
        return
    cloud.attached[eni.attachment.instance].discard(eni.id)
    cloud.attachment_owner.pop(eni.attachment.id)
    cloud.interfaces.put(eni.id, replace(eni, attachment=None), cloud.now())


def set_delete_on_termination(cloud: "Cloud", interface: str, attachment: str, *, wanted: bool) -> None:
    """EC2 ModifyNetworkInterfaceAttribute, Attachment."""
    eni, held = require(cloud, attachment)
    if eni.id != interface:
        raise invalid_value(f"Attachment '{attachment}' is not of network interface '{interface}'")
    changed = replace(held, delete_on_termination=wanted)
    cloud.interfaces.put(eni.id, replace(eni, attachment=changed), cloud.now())


def require(cloud: "Cloud", attachment: str) -> "tuple[NetworkInterface, Attachment]":
    found = cloud.attachment(attachment)
    if found is None:
        raise not_found("InvalidAttachmentID", "attachment", [attachment])
    return found


def _check_kind(type_: "InstanceType", kind: str) -> None:
    if (kind == "trunk" and not type_.has_trunks) or (kind.startswith("efa") and not type_.efa):
        raise Refused("UnsupportedOperation", f"Instance type {type_.name} does not support {kind} network interfaces.")


def _move(cloud: "Cloud", attachment: str, old: AttachmentState, new: AttachmentState) -> bool:
    found = cloud.attachment(attachment)
    if found is None or found[1].state is not old:
        return False
    eni, held = found
    cloud.interfaces.put(eni.id, replace(eni, attachment=replace(held, state=new)), cloud.now())
    return True
