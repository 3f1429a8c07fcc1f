"""The whole truth as JSON, for tests that compare it with what others believe."""

from collections.abc import Iterable, Mapping

from cloudsim.model.cloud import Cloud
from cloudsim.model.interfaces import NetworkInterface


def table(clouds: Iterable[Cloud]) -> Mapping[str, list[object]]:
    """All accounts together: the rows name theirs."""
    joined: dict[str, list[object]] = {"interfaces": [], "instances": [], "subnets": []}
    for cloud in clouds:
        for name, rows in _table(cloud).items():
            joined[name] += [{**row, "account": cloud.account} for row in rows]
    return joined


def _table(cloud: Cloud) -> Mapping[str, list[Mapping[str, object]]]:
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
            {
                "id": net.id,
                "vpc": net.vpc,
                "zone": net.zone,
                "cidr": str(net.cidr),
                "ipv6_cidr": str(net.cidr6 or ""),
                "free": net.free,
                "reservations": [
                    {"id": held.id, "cidr": str(held.cidr), "type": held.type.value}
                    for held in cloud.reservations.values()
                    if held.subnet == net.id
                ],
            }
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
        "type": eni.type,
        "primary": str(eni.primary),
        "addresses": [str(address) for address in eni.addresses[1:]],
        "prefixes": [str(prefix) for prefix in eni.prefixes],
        "ipv6_addresses": [str(address) for address in eni.addresses6],
        "ipv6_prefixes": [str(prefix) for prefix in eni.prefixes6],
        "attachment": None
        if attachment is None
        else {
            "id": attachment.id,
            "instance": attachment.instance,
            "device_index": attachment.device_index,
            "network_card": attachment.network_card,
            "state": attachment.state.value,
            "delete_on_termination": attachment.delete_on_termination,
        },
    }
