"""Reading the kernel into ``model`` values: the only module that imports pyroute2. Never on the ADD path.

All functions look at the namespace of the calling thread (see ``namespaces``), and block.
"""

import ctypes
import fcntl
import socket
import struct
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address, ip_interface, ip_network
from typing import Any, Protocol, TypeVar

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkDumpInterrupted

from underlay.cni.datapath.attach import HostLink
from underlay.cni.datapath.model import (
    DOOMED_GROUP,
    OUR_GROUP,
    TABLE_MAIN,
    Addr,
    IPInterface,
    Link,
    LinkKind,
    Namespace,
    Neigh,
    Peer,
    Route,
    Rule,
    Sysctl,
)
from underlay.cni.datapath.solicitation import Router6
from underlay.core.identity import Mac

_UP, _LOOPBACK = 0x1, 0x8
_LINK_SCOPE = 253
_PERMANENT = 0x80
_UNICAST = 1
_KERNEL_MADE = 2  # RTPROT_KERNEL: follows an address, nobody plans it
_ROUTER_MADE = 9  # RTPROT_RA: a router announced it
_TICKS_PER_SECOND = 100  # USER_HZ, the unit of times in rtnetlink
_ONLINK = 4
_SIOCETHTOOL, _GET_DRIVER = 0x8946, 0x3
_ATTEMPTS = 5
_DEFAULT = {2: "0.0.0.0/0", 10: "::/0"}
_KINDS: dict[str, LinkKind] = {"ipvlan": "ipvlan", "macvlan": "macvlan", "veth": "veth"}

T = TypeVar("T")


class _Message(Protocol):
    """What is used of pyroute2's untyped messages: header fields by index, attributes by ``get``."""

    def __getitem__(self, field: str, /) -> Any:  # noqa: ANN401 - the parse boundary
        """A header field."""

    def get(self, attribute: str, /) -> Any:  # noqa: ANN401 - the parse boundary
        """An attribute by its name in lower case; None if the kernel did not send it."""


def observe() -> Namespace:
    """Everything in the namespace that a plan may speak of, links with settings of theirs, to rules.

    nft tables are not read. Routes the kernel makes by itself are left out, and addresses and neighbours of a link that
    came after the links were read.
    """
    with IPRoute() as kernel:
        links = _dump(kernel.get_links)
        addresses = _dump(kernel.get_addr)
        neighbours = _dump(kernel.get_neighbours)
        routes = _dump(lambda: [*kernel.get_routes(family=socket.AF_INET), *kernel.get_routes(family=socket.AF_INET6)])
        rules = _dump(lambda: [*kernel.get_rules(family=socket.AF_INET), *kernel.get_rules(family=socket.AF_INET6)])
    names = {link["index"]: str(link.get("ifname")) for link in links}
    return Namespace(
        sysctls=tuple(sysctl for link in links for sysctl in _sysctls(link)),
        links=tuple(_link(link) for link in links),
        addrs=tuple(Addr(link=names[a["index"]], address=_interface(a)) for a in addresses if a["index"] in names),
        neighs=tuple(
            Neigh(link=names[n["ifindex"]], address=ip_address(n.get("dst")), mac=Mac(n.get("lladdr")))
            for n in neighbours
            if n["ifindex"] in names and n["state"] & _PERMANENT and n.get("lladdr") and n.get("dst")
        ),
        routes=tuple(
            _route(r, names) for r in routes if r["type"] == _UNICAST and r["proto"] != _KERNEL_MADE and r.get("oif")
        ),
        rules=tuple(
            Rule(
                family=4 if r["family"] == socket.AF_INET else 6,
                priority=r.get("priority") or 0,
                table=r.get("table") or r["table"],
                mark=r.get("fwmark") or 0,
            )
            for r in rules
        ),
    )


def host_links() -> tuple[HostLink, ...]:
    """The host's own links with the addresses the host has on them: not loopback, and not what we made for pods."""
    with IPRoute() as kernel:
        links = _dump(kernel.get_links)
        addresses = _dump(kernel.get_addr)
    found: dict[int, list[IPInterface]] = {}
    for address in addresses:
        found.setdefault(address["index"], []).append(_interface(address))
    return tuple(
        HostLink(
            index=link["index"],
            name=str(link.get("ifname")),
            mac=Mac(str(link.get("address"))),
            mtu=int(link.get("mtu")),
            up=bool(link["flags"] & _UP),
            driver=_driver(str(link.get("ifname"))),
            addresses=tuple(found.get(link["index"], ())),
        )
        for link in links
        if not link["flags"] & _LOOPBACK and link.get("address") and link.get("group") not in (OUR_GROUP, DOOMED_GROUP)
    )


