"""rtnetlink for the ADD and DEL path: steps as bytes. Pure.

Formats: linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h, fib_rules.h, ip.h; all in host byte order. The encoder is
our own because a pod's ADD is a few dozen messages; everything else about netlink is pyroute2's work, in ``netlink``.
"""

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct

from underlay.cni.datapath.channel import Message, attribute
from underlay.cni.datapath.model import (
    DOOMED_GROUP,
    Addr,
    Link,
    Neigh,
    NftTable,
    Route,
    Rule,
    Sysctl,
)
from underlay.cni.datapath.plan import Create, Remove, SetDown, SetUp, Step

_IFINFO = Struct("=BxHiII")
_IFADDR = Struct("=BBBBI")
_RTMSG = Struct("=BBBBBBBBI")
_NDMSG = Struct("=BxHiHBB")
_ATTR_U32 = Struct("=HHI")

_NEWLINK, _DELLINK, _SETLINK, _NEWADDR, _DELADDR = 16, 17, 19, 20, 21
_NEWROUTE, _DELROUTE, _NEWNEIGH, _DELNEIGH, _NEWRULE, _DELRULE = 24, 25, 28, 29, 32, 33
_REQUEST, _REPLACE, _EXCL, _CREATE = 0x1, 0x100, 0x200, 0x400

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_LINKINFO, _IFLA_AF_SPEC = 1, 3, 4, 5, 18, 26
_IFLA_GROUP, _IFLA_NET_NS_FD = 27, 28
_IFF_UP = 1
_AF = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
_SCOPE = {"global": 0, "link": 253}
_ONLINK = 4
_NUD_PERMANENT = 0x80
_IFA_F_NODAD = 0x02
_TO_TABLE = 1

_DEVCONF = {"forwarding": 1, "rp_filter": 8, "arp_announce": 18, "arp_ignore": 19, "arp_notify": 22}
"""linux/ip.h IPV4_DEVCONF_*: the settings of IPv4 on one link that a netlink message can make."""


def is_file(sysctl: Sysctl) -> bool:
    """Whether the setting is made under /proc/sys, not by a message."""
    return sysctl.protocol != "ipv4" or sysctl.link in ("all", "default")


def encode(steps: Iterable[Step], *, indexes: Mapping[str, int], pod: int = -1) -> list[Message]:
    """One message per step. ``indexes`` numbers every link named in the steps.

    ``pod`` is a descriptor of the pod's namespace: links are created there by messages sent in the host's namespace,
    where their master is. File settings and nft tables are not netlink route messages and must not be among the steps.
    """
    return [_encode(step, indexes, pod) for step in steps]


def _encode(step: Step, indexes: Mapping[str, int], pod: int) -> Message:
    match step:
        case SetUp(link):
            return _flags(indexes[link.name], _IFF_UP)
        case SetDown(link):
            return _flags(indexes[link.name], 0)
        case Create(item):
            return _CREATE_ENCODERS[type(item)](item, indexes, pod)
        case Remove(item):
            return _REMOVE_ENCODERS[type(item)](item, indexes)


def doom(indexes: Sequence[int]) -> list[Message]:
    """Messages that remove links together: the kernel's wait is per request, so they are grouped first.

    A link that is gone makes its first message fail with ENODEV, and the last one if all are: both mean done.
    """
    grouped = [
        Message(type=_SETLINK, flags=_REQUEST, body=_IFINFO.pack(0, 0, index, 0, 0) + _u32(_IFLA_GROUP, DOOMED_GROUP))
        for index in indexes
    ]
    removed = _IFINFO.pack(0, 0, 0, 0, 0) + _u32(_IFLA_GROUP, DOOMED_GROUP)
    return [*grouped, Message(type=_DELLINK, flags=_REQUEST, body=removed)]


def _u32(kind: int, value: int) -> bytes:
    return _ATTR_U32.pack(8, kind, value)


def _mac(mac: str) -> bytes:
    return attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))


def _name(name: str) -> bytes:
    return attribute(_IFLA_IFNAME, name.encode() + b"\0")


_MACVLAN_BRIDGE = attribute(1, b"macvlan\0") + attribute(2, _u32(1, 4))
_IPVLAN_L2 = attribute(1, b"ipvlan\0") + attribute(2, attribute(1, b"\0\0"))
_VETH = attribute(1, b"veth\0")
_VETH_PEER = 1


def _create_link(link: Link, _: Mapping[str, int], pod: int) -> Message:
    body = _IFINFO.pack(0, 0, link.index, 0, 0) + _name(link.name) + _u32(_IFLA_GROUP, link.group)
    if pod >= 0:
        body += _u32(_IFLA_NET_NS_FD, pod)
    if link.master:
        body += _u32(_IFLA_LINK, link.master)
    if link.mac is not None:
        body += _mac(link.mac)
    if link.mtu is not None:
        body += _u32(_IFLA_MTU, link.mtu)
    return Message(type=_NEWLINK, flags=_REQUEST | _CREATE | _EXCL, body=body + attribute(_IFLA_LINKINFO, _kind(link)))


def _kind(link: Link) -> bytes:
    if link.kind == "macvlan":
        return _MACVLAN_BRIDGE
    if link.kind == "ipvlan":
        return _IPVLAN_L2
    if link.kind == "veth" and link.peer is not None:
        # The peer's index is honoured because the first end's is given too; without IFLA_NET_NS_FD of its own the peer
        # appears in the namespace of the socket, the host's.
        peer = _IFINFO.pack(0, 0, link.peer.index, 0, 0) + _name(link.peer.name) + _mac(link.peer.mac)
        peer += _u32(_IFLA_GROUP, link.group)
        if link.mtu is not None:
            peer += _u32(_IFLA_MTU, link.mtu)
        return _VETH + attribute(2, attribute(_VETH_PEER, peer))
    raise ValueError(f"no way to create {link}")


