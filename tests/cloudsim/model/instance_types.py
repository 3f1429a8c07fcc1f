"""What an instance type allows. The numbers are in instance_types.json, with their source and date."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudsim.model.errors import Refused

DATA = Path(__file__).with_suffix(".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """``cards``: interfaces of each network card; ``ipv4`` and ``ipv6``: address slots of an interface.

    The primary address, each secondary address and each prefix takes one slot.
    """

    name: str
    cards: tuple[int, ...]
    ipv4: int
    ipv6: int
    hypervisor: str
    vcpus: int
    memory_mib: int
    architecture: str
    ena: str
    efa: int
    current: bool

    @property
    def interfaces(self) -> int:
        return sum(self.cards)

    @property
    def bare_metal(self) -> bool:
        return not self.hypervisor

    @property
    def has_prefixes(self) -> bool:
        """EC2 User Guide, "Prefix delegation": on Nitro, which bare metal is too."""
        return self.hypervisor in {"nitro", ""}

    @property
    def has_trunks(self) -> bool:
        """EKS User Guide, "Security groups for Pods": Nitro, but none of the T families."""
        return self.has_prefixes and not self.name.startswith("t")


def known_types() -> dict[str, InstanceType]:
    table = json.loads(DATA.read_text(encoding="utf-8"))
    return {name: _type(name, row) for name, row in table["types"].items()}


def require(types: dict[str, InstanceType], name: str) -> InstanceType:
    if name not in types:
        raise Refused("InvalidInstanceType", f"The following supplied instance types do not exist: [{name}]")
    return types[name]


def _type(name: str, row: list[Any]) -> InstanceType:
    cards, ipv4, ipv6, hypervisor, vcpus, memory_mib, architecture, ena, efa, current = row
    return InstanceType(
        name=name,
        cards=tuple(cards),
        ipv4=ipv4,
        ipv6=ipv6,
        hypervisor=hypervisor,
        vcpus=vcpus,
        memory_mib=memory_mib,
        architecture=architecture,
        ena=ena,
        efa=efa,
        current=current,
    )
