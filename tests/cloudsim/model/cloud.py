"""One account in one region: all tables, the clock, and the seeded chance that ids and addresses come from."""

from ipaddress import IPv4Address
from random import Random

from cloudsim.clock import Clock
from cloudsim.model.attachments import Attachment
from cloudsim.model.instance_types import InstanceType, known_types
from cloudsim.model.instances import Instance
from cloudsim.model.interfaces import NetworkInterface
from cloudsim.model.security_groups import SecurityGroup
from cloudsim.model.subnets import Bitmap, Subnet
from cloudsim.model.table import Table
from cloudsim.model.tags import Tags
from cloudsim.model.tokens import Tokens
from cloudsim.model.vpcs import Vpc

ACCOUNT = "123456789012"
"""The account number that AWS' own documentation uses."""

MAC_PREFIX = 0x02
"""First byte of the interfaces' MACs: locally administered, not a group."""


class Cloud:
    """State only; the operations are functions of the modules beside this one."""

    def __init__(self, clock: Clock, *, region: str = "us-east-1", seed: int = 0, memory_seconds: float = 60.0) -> None:
        self.clock = clock
        self.region = region
        self.chance = Random(seed)
        self.types: dict[str, InstanceType] = known_types()
        self.vpcs: Table[Vpc] = Table(memory_seconds)
        self.subnets: Table[Subnet] = Table(memory_seconds)
        self.security_groups: Table[SecurityGroup] = Table(memory_seconds)
        self.instances: Table[Instance] = Table(memory_seconds)
        self.interfaces: Table[NetworkInterface] = Table(memory_seconds)
        self.tags: Table[Tags] = Table(memory_seconds)
        self.bitmaps: dict[str, Bitmap] = {}
        self.tokens = Tokens()
        self.attached: dict[str, set[str]] = {}
        """Ids of the interfaces of an instance in any attachment state: the index that keeps writes quick."""
        self.attachment_owner: dict[str, str] = {}
        """Attachment id → interface id."""
        self.holder: dict[tuple[str, IPv4Address], str] = {}
        """(VPC, address) → the interface that has it."""
        self._ids: set[str] = set()
        self._macs: set[str] = set()

    def now(self) -> float:
        return self.clock.now()

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
