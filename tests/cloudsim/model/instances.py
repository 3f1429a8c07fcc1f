"""Instances. Made and ended through the control API, with their primary interface at device index 0."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from cloudsim.model import attachments, instance_types, interfaces, slots, subnets
from cloudsim.model.attachments import AttachmentState
from cloudsim.model.errors import Refused, not_found
from cloudsim.model.ipv6 import Wanted6

if TYPE_CHECKING:
    from cloudsim.model.cloud import Cloud


class InstanceState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"
    STOPPING = "stopping"
    STOPPED = "stopped"


STATE_CODES = {
    InstanceState.PENDING: 0,
    InstanceState.RUNNING: 16,
    InstanceState.SHUTTING_DOWN: 32,
    InstanceState.TERMINATED: 48,
    InstanceState.STOPPING: 64,
    InstanceState.STOPPED: 80,
}
"""EC2 API InstanceState."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Keys that the instance's metadata service hands out for ever."""

    access_key: str
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """``netns``: path of the network namespace that plays the machine; empty for one that only the API knows.
    ``profile``: ARN of the role whose temporary keys its metadata service hands out.
    """

    id: str
    type: str
    zone: str
    vpc: str
    subnet: str
    private_ip: str
    reservation: str
    launch_time: float
    state: InstanceState
    netns: str = ""
    role: Role | None = None
    profile: str = ""


def run(
    cloud: "Cloud",
    type_: str,
    subnet: str,
    *,
    netns: str = "",
    role: Role | None = None,
    secondary_count: int = 0,
    ipv6_count: int = 0,
) -> Instance:
    """EC2 RunInstances, one instance, running at once; its primary interface is attached and goes with it."""
    slots.fits(instance_types.require(cloud.types, type_).ipv4, 1 + secondary_count)
    slots.fits(instance_types.require(cloud.types, type_).ipv6, ipv6_count)
    home = subnets.require(cloud, subnet)
    wanted = interfaces.Wanted(subnet=subnet, secondary_count=secondary_count, ipv6=Wanted6(count=ipv6_count))
    eni = interfaces.create(cloud, wanted)
    instance = Instance(
        id=cloud.new_id("i"),
        type=type_,
        zone=home.zone,
        vpc=home.vpc,
        subnet=subnet,
        private_ip=str(eni.primary),
        reservation=cloud.new_id("r"),
        launch_time=cloud.now(),
        state=InstanceState.RUNNING,
        netns=netns,
        role=role,
    )
    cloud.instances.put(instance.id, instance, cloud.now())
    attachments.bind(cloud, eni, instance.id, 0, AttachmentState.ATTACHED, delete_on_termination=True)
    return instance


def set_state(cloud: "Cloud", instance: str, state: InstanceState) -> Instance:
    """Stop or start: the interfaces stay attached."""
    machine = require(cloud, instance)
    if machine.state in {InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED}:
        raise Refused(
            "IncorrectInstanceState", f"The instance '{instance}' is not in a state from which it can be {state}."
        )
    changed = replace(machine, state=state)
    cloud.instances.put(instance, changed, cloud.now())
    return changed


def set_role(cloud: "Cloud", instance: str, arn: str) -> None:
    """EC2 AssociateIamInstanceProfile, ReplaceIamInstanceProfileAssociation and DisassociateIamInstanceProfile."""
    cloud.instances.put(instance, replace(require(cloud, instance), profile=arn), cloud.now())


def terminate(cloud: "Cloud", instance: str) -> tuple[str, ...]:
    """EC2 TerminateInstances: interfaces go with the instance or become available, as DeleteOnTermination says.

    Returns the interfaces that were attached. A second time changes nothing.
    """
    machine = require(cloud, instance)
    if machine.state is InstanceState.TERMINATED:
        return ()
    cloud.instances.put(instance, replace(machine, state=InstanceState.TERMINATED), cloud.now())
    had = cloud.interfaces_of(instance)
    for eni in had:
        attachments.unbind(cloud, eni)
        if eni.attachment and eni.attachment.delete_on_termination:
            interfaces.delete(cloud, eni.id)
    return tuple(eni.id for eni in had)


def require(cloud: "Cloud", instance: str) -> Instance:
    found = cloud.instances.get(instance)
    if found is None:
        raise not_found("InvalidInstanceID", "instance", [instance])
    return found
