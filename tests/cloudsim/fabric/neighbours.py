"""How the VPC answers solicitations of IPv6 (RFC 4861 §4): bytes in, bytes out. Pure.

A cloud's network has no multicast: its router knows every assigned address and answers for it, and nobody else hears
the question. Packets begin with their IPv6 header.
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from struct import Struct

from cloudsim.fabric.model import ROUTER6, ROUTER_MAC, View

LIFETIME_SECONDS = 1800

_HEADER = Struct(">IHBB16s16s")
_ICMPV6, _HOPS = 58, 255
_ALL_NODES = IPv6Address("ff02::1")
_ALL_NODES_MAC = "33:33:00:00:00:01"
_MANAGED = 0x80  # addresses come by DHCPv6
_ON_LINK = 0x80
_ROUTER, _SOLICITED, _OVERRIDE = 0x80, 0x40, 0x20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A packet for one station."""

    mac: str
    packet: bytes


def answer(packet: bytes, *, link: str, mac: str, view: View) -> Reply | None:
    """What the VPC says to a packet that came from ``mac`` by ``link``; None: nothing, as to everything it need not
    answer.

    Who asks must be what it says it is. Nobody is told of an address of his own, nor whether one that he is about to
    take is free (a question from ``::``): two cannot have one.
    """
    if len(packet) < _HEADER.size + 8:
        return None
    _, length, following, hops, source, _ = _HEADER.unpack_from(packet)
    body = packet[_HEADER.size : _HEADER.size + length]
    asking = IPv6Address(source)
    subnet = view.subnets6.get(link)
    if following != _ICMPV6 or hops != _HOPS or subnet is None or not _is_genuine(asking, link, mac, view):
        return None
    reply = _REPLIES.get(body[0])
    return reply(body, asking, link, mac, subnet, view) if reply else None


def _is_genuine(asking: IPv6Address, link: str, mac: str, view: View) -> bool:
    if (link, mac) not in view.own:
        return False
    if asking.is_unspecified or asking.is_link_local:
        return True
    owner = view.owner(asking)
    return owner is not None and (owner.link, owner.mac) == (link, mac)


def _to_neighbour(body: bytes, asking: IPv6Address, link: str, mac: str, _: IPv6Network, view: View) -> Reply | None:
    target = IPv6Address(body[8:24]) if len(body) >= 24 else None
    if target is None or asking.is_unspecified:
        return None
    owner = view.owner(target)
    if target == ROUTER6 or target in view.gateways:
        flags = _ROUTER | _SOLICITED | _OVERRIDE
    elif owner is not None and owner.link != link:
        flags = _SOLICITED | _OVERRIDE
    else:
        return None
    told = bytes((136, 0, 0, 0, flags, 0, 0, 0)) + target.packed + b"\x02\x01" + _packed(ROUTER_MAC)
    return Reply(mac=mac, packet=_packet(target, asking, told))


def _to_router(_: bytes, asking: IPv6Address, __: str, mac: str, subnet: IPv6Network, ___: View) -> Reply:
    told = bytes((134, 0, 0, 0, _HOPS, _MANAGED)) + LIFETIME_SECONDS.to_bytes(2, "big") + bytes(8)
    told += b"\x01\x01" + _packed(ROUTER_MAC)
    valid = LIFETIME_SECONDS.to_bytes(4, "big")
    told += bytes((3, 4, subnet.prefixlen, _ON_LINK)) + valid + valid + bytes(4) + subnet.network_address.packed
    if asking.is_unspecified:
        return Reply(mac=_ALL_NODES_MAC, packet=_packet(ROUTER6, _ALL_NODES, told))
    return Reply(mac=mac, packet=_packet(ROUTER6, asking, told))


_REPLIES: dict[int, Callable[[bytes, IPv6Address, str, str, IPv6Network, View], Reply | None]] = {
    133: _to_router,
    135: _to_neighbour,
}


def _packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _packet(source: IPv6Address, target: IPv6Address, body: bytes) -> bytes:
    pseudo = source.packed + target.packed + len(body).to_bytes(4, "big") + bytes((0, 0, 0, _ICMPV6))
    total = sum(Struct(f">{(len(pseudo) + len(body)) // 2}H").unpack(pseudo + body))  # every option is of even length
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    checked: bytes = body[:2] + (total ^ 0xFFFF).to_bytes(2, "big") + body[4:]
    header: bytes = _HEADER.pack(0x60000000, len(body), _ICMPV6, _HOPS, source.packed, target.packed)
    return header + checked
