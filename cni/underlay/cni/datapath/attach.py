"""From a wish and the host's facts to a plan. Pure.

``plan`` joins the mode's link (``macvlan``, ``ipvlan``), its addresses and default route with the way to the host
(``coordinator``). Everything random or counted (link indexes, MACs) comes in as ``Numbers``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from underlay.cni.datapath import coordinator, ipvlan, macvlan
from underlay.cni.datapath.model import (
    Addr,
    IPAddress,
    IPInterface,
    IPNetwork,
    Link,
    Namespace,
    Route,
    SlaveKind,
    Sysctl,
)
from underlay.cni.datapath.plan import Plan
from underlay.core.errors import InvalidInput
from underlay.core.identity import Mac


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """One interface of one sandbox. ``netns`` is a path; ``addresses`` carry the subnet's mask.

    ``master`` is the name of the host's link that owns the addresses. ``mac`` (macvlan only) and ``mtu`` None: ours to
    choose, and the master's. ``gateways``: at most one per family; without one there is no default route.
    ``host_path``: whether the pod gets ``veth0``; true for the first interface of a pod, false for further ones.
    """

    container_id: str
    ifname: str
    netns: str
    kind: SlaveKind
    master: str
    addresses: tuple[IPInterface, ...]
    gateways: tuple[IPAddress, ...] = ()
    mac: Mac | None = None
    mtu: int | None = None
    host_path: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLink:
    """A link of the host. ``addresses`` are those the host itself has on it (with their masks).

    ``driver`` is the kernel driver's name (``ena``, ``virtio_net``, ``veth``), empty where there is none.
    """

    index: int
    name: str
    mac: Mac
    mtu: int
    up: bool
    driver: str = ""
    addresses: tuple[IPInterface, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What a plan needs to know of the host. ``node_addresses`` are the Node's InternalIPs, first one first."""

    links: Mapping[str, HostLink]
    node_addresses: tuple[IPAddress, ...] = ()
    service_cidrs: tuple[IPNetwork, ...] = ()
    hijack_cidrs: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Link indexes, unique in the host and in the pod, and MACs, chosen for one attachment."""

    slave_index: int
    pod_index: int
    host_index: int
    slave_mac: Mac
    pod_mac: Mac
    host_mac: Mac


def plan(want: Want, facts: HostFacts, numbers: Numbers) -> Plan:
    """What the host and the pod shall hold for ``want``. ``want.master`` must be among ``facts.links``.

    The order of the pod's links, and of its routes, is the order in which they are made.
    Raises ``InvalidInput`` for a wish that no kernel state can fulfil.
    """
    _check(want)
    master = facts.links[want.master]
    mtu = want.mtu or master.mtu
    if mtu > master.mtu:
        raise InvalidInput("mtu", found=mtu, expected=f"at most the {master.mtu} of master {want.master}")
    ips: tuple[IPAddress, ...] = tuple(address.ip for address in want.addresses)
    own = Namespace(
        sysctls=_sysctls(want),
        links=(_slave(want, master, mtu, numbers),),
        addrs=tuple(Addr(link=want.ifname, address=address) for address in want.addresses),
        routes=tuple(_default_route(want, gateway) for gateway in want.gateways),
    )
    if not want.host_path:
        return Plan(pod=own)
    aside = coordinator.host_path(
        container_id=want.container_id,
        addresses=ips,
        node_addresses=facts.node_addresses,
        service_cidrs=facts.service_cidrs + facts.hijack_cidrs,
        mtu=master.mtu,
        pod_index=numbers.pod_index,
        host_index=numbers.host_index,
        pod_mac=numbers.pod_mac,
        host_mac=numbers.host_mac,
    )
    pod = Namespace(
        sysctls=own.sysctls + aside.pod.sysctls,
        links=own.links + aside.pod.links,
        addrs=own.addrs,
        neighs=aside.pod.neighs,
        routes=own.routes + aside.pod.routes,
        rules=aside.pod.rules,
        nft=aside.pod.nft,
    )
    return Plan(host=aside.host, pod=pod)


def _check(want: Want) -> None:
    if want.mac is not None and want.kind == "ipvlan":
        raise InvalidInput("mac", found=want.mac, expected="none: an ipvlan interface has its master's MAC")
    if not want.addresses:
        raise InvalidInput("addresses", found=(), expected="at least one address")
    families = [gateway.version for gateway in want.gateways]
    if len(set(families)) != len(families):
        raise InvalidInput("gateways", found=[str(g) for g in want.gateways], expected="at most one per address family")


def _slave(want: Want, master: HostLink, mtu: int, numbers: Numbers) -> Link:
    match want.kind:
        case "macvlan":
            mac = want.mac or numbers.slave_mac
            return macvlan.slave(name=want.ifname, index=numbers.slave_index, master=master.index, mac=mac, mtu=mtu)
        case "ipvlan":
            return ipvlan.slave(name=want.ifname, index=numbers.slave_index, master=master.index, mtu=mtu)
        case _:
            assert_never(want.kind)


def _sysctls(want: Want) -> tuple[Sysctl, ...]:
    """No router may configure the pod; replies may leave by another link; the kernel announces the addresses.

    A runtime may have switched IPv6 off in the pod's namespace, as it does on nodes that once had none.

    The reverse path filter in force is the larger of a link's own and ``all``, both inherited from the host. Loose (2)
    would not do: on a link without an address, as veth0 is, the kernel takes it for strict.
    """
    enabled = (Sysctl(protocol="ipv6", link="all", key="disable_ipv6", value=0),)
    return (
        *(enabled if any(address.version == 6 for address in want.addresses) else ()),
        Sysctl(protocol="ipv6", link="default", key="accept_ra", value=0),
        Sysctl(protocol="ipv4", link="all", key="rp_filter", value=0),
        Sysctl(protocol="ipv4", link=want.ifname, key="rp_filter", value=0),
        Sysctl(protocol="ipv4", link=want.ifname, key="arp_notify", value=1),
    )


def _default_route(want: Want, gateway: IPAddress) -> Route:
    covered = any(gateway in address.network for address in want.addresses)
    return Route(link=want.ifname, to=coordinator.EVERYTHING[gateway.version], via=gateway, on_link=not covered)