def default_routers() -> tuple[tuple[str, Router6], ...]:
    """IPv6 default routes in use, as the link's name and the router, which must be a link-local address."""
    with IPRoute() as kernel:
        links = _dump(kernel.get_links)
        routes = _dump(lambda: kernel.get_routes(family=socket.AF_INET6, table=TABLE_MAIN))
    names = {link["index"]: str(link.get("ifname")) for link in links}
    found = []
    for route in routes:
        if route["dst_len"] or route["type"] != _UNICAST:
            continue
        expires = _expires_seconds(route)
        for hop in route.get("multipath") or (route,):
            link, via = hop.get("oif") or hop["oif"], hop.get("gateway")
            if via and (address := IPv6Address(via)).is_link_local and link in names:
                lifetime = float("inf") if expires is None else expires
                found.append((names[link], Router6(address=address, lifetime_seconds=lifetime)))
    return tuple(found)


def announced_routes(name: str) -> tuple[Route, ...]:
    """IPv6 routes on link ``name`` that a router's announcement made, and that end with it."""
    with IPRoute() as kernel:
        names = {link["index"]: str(link.get("ifname")) for link in _dump(kernel.get_links)}
        routes = _dump(lambda: kernel.get_routes(family=socket.AF_INET6, table=TABLE_MAIN))
    return tuple(
        msgspec.structs.replace(_route(route, names), protocol=route["proto"])
        for route in routes
        if names.get(route.get("oif")) == name
        and route["type"] == _UNICAST
        and (route["proto"] == _ROUTER_MADE or _expires_seconds(route) is not None)
    )


def _expires_seconds(route: _Message) -> float | None:
    """None: never."""
    times = route.get("cacheinfo")
    ticks = times["rta_expires"] if times else 0
    return ticks / _TICKS_PER_SECOND if ticks > 0 else None


def _dump(read: Callable[[], Iterable[T]]) -> tuple[T, ...]:
    """A dump that nothing changed while it was made; the kernel says when something did."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return tuple(read())
        except NetlinkDumpInterrupted:
            continue
    return tuple(read())


def _link(link: _Message) -> Link:
    information = link.get("linkinfo")
    kind = _KINDS.get(information.get("kind") if information else "", "")
    mac = link.get("address")
    return Link(
        name=str(link.get("ifname")),
        index=link["index"],
        kind=kind,
        mac=Mac(mac) if mac else None,
        mtu=link.get("mtu"),
        up=bool(link["flags"] & _UP),
        group=link.get("group") or 0,
        master=link.get("link") or 0 if kind in ("ipvlan", "macvlan") else 0,
        peer=Peer(name="", index=link.get("link") or 0, mac=Mac("")) if kind == "veth" else None,
    )


def _sysctls(link: _Message) -> Iterable[Sysctl]:
    families = link.get("af_spec")
    values = families.get("AF_INET") if families else None
    if values:
        name = str(link.get("ifname"))
        for key in ("rp_filter", "arp_announce", "arp_ignore", "arp_notify"):
            yield Sysctl(protocol="ipv4", link=name, key=key, value=values[key])


def _interface(address: _Message) -> IPInterface:
    own = address.get("local") or address.get("address")
    return ip_interface(f"{own}/{address['prefixlen']}")


def _route(route: _Message, names: dict[int, str]) -> Route:
    to = route.get("dst")
    via = route.get("gateway")
    source = route.get("prefsrc")
    return Route(
        link=names.get(route.get("oif"), str(route.get("oif"))),
        to=ip_network(f"{to}/{route['dst_len']}" if to else _DEFAULT[route["family"]]),
        via=ip_address(via) if via else None,
        source=ip_address(source) if source else None,
        table=route.get("table") or TABLE_MAIN,
        scope="link" if route["scope"] == _LINK_SCOPE else "global",
        on_link=bool(route["flags"] & _ONLINK),
    )


def _driver(name: str) -> str:
    """The driver's name by ethtool: /sys shows the links of another namespace than this thread's."""
    request = struct.pack("I32s164s", _GET_DRIVER, b"", b"")
    buffer = bytearray(request)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as inet:
        area = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        try:
            fcntl.ioctl(inet, _SIOCETHTOOL, struct.pack("16sP", name.encode(), ctypes.addressof(area)))
        except OSError:
            return ""  # a link without a driver that answers
    return buffer[4:36].split(b"\0", 1)[0].decode(errors="replace")
