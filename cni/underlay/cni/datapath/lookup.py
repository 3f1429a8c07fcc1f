"""One link by its name: the only question the ADD and DEL path asks the kernel (linux/if_link.h RTM_GETLINK)."""

import errno
from dataclasses import dataclass
from struct import Struct

from underlay.cni.datapath.channel import Channel, Failure, Message, attribute
from underlay.cni.datapath.errors import KernelRefused
from underlay.core.identity import Mac

_GETLINK = 18
_REQUEST = 0x1
_IFINFO = Struct("=BxHiII")
_ATTR = Struct("=HH")
_U32 = Struct("=I")
_ADDRESS, _IFNAME, _MTU, _GROUP, _EXT_MASK = 1, 3, 4, 27, 29
_SKIP_STATISTICS = attribute(_EXT_MASK, _U32.pack(1 << 3))
_UP = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is needed of a link that is there."""

    index: int
    name: str
    mac: Mac
    mtu: int
    group: int
    up: bool


def link(channel: Channel, name: str) -> Found | None:
    """The link ``name`` in the namespace of ``channel``; None if there is none."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(_IFNAME, name.encode() + b"\0") + _SKIP_STATISTICS
    reply = channel.ask(Message(type=_GETLINK, flags=_REQUEST, body=body))
    if isinstance(reply, Failure):
        if reply.errno in (errno.ENODEV, errno.EINVAL, errno.ERANGE):  # the last two: no link can have such a name
            return None
        raise KernelRefused(reply.errno, f"look up link {name}", reply.reason)
    _, _, index, flags, _ = _IFINFO.unpack_from(reply, 16)
    mac, mtu, group = "", 0, 0
    at = 32
    while at + 4 <= len(reply):
        length, kind = _ATTR.unpack_from(reply, at)
        if kind == _ADDRESS:
            mac = reply[at + 4 : at + length].hex(":")
        elif kind == _MTU:
            (mtu,) = _U32.unpack_from(reply, at + 4)
        elif kind == _GROUP:
            (group,) = _U32.unpack_from(reply, at + 4)
        at += max(4, (length + 3) & ~3)
    return Found(index=index, name=name, mac=Mac(mac), mtu=mtu, group=group, up=bool(flags & _UP))
