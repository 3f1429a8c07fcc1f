"""One account in one region: all its tables, and the clock and chance that it shares with the others."""

from ipaddress import IPv4Address
from random import Random
from typing import Any

from cloudsim.clock import Clock
from cloudsim.model.attachments import Attachment
from cloudsim.model.bitmap import Bitmap
from cloudsim.model.instance_types import InstanceType, known_types
from cloudsim.model.instances import Instance
from cloudsim.model.interfaces import NetworkInterface
from cloudsim.model.reservations import Reservation
from cloudsim.model.routes import RouteTable
from cloudsim.model.security_groups import SecurityGroup
from cloudsim.model.space6 import Space6
from cloudsim.model.subnets import Subnet
from cloudsim.model.table import Table
from cloudsim.model.tags import Tags
from cloudsim.model.tokens import Tokens
from cloudsim.model.trunks import TrunkAssociation
from cloudsim.model.vpcs import Vpc

ACCOUNT = "123456789012"
"""The account number that AWS' own documentation uses."""

MAC_PREFIX = 0x02
"""First byte of the interfaces' MACs: locally administered, not a group."""


class Names:
    """Ids and MACs, which no two accounts share, and the seeded chance that they come from."""

    def __init__(self, seed: int = 0) -> None:
        self.chance = Random(seed)
        self._ids: set[str] = set()
        self._macs: set[str] = set()

    def new_id(self, prefix: str) -> str:
        """``prefix-`` and 17 hexadecimal digits, never twice."""
        while (id_ := f"{prefix}-0{self.chance.getrandbits(64):016x}") in self._ids:
            pass
        self._ids.add(id_)
        return id_

    def new_mac(self) -> str:
        """Lower case, never twice."""
        while True:
            octets = [MAC_PREFIX, *(self.chance.getrandbits(8) for _ in range(5))]
            mac = ":".join(f"{octet:02x}" for octet in octets)
            if mac not in self._macs:
                self._macs.add(mac)
                return mac


class Cloud:
    """State only; the operations are functions of the modules beside this one."""

    def __init__(
        self,
        clock: Clock,
        *,
        region: str = "us-east-1",
        seed: int = 0,
        memory_seconds: float = 60.0,
        account: str = ACCOUNT,
        names: "Names | None" = None,
    ) -> None:
        self.clock = clock
        self.region = region
        self.account = account
        self.names = names or Names(seed)
        self.chance = self.names.chance
        self.types: dict[str, InstanceType] = known_types()
        self.most_ipv4 = max(type_.ipv4 for type_ in self.types.values())
        self.most_ipv6 = max(type_.ipv6 for type_ in self.types.values())
        self.vpcs: Table[Vpc] = Table(memory_seconds)
        self.subnets: Table[Subnet] = Table(memory_seconds)
        self.security_groups: Table[SecurityGroup] = Table(memory_seconds)
        self.instances: Table[Instance] = Table(memory_seconds)
        self.interfaces: Table[NetworkInterface] = Table(memory_seconds)
        self.reservations: Table[Reservation] = Table(memory_seconds)
        self.route_tables: Table[RouteTable] = Table(memory_seconds)
        self.trunk_associations: Table[TrunkAssociation] = Table(memory_seconds)
        self.tags: Table[Tags] = Table(memory_seconds)
        self.bitmaps: dict[str, Bitmap] = {}
        self.spaces6: dict[str, Space6] = {}
        """Of the subnets that have IPv6."""
        self.tokens = Tokens()
        self.attached: dict[str, set[str]] = {}
        """Ids of the interfaces of an instance in any attachment state: the index that keeps writes quick."""
        self.attachment_owner: dict[str, str] = {}
        """Attachment id → interface id."""
        self.holder: dict[tuple[str, IPv4Address], str] = {}
        """(VPC, address) → the interface that has it, other than within a prefix."""

    def now(self) -> float:
        return self.clock.now()

    def has(self, id_: str) -> bool:
        """Whether a resource of this account has the id."""
        tables: tuple[Table[Any], ...] = (
            self.interfaces,
            self.instances,
            self.subnets,
            self.vpcs,
            self.security_groups,
            self.route_tables,
        )
        return any(table.get(id_) is not None for table in tables)

    def new_id(self, prefix: str) -> str:
        return self.names.new_id(prefix)

    def new_mac(self) -> str:
        return self.names.new_mac()

    def interfaces_of(self, instance: str) -> list[NetworkInterface]:
        """By device index. Attaching and detaching ones included."""
        found = [self.interfaces.get(id_) for id_ in self.attached.get(instance, ())]
        return sorted((eni for eni in found if eni and eni.attachment), key=_device_index)

    def attachment(self, attachment: str) -> tuple[NetworkInterface, Attachment] | None:
        interface = self.interfaces.get(self.attachment_owner.get(attachment, ""))
        if interface is None or interface.attachment is None or interface.attachment.id != attachment:
            return None
        return interface, interface.attachment


def _device_index(interface: NetworkInterface) -> int:
    return interface.attachment.device_index if interface.attachment else -1
