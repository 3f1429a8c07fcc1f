"""The whole truth of the account as JSON, for tests that compare it with what others believe."""

from collections.abc import Mapping

from cloudsim.model.cloud import Cloud
from cloudsim.model.interfaces import NetworkInterface


def table(cloud: Cloud) -> Mapping[str, object]:
    return {
        "interfaces": [_interface(cloud, eni) for eni in cloud.interfaces.values()],
        "instances": [
            {
                "id": machine.id,
                "type": machine.type,
                "zone": machine.zone,
                "state": machine.state.value,
                "netns": machine.netns,
                "private_ip": machine.private_ip,
                "interfaces": [eni.id for eni in cloud.interfaces_of(machine.id)],
            }
            for machine in cloud.instances.values()
        ],
        "subnets": [
            {"id": net.id, "vpc": net.vpc, "zone": net.zone, "cidr": str(net.cidr), "free": net.free}
            for net in cloud.subnets.values()
        ],
    }


def _interface(cloud: Cloud, eni: NetworkInterface) -> Mapping[str, object]:
    attachment = eni.attachment
    return {
        "id": eni.id,
        "subnet": eni.subnet,
        "zone": eni.zone,
        "mac": eni.mac,
        "description": eni.description,
        "groups": list(eni.groups),
        "tags": dict(cloud.tags.get(eni.id) or {}),
        "status": eni.status,
        "primary": str(eni.primary),
        "addresses": [str(address) for address in eni.addresses[1:]],
        "attachment": None
        if attachment is None
        else {
            "id": attachment.id,
            "instance": attachment.instance,
            "device_index": attachment.device_index,
            "state": attachment.state.value,
            "delete_on_termination": attachment.delete_on_termination,
        },
    }
