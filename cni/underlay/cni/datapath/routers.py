"""Which IPv6 router a link of the host has: the kernel's own, or the one that answers when asked.

The kernel listens to routers only where the host itself uses them (``accept_ra``), which is the primary interface at
most. On the others one question is sent from here. A packet socket is used: it needs no address on the link, no rule of
the host's firewall, and it tells who sent the frame.
"""

import asyncio
import ctypes
import socket
import struct
from ipaddress import IPv6Address

from underlay.cni.datapath import netlink
from underlay.cni.datapath.attach import HostLink
from underlay.cni.datapath.errors import MasterMissing
from underlay.cni.datapath.solicitation import (
    ALL_ROUTERS_MAC,
    ICMPV6,
    ROUTER_ADVERTISEMENT,
    Router6,
    advertisement,
    solicitation,
)
from underlay.core.identity import Mac

_ETH_P_IPV6 = 0x86DD
_SO_ATTACH_FILTER = 26
_NEXT_HEADER, _ICMP_TYPE = 6, 40
_LARGEST = 2048

_FILTER = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, _NEXT_HEADER),  # load the byte at
        (0x15, 0, 3, ICMPV6),  # go on if it equals, else skip 3
        (0x30, 0, 0, _ICMP_TYPE),
        (0x15, 0, 1, ROUTER_ADVERTISEMENT),
        (0x06, 0, 0, _LARGEST),  # take so much
        (0x06, 0, 0, 0),  # take nothing
    )
)
"""Classic BPF (linux/filter.h): a busy link's other packets never reach this process."""


def known(name: str) -> Router6 | None:
    """The router of the kernel's own default route on link ``name``. In a thread of ``namespaces``."""
    return next((router for link, router in netlink.default_routers() if link == name), None)


class Question:
    """One solicitation on one link."""

    def __init__(self, link: HostLink) -> None:
        """Open the socket, in a thread of ``namespaces``."""
        self._link = link
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
        try:
            self._socket.setblocking(False)
            program = ctypes.create_string_buffer(_FILTER, len(_FILTER))
            fprog = struct.pack("HP", len(_FILTER) // 8, ctypes.addressof(program))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
            self._socket.bind((link.name, _ETH_P_IPV6))
        except BaseException:
            self._socket.close()
            raise

    async def ask(self, seconds: float) -> Router6 | None:
        """Ask, and wait so long for a router. ``OSError``: the link is down or gone."""
        addresses = (address.ip for address in self._link.addresses if address.is_link_local)
        source = next((address for address in addresses if isinstance(address, IPv6Address)), None)
        self._socket.sendto(solicitation(self._link.mac, source), (self._link.name, _ETH_P_IPV6, 0, 0, ALL_ROUTERS_MAC))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    packet, (_, _, _, _, sender) = await loop.sock_recvfrom(self._socket, _LARGEST)
                    if router := advertisement(packet, sender=Mac(sender.hex(":")), own=self._link.mac):
                        return router
        except TimeoutError:
            return None

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


def question(name: str) -> Question:
    """About link ``name``. In a thread of ``namespaces``. Raises ``MasterMissing``."""
    link = next((link for link in netlink.host_links() if link.name == name), None)
    if link is None:
        raise MasterMissing(name)
    return Question(link)
