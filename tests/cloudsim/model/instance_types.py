"""What an instance type allows. The numbers are in instance_types.json, with their source and date."""

import json
from dataclasses import dataclass
from pathlib import Path

from cloudsim.model.errors import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """``interfaces`` per instance; ``ipv4`` and ``ipv6`` addresses per interface, the primary included."""

    name: str
    interfaces: int
    ipv4: int
    ipv6: int
    hypervisor: str
    bare_metal: bool
    vcpus: int
    memory_mib: int


def known_types() -> dict[str, InstanceType]:
    table = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return {
        name: InstanceType(
            name=name,
            interfaces=interfaces,
            ipv4=ipv4,
            ipv6=ipv4,
            hypervisor=hypervisor,
            bare_metal=hypervisor == "",
            vcpus=vcpus,
            memory_mib=int(memory_gib * 1024),
        )
        for name, (interfaces, ipv4, hypervisor, vcpus, memory_gib) in table["types"].items()
    }


def require(types: dict[str, InstanceType], name: str) -> InstanceType:
    if name not in types:
        raise Refused("InvalidInstanceType", f"The following supplied instance types do not exist: [{name}]")
    return types[name]
