"""Link indexes and MACs for one attachment after another."""

import secrets
from itertools import count

from underlay.cni.datapath.attach import Numbers
from underlay.core.identity import Mac

_LOWEST, _HIGHEST = 1 << 20, 1 << 24
"""Above what a kernel counts to by itself, and low enough to be read by a person."""


class Numbering:
    """Three indexes and three MACs at a time.

    Indexes count up from a random start, so that those of an earlier run of this process are not met; where they are,
    the kernel says so and the next three are tried. Links in pods get indexes of their own too: kernels before 6.10
    look a new link's index up in the host's namespace.
    """

    def __init__(self) -> None:
        self._indexes = count(_LOWEST + secrets.randbelow(_HIGHEST - _LOWEST), 3)

    def draw(self) -> Numbers:
        """Numbers that no earlier call gave."""
        index = next(self._indexes)
        bits = secrets.token_bytes(18)
        return Numbers(
            slave_index=index,
            pod_index=index + 1,
            host_index=index + 2,
            slave_mac=_local_mac(bits[:6]),
            pod_mac=_local_mac(bits[6:12]),
            host_mac=_local_mac(bits[12:]),
        )


def _local_mac(bits: bytes) -> Mac:
    """Locally administered and of one receiver (IEEE 802 §8.2)."""
    return Mac(bytes((bits[0] & 0xFC | 0x02, *bits[1:])).hex(":"))
