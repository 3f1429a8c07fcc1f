"""How scarce addresses are in a subnet, which all nodes that draw from it share. Pure.

    NORMAL ──free ≤ watermark──▶ LOW      batches of one address, at most one spare
       ▲                          │
       │                   free 0, refused as exhausted, or some node's pods lack addresses there
       │                          ▼
       └──── free > watermark ── EMPTY    nothing spare: idle addresses of all nodes are taken back at once

From EMPTY there is no way to LOW: what was taken back would be shared out as spare addresses, and the subnet would be
empty again. For the same reason the watermark leaves a spare address to every node of the subnet, beside what is asked
for at the moment it is reached.
"""

from enum import IntEnum

from underlay.core.cloud.model import Subnet

_LEAST = 16
_SHARE = 10


class Pressure(IntEnum):
    """The higher, the scarcer."""

    NORMAL = 0
    LOW = 1
    EMPTY = 2


def watermark(subnet: Subnet, *, nodes: int) -> int:
    """16 free addresses and one for each of ``nodes``, or a tenth of the subnet if that is more; half of it at most."""
    size = sum(cidr.num_addresses for cidr in subnet.cidrs if cidr.version == 4)
    return min(max(_LEAST + nodes, size // _SHARE), size // 2)


def pressure(subnet: Subnet, before: Pressure, *, blocked: bool, lacking: bool, nodes: int) -> Pressure:
    """That of IPv4 addresses; there is none of IPv6, nor where the cloud does not say what is free.

    ``blocked``: it refused lately. ``lacking``: pods of some node wait for an address of it. ``nodes`` have interfaces
    in it.
    """
    if blocked or lacking or subnet.free == 0:
        return Pressure.EMPTY
    if subnet.free is None or subnet.free > watermark(subnet, nodes=nodes):
        return Pressure.NORMAL
    return Pressure.EMPTY if before is Pressure.EMPTY else Pressure.LOW
