"""One node: a network namespace that is a machine at the simulated cloud.

Its interfaces come from the fabric. A management link to the host, which no cloud would have, carries what the agent
and kube-proxy say to the API server, since that stands outside the simulated network.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import msgspec

from controlplane.process import Process, spawn
from world.cloud import Instance
from world.commands import CommandFailed, ip, run
from world.names import Names, netns_path


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the runner must know of a node."""

    name: str
    netns: str
    address: str
    provider_id: str
    instance_type: str
    zone: str
    folder: str
    socket: str

    @property
    def spool(self) -> str:
        return f"{self.folder}/spool"

    @property
    def cni_configuration(self) -> str:
        """The folder that kubelet calls /etc/cni/net.d."""
        return f"{self.folder}/net.d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What starting a node's programs takes."""

    names: Names
    kubeconfig: Path
    proxy_kubeconfig: Path
    kube_proxy: Path
    service_cidr: str
    logs: Path
    detached: bool


async def make_namespace(names: Names, name: str, number: int, management: IPv4Network) -> str:
    """The node's network before it has any interface; its path."""
    namespace, link = names.node_namespace(name), names.management_link(number)
    host, address = management[1], management[1 + number]
    await run("ip", "netns", "add", namespace)
    await ip(
        f"link add {link} type veth peer name mgmt0 netns {netns_path(namespace)}",
        f"link set {link} master {names.bridge} up",
    )
    await ip(
        "link set lo up",
        f"address add {address}/{management.prefixlen} dev mgmt0",
        "link set mgmt0 up",
        namespace=namespace,
    )
    await run("ip", "netns", "exec", namespace, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    await run("ip", "netns", "exec", namespace, "ping", "-q", "-c", "1", "-W", "2", str(host))
    return str(netns_path(namespace))


async def make_bridge(names: Names, management: IPv4Network) -> None:
    """The management network; the host is its first address."""
    await ip(
        f"link add {names.bridge} type bridge",
        f"address add {management[1]}/{management.prefixlen} dev {names.bridge}",
        f"link set {names.bridge} up",
    )


async def free_network(candidates: Sequence[IPv4Network]) -> IPv4Network:
    """The first that the host has no route into. ``LookupError`` if there is none."""
    routes = json.loads(await run("ip", "-j", "-4", "route", "show", "table", "all"))
    used = [IPv4Network(route["dst"]) for route in routes if route.get("dst", "default") != "default"]
    for network in candidates:
        if not any(network.overlaps(other) for other in used):
            return network
    raise LookupError(f"the host uses all of {', '.join(map(str, candidates))}")


async def ipvlan_or_macvlan(names: Names) -> str:
    """Which of the two this kernel has, seen by making a link in a scratch namespace."""
    scratch = names.node_namespace("probe")
    await run("ip", "netns", "add", scratch)
    try:
        await run("ip", "-n", scratch, "link", "add", "lower", "type", "veth", "peer", "name", "peer")
        for kind, mode in (("ipvlan", "l2"), ("macvlan", "bridge")):
            try:
                await run(
                    *("ip", "-n", scratch, "link", "add", "link", "lower", "name", "probe", "type", kind, "mode", mode)
                )
            except CommandFailed:
                continue
            return kind
    finally:
        await run("ip", "netns", "del", scratch)
    raise LookupError("this kernel has neither ipvlan nor macvlan (tried to make a link of each)")


def describe(name: str, instance: Instance, *, type_: str, netns: str, folder: Path, sockets: Path) -> NodeSpec:
    """Writes the node's CNI configuration too."""
    node = NodeSpec(
        name=name,
        netns=netns,
        address=str(IPv4Address(instance.private_ip)),
        provider_id=instance.provider_id,
        instance_type=type_,
        zone=instance.zone,
        folder=str(folder / name),
        socket=str(sockets / f"{name}.sock"),
    )
    for made in (node.folder, node.spool, node.cni_configuration):
        Path(made).mkdir(parents=True, exist_ok=True)
    return node


def write_cni_configuration(node: NodeSpec, names: Names) -> None:
    """The node's only CNI network."""
    network = {"cniVersion": "1.0.0", "name": names.cni_network, "plugins": [{"type": "underlay"}]}
    Path(node.cni_configuration, "10-underlay.conflist").write_text(json.dumps(network, indent=2))


def start_agent(node: NodeSpec, launch: Launch) -> Process:
    """``underlay-agent`` in the node's network. Its state stays in the node's folder from one start to the next."""
    settings = {
        "nodeName": node.name,
        "kubeconfig": str(launch.kubeconfig),
        "stateDir": f"{node.folder}/state",
        "socket": node.socket,
        "spool": node.spool,
        "serviceCIDRs": [launch.service_cidr],
        "logLevel": "info",
    }
    Path(node.folder, "state").mkdir(exist_ok=True)
    file = Path(node.folder, "agent.json")
    file.write_text(json.dumps(settings, indent=2))
    program = [str(Path(sys.executable).with_name("underlay-agent")), "--config", str(file)]
    return _spawn_inside(node, program, f"agent-{node.name}", launch)


def start_proxy(node: NodeSpec, launch: Launch) -> Process:
    """kube-proxy as nodes run it, without a clusterCIDR. In a namespace nf_conntrack_max cannot be set: 0 leaves it."""
    configuration = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": node.name,
        "clientConnection": {"kubeconfig": str(launch.proxy_kubeconfig)},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "bindAddress": node.address,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "nftables": {"minSyncPeriod": "100ms"},
    }
    file = Path(node.folder, "kube-proxy.json")
    file.write_text(json.dumps(configuration, indent=2))
    return _spawn_inside(node, [str(launch.kube_proxy), f"--config={file}"], f"kube-proxy-{node.name}", launch)


def _spawn_inside(node: NodeSpec, command: list[str], name: str, launch: Launch) -> Process:
    """``ip netns exec`` replaces itself by the program, so the process is the program's own."""
    namespace = launch.names.node_namespace(node.name)
    return spawn(
        ["ip", "netns", "exec", namespace, *command],
        name=name,
        log=launch.logs / f"{name}.log",
        detached=launch.detached,
    )