def _remove_link(link: Link, indexes: Mapping[str, int]) -> Message:
    return Message(type=_DELLINK, flags=_REQUEST, body=_IFINFO.pack(0, 0, indexes[link.name], 0, 0))


def _flags(index: int, flags: int) -> Message:
    return Message(type=_SETLINK, flags=_REQUEST, body=_IFINFO.pack(0, 0, index, flags, _IFF_UP))


def _set_sysctl(sysctl: Sysctl, indexes: Mapping[str, int], _: int) -> Message:
    setting = attribute(1, _u32(_DEVCONF[sysctl.key], sysctl.value))
    body = _IFINFO.pack(0, 0, indexes[sysctl.link], 0, 0)
    body += attribute(_IFLA_AF_SPEC, attribute(_AF[4], setting))
    return Message(type=_SETLINK, flags=_REQUEST, body=body)


def _addr(addr: Addr, indexes: Mapping[str, int]) -> bytes:
    ip, version = addr.address.packed, addr.address.version
    flags = _IFA_F_NODAD if version == 6 else 0  # a cloud's address cannot be a duplicate, and the wait is a second
    body = _IFADDR.pack(_AF[version], addr.address.network.prefixlen, flags, 0, indexes[addr.link])
    return body + attribute(2, ip) + attribute(1, ip)


def _create_addr(addr: Addr, indexes: Mapping[str, int], _: int) -> Message:
    return Message(type=_NEWADDR, flags=_REQUEST | _CREATE | _EXCL, body=_addr(addr, indexes))


def _remove_addr(addr: Addr, indexes: Mapping[str, int]) -> Message:
    """Of IPv4 the kernel is given no prefix, so it removes the address whatever its mask; of IPv6 it must fit."""
    if addr.address.version == 6:
        return Message(type=_DELADDR, flags=_REQUEST, body=_addr(addr, indexes))
    body = _IFADDR.pack(_AF[4], 32, 0, 0, indexes[addr.link]) + attribute(2, addr.address.packed)
    return Message(type=_DELADDR, flags=_REQUEST, body=body)


def _route(route: Route, indexes: Mapping[str, int]) -> bytes:
    version = route.to.version
    flags = _ONLINK if route.on_link else 0
    table = route.table if route.table < 256 else 0
    prefix = route.to.prefixlen
    body = _RTMSG.pack(_AF[version], prefix, 0, 0, table, route.protocol, _SCOPE[route.scope], 1, flags)
    if prefix:
        body += attribute(1, route.to.network_address.packed)
    body += _u32(4, indexes[route.link])
    if route.via is not None:
        body += attribute(5, route.via.packed)
    if route.source is not None:
        body += attribute(7, route.source.packed)
    return body + _u32(15, route.table)


def _create_route(route: Route, indexes: Mapping[str, int], _: int) -> Message:
    how = _REPLACE if route.replace else _EXCL
    return Message(type=_NEWROUTE, flags=_REQUEST | _CREATE | how, body=_route(route, indexes))


def _remove_route(route: Route, indexes: Mapping[str, int]) -> Message:
    return Message(type=_DELROUTE, flags=_REQUEST, body=_route(route, indexes))


def _neigh(neigh: Neigh, indexes: Mapping[str, int]) -> bytes:
    body = _NDMSG.pack(_AF[neigh.address.version], 0, indexes[neigh.link], _NUD_PERMANENT, 0, 0)
    return body + attribute(1, neigh.address.packed)


def _create_neigh(neigh: Neigh, indexes: Mapping[str, int], _: int) -> Message:
    body = _neigh(neigh, indexes) + attribute(2, bytes.fromhex(neigh.mac.replace(":", "")))
    return Message(type=_NEWNEIGH, flags=_REQUEST | _CREATE | _REPLACE, body=body)


def _remove_neigh(neigh: Neigh, indexes: Mapping[str, int]) -> Message:
    return Message(type=_DELNEIGH, flags=_REQUEST, body=_neigh(neigh, indexes))


def _rule(rule: Rule) -> bytes:
    body = _RTMSG.pack(_AF[rule.family], 0, 0, 0, rule.table if rule.table < 256 else 0, 0, 0, _TO_TABLE, 0)
    body += _u32(6, rule.priority) + _u32(15, rule.table)
    if rule.mark:
        body += _u32(10, rule.mark) + _u32(16, 0xFFFFFFFF)
    return body


def _create_rule(rule: Rule, _: Mapping[str, int], __: int) -> Message:
    return Message(type=_NEWRULE, flags=_REQUEST | _CREATE | _EXCL, body=_rule(rule), repeatable=True)


def _remove_rule(rule: Rule, _: Mapping[str, int]) -> Message:
    return Message(type=_DELRULE, flags=_REQUEST, body=_rule(rule))


def _not_ours(item: NftTable, *_: object) -> Message:
    raise ValueError(f"{item} is not a route message")


_CREATE_ENCODERS: dict[type, Callable[..., Message]] = {
    Link: _create_link,
    Sysctl: _set_sysctl,
    Addr: _create_addr,
    Route: _create_route,
    Neigh: _create_neigh,
    Rule: _create_rule,
    NftTable: _not_ours,
}
_REMOVE_ENCODERS: dict[type, Callable[..., Message]] = {
    Link: _remove_link,
    Addr: _remove_addr,
    Route: _remove_route,
    Neigh: _remove_neigh,
    Rule: _remove_rule,
    NftTable: _not_ours,
}
