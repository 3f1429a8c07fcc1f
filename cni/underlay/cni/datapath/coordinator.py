"""The pod's second way out: ``veth0`` to its own node. Pure.

A macvlan or ipvlan slave cannot talk to its master's host. So node addresses, Services and NodePorts, and the kubelet's
health checks go through a veth pair: the pod has a route for each node address and Service range through ``veth0``, the
host a route for the pod's address in table 500.

What comes in through ``veth0`` is answered through it: the pod marks such connections (nft, see ``nft.pod_table``), and
marked packets look into table 100. Without that a Service's reply from a pod of this node would leave by the slave,
past the connection tracking that translated the request.

Both ends' MACs are known, neighbours are permanent: nobody asks by ARP, and the host's end needs no address.
Tables, priorities and the mark are Spiderpool's (coordinator, mode underlay).
"""

from collections.abc import Sequence
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network
from string import hexdigits

from underlay.cni.datapath.model import (
    POD_VETH,
    RULE_PRIORITY,
    TABLE_HOST_TO_PODS,
    TABLE_VETH_REPLIES,
    VETH_MARK,
    IPAddress,
    IPNetwork,
    Link,
    Namespace,
    Neigh,
    NftTable,
    Peer,
    Route,
    Rule,
    Sysctl,
)
from underlay.cni.datapath.plan import Plan
from underlay.core.identity import Mac

POD_NFT = NftTable(name="underlay")
"""The constant table that marks connections; see ``nft``."""

EVERYTHING: dict[int, IPNetwork] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}

HOST_RULES = (
    Rule(family=4, priority=RULE_PRIORITY, table=TABLE_HOST_TO_PODS),
    Rule(family=6, priority=RULE_PRIORITY, table=TABLE_HOST_TO_PODS),
)
"""What the host needs once, for all pods."""

_POD_RULES = {
    4: Rule(family=4, priority=RULE_PRIORITY, table=TABLE_VETH_REPLIES, mark=VETH_MARK),
    6: Rule(family=6, priority=RULE_PRIORITY, table=TABLE_VETH_REPLIES, mark=VETH_MARK),
}
_POD_VETH_UNFILTERED = Sysctl(protocol="ipv4", link=POD_VETH, key="rp_filter", value=0)


def host_veth_name(container_id: str) -> str:
    """The name of the host's end: an interface name has 15 characters.

    The first 11 of a container id tell it apart when they are random hex digits, as runtimes make them (and as
    Spiderpool names it); ids that begin alike (``cnitool-…``) are told apart by their hash.
    """
    head = container_id[:11]
    return "veth" + (head if set(head) <= set(hexdigits) else sha256(container_id.encode()).hexdigest()[:11])


def host_path(
    *,
    container_id: str,
    addresses: Sequence[IPAddress],
    node_addresses: Sequence[IPAddress],
    service_cidrs: Sequence[IPNetwork],
    mtu: int,
    pod_index: int,
    host_index: int,
    pod_mac: Mac,
    host_mac: Mac,
) -> Plan:
    """The veth pair and everything that rests on it.

    A family in which the pod or the node has no address is left out. The first node address of a family is the gateway
    for Services and replies, and the source of what the host itself sends to the pod.
    """
    name = host_veth_name(container_id)
    routes: list[Route] = []
    for family in (4, 6):
        mine = next((a for a in addresses if a.version == family), None)
        nodes = [a for a in node_addresses if a.version == family]
        if mine is None or not nodes:
            continue
        gateway = nodes[0]
        routes += [Route(link=POD_VETH, to=_single(n), source=mine, scope="link") for n in nodes]
        routes += [
            Route(link=POD_VETH, to=cidr, via=gateway, source=mine) for cidr in service_cidrs if cidr.version == family
        ]
        routes.append(Route(link=POD_VETH, to=EVERYTHING[family], via=gateway, table=TABLE_VETH_REPLIES))
    families = {route.to.version for route in routes}
    gateways = {n.version: n for n in reversed(node_addresses)}
    reachable = [a for a in addresses if a.version in families]
    pod = Namespace(
        sysctls=(_POD_VETH_UNFILTERED,),
        links=(
            Link(
                name=POD_VETH,
                index=pod_index,
                kind="veth",
                mac=pod_mac,
                mtu=mtu,
                peer=Peer(name=name, index=host_index, mac=host_mac),
            ),
        ),
        neighs=tuple(Neigh(link=POD_VETH, address=n, mac=host_mac) for n in node_addresses if n.version in families),
        routes=tuple(routes),
        rules=tuple(_POD_RULES[family] for family in sorted(families)),
        nft=(POD_NFT,),
    )
    host = Namespace(
        links=(Link(name=name, index=host_index, kind="veth", mac=host_mac, mtu=mtu, made_with_peer=True),),
        neighs=tuple(Neigh(link=name, address=a, mac=pod_mac) for a in reachable),
        routes=tuple(host_route(name, a, source=gateways[a.version]) for a in reachable),
    )
    return Plan(host=host, pod=pod)


def host_route(link: str, address: IPAddress, *, source: IPAddress | None = None) -> Route:
    """The host's way to a pod. It takes the place of what a lost pod of the same address may have left."""
    return Route(link=link, to=_single(address), source=source, table=TABLE_HOST_TO_PODS, scope="link", replace=True)


def _single(address: IPAddress) -> IPNetwork:
    """The network of one address. Given as packed bytes, which is three times as fast as given as text."""
    return IPv4Network((address.packed, 32)) if address.version == 4 else IPv6Network((address.packed, 128))
