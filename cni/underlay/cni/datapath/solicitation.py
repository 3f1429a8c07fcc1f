"""Router solicitations and advertisements as bytes (RFC 4861 §4.1, §4.2, §6.1.2). Pure.

Packets begin with their IPv6 header: the kernel makes and strips the Ethernet header.
"""

from dataclasses import dataclass
from ipaddress import IPv6Address
from struct import Struct

from underlay.core.identity import Mac

ALL_ROUTERS = IPv6Address("ff02::2")
ALL_ROUTERS_MAC = bytes.fromhex("333300000002")
ICMPV6 = 58
ROUTER_ADVERTISEMENT = 134

_ROUTER_SOLICITATION = 133
_UNSPECIFIED = IPv6Address("::")
_FURTHEST = 255
"""The hop limit that a router would have lowered: the sender is on this very link."""

_IPV6 = Struct(">IHBB16s16s")
_SOLICITATION = Struct(">BBHI")
_ADVERTISEMENT = Struct(">BBHBBHII")
_PSEUDO = Struct(">16s16sI3xB")
_SOURCE_LINK_ADDRESS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Router6:
    """A default router of a link. ``lifetime_seconds``: how long it may be taken for one; infinite if nobody said."""

    address: IPv6Address
    lifetime_seconds: float


def solicitation(mac: Mac, source: IPv6Address | None) -> bytes:
    """Asks the routers of a link. ``source``: the sender's link-local address; None: the answer goes to all nodes."""
    body = _SOLICITATION.pack(_ROUTER_SOLICITATION, 0, 0, 0)
    if source is not None:
        body += bytes((_SOURCE_LINK_ADDRESS, 1)) + bytes.fromhex(mac.replace(":", ""))
    return _packet(source or _UNSPECIFIED, ALL_ROUTERS, body)


def advertisement(packet: bytes, *, sender: Mac, own: Mac) -> Router6 | None:
    """The default router that a packet announces; None if it is no valid advertisement, or not of a default router.

    ``sender`` is the frame's. One that has our ``own`` MAC comes from an ipvlan pod on this link, which has no say in
    where its neighbours send.
    """
    if len(packet) < _IPV6.size + _ADVERTISEMENT.size or sender.lower() == own.lower():
        return None
    _, length, following, hops, source, target = _IPV6.unpack_from(packet)
    body = packet[_IPV6.size : _IPV6.size + length]
    router = IPv6Address(source)
    if following != ICMPV6 or hops != _FURTHEST or not router.is_link_local or len(body) < _ADVERTISEMENT.size:
        return None
    kind, code, _, _, _, lifetime, _, _ = _ADVERTISEMENT.unpack_from(body)
    if kind != ROUTER_ADVERTISEMENT or code or not lifetime or _checksum(source, target, body) or not _whole(body):
        return None
    return Router6(address=router, lifetime_seconds=float(lifetime))


def _packet(source: IPv6Address, target: IPv6Address, body: bytes) -> bytes:
    checksum = _checksum(source.packed, target.packed, body)
    body = body[:2] + checksum.to_bytes(2, "big") + body[4:]
    return _IPV6.pack(6 << 28, len(body), ICMPV6, _FURTHEST, source.packed, target.packed) + body


def _checksum(source: bytes, target: bytes, body: bytes) -> int:
    """Zero for a packet that carries the right one (RFC 4443 §2.3)."""
    content = _PSEUDO.pack(source, target, len(body), ICMPV6) + body + b"\0" * (len(body) % 2)
    total = sum(int.from_bytes(content[at : at + 2], "big") for at in range(0, len(content), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _whole(body: bytes) -> bool:
    """Whether the options, each of which tells its length in units of eight bytes, end with the packet."""
    at = _ADVERTISEMENT.size
    while at + 2 <= len(body) and body[at + 1]:
        at += body[at + 1] * 8
    return at == len(body)
