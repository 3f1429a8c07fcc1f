"""A pod's two ways out, on a real kernel: the network through its slave, the node through veth0."""

from collections.abc import Callable
from ipaddress import ip_address, ip_interface

import pytest

from support.netns_node import GATEWAY, MASTER, NODE_ADDRESS, REMOTE, NodeWorld
from underlay.cni.datapath.attach import Want
from underlay.cni.datapath.shell import Datapath

pytestmark = pytest.mark.netns

Wanting = Callable[..., Want]


async def test_macvlan_pod_reaches_gateway_and_network(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """A macvlan pod talks to its gateway and through it, from its own address."""
    pod = world.pod()

    await datapath.attach(wanting(pod))

    assert world.pings(pod, GATEWAY)
    assert world.pings(pod, REMOTE)
    server = await world.listen(world.network, 8080)
    try:
        assert await world.call(pod, REMOTE, 8080) == "10.0.1.10"
    finally:
        await server.close()


async def test_pod_and_node_reach_each_other(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """Node and pod talk in both directions, each seeing the other's own address: the node its InternalIP."""
    pod = world.pod()
    await datapath.attach(wanting(pod))
    on_host = await world.listen(world.host, 8080)
    in_pod = await world.listen(pod, 8080)
    try:
        assert await world.call(pod, NODE_ADDRESS, 8080) == "10.0.1.10"
        assert await world.call(world.host, "10.0.1.10", 8080) == NODE_ADDRESS
    finally:
        await on_host.close()
        await in_pod.close()


async def test_pods_of_a_node_reach_each_other(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """Two pods on one master talk directly, past the host."""
    first, second = world.pod(), world.pod()
    await datapath.attach(wanting(first, "10.0.1.10"))
    await datapath.attach(wanting(second, "10.0.1.11"))

    server = await world.listen(second, 8080)
    try:
        assert await world.call(first, "10.0.1.11", 8080) == "10.0.1.10"
    finally:
        await server.close()


async def test_result_names_what_is_there(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """The reported names, MACs, MTUs and namespaces are those of the kernel, the wished interface first."""
    pod = world.pod()

    attached = await datapath.attach(wanting(pod))

    found = {
        (link["ifname"], link["address"], link["mtu"], sandbox)
        for name, sandbox in ((pod, str(world.path(pod))), (world.host, ""))
        for link in world.show(name, "link", "show", "group", "0x756e")
    }
    assert {(link.name, link.mac, link.mtu, link.sandbox) for link in attached.interfaces} == found
    assert attached.interfaces[0].name == "eth0"
    assert len(attached.interfaces) == 3


async def test_mac_and_mtu_as_wished(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """A wished MAC and MTU are used and reported; veth0 keeps the master's MTU."""
    pod = world.pod()

    attached = await datapath.attach(wanting(pod, mac="02:00:0a:00:01:0a", mtu=1400))

    (eth0,) = world.show(pod, "link", "show", "eth0")
    assert (eth0["address"], eth0["mtu"]) == ("02:00:0a:00:01:0a", 1400)
    assert [(link.mtu, link.name) for link in attached.interfaces[:2]] == [(1400, "eth0"), (1500, "veth0")]
    assert attached.interfaces[0].mac == "02:00:0a:00:01:0a"


async def test_address_is_announced(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """The network hears of the address without being asked: a gratuitous ARP corrects a stale neighbour."""
    stale = ("neigh", "replace", "10.0.1.10", "lladdr", "02:00:00:00:00:99", "dev", "p1", "nud", "stale")
    world.execute(world.network, "ip", *stale)
    pod = world.pod()

    await datapath.attach(wanting(pod, mac="02:00:0a:00:01:0a"))

    neighbours = world.show(world.network, "neigh", "show", "dev", "p1", "to", "10.0.1.10")
    assert [n["lladdr"] for n in neighbours] == ["02:00:0a:00:01:0a"]


async def test_settings_of_the_pods_links(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """No router configures the pod, and a reverse path filter inherited from the host is off in it."""
    pod = world.pod()
    world.execute(pod, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.default.rp_filter=1")

    await datapath.attach(wanting(pod))

    def sysctl(key: str) -> str:
        return world.execute(pod, "sysctl", "-n", key).strip()

    assert [sysctl(f"net.ipv6.conf.{link}.accept_ra") for link in ("eth0", "veth0")] == ["0", "0"]
    assert [sysctl(f"net.ipv4.conf.{link}.rp_filter") for link in ("all", "eth0", "veth0")] == ["0", "0", "0"]
    assert world.pings(world.host, "10.0.1.10")


async def test_gateway_outside_the_mask(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """An address with a host mask reaches its gateway all the same: it is on-link."""
    pod = world.pod()

    await datapath.attach(wanting(pod, addresses=(ip_interface("10.0.1.10/32"),)))

    assert world.pings(pod, GATEWAY)


async def test_interface_without_host_path(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """A further interface comes without veth0 and leaves the first one's default route alone."""
    pod = world.pod()
    await datapath.attach(wanting(pod))

    await datapath.attach(
        wanting(pod, ifname="net1", addresses=(ip_interface("10.0.1.11/24"),), gateways=(), host_path=False)
    )

    assert world.links(pod) == {"lo", "eth0", "veth0", "net1"}
    assert [r["dev"] for r in world.show(pod, "route", "show", "default")] == ["eth0"]


async def test_inspect_tells_what_a_pod_has(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """Inspection shows the pod's links with kind, MAC and addresses."""
    pod = world.pod()
    attached = await datapath.attach(wanting(pod))

    links = {link.name: link for link in await datapath.inspect(str(world.path(pod)))}

    assert links.keys() == {"eth0", "veth0"}
    assert (links["eth0"].kind, links["eth0"].mac) == ("macvlan", attached.interfaces[0].mac)
    assert ip_interface("10.0.1.10/24") in links["eth0"].addresses


async def test_links_tells_addresses_on_the_host(world: NodeWorld, datapath: Datapath, wanting: Wanting) -> None:
    """The host's links are told by MAC with what the host has on them; pods' veths are not among them."""
    await datapath.attach(wanting(world.pod()))
    world.execute(world.host, "ip", "addr", "add", "10.0.1.77/24", "dev", MASTER)

    links = await datapath.links()

    by_name = {link.name: link for link in links.values()}
    assert by_name.keys() == {"eth0", "eth1"}
    assert all(mac == link.mac for mac, link in links.items())
    assert by_name["eth0"].driver == "veth"
    assert ip_address("10.0.1.77") in {address.ip for address in by_name["eth1"].addresses}
    assert NODE_ADDRESS in {str(address.ip) for address in by_name["eth0"].addresses}


async def test_prepared_master_is_silent_and_keeps_addresses(world: NodeWorld, datapath: Datapath) -> None:
    """A further master is up and silent for the host; the node's own interface is not touched."""

    def sysctl(key: str) -> str:
        return world.execute(world.host, "sysctl", "-n", key).strip()

    await datapath.prepare_master("eth0")

    keys = ("net.ipv4.conf.{}.arp_ignore", "net.ipv4.conf.{}.arp_announce", "net.ipv6.conf.{}.accept_ra")
    assert [sysctl(key.format(MASTER)) for key in keys] == ["1", "2", "0"]
    assert [sysctl(key.format("eth0")) for key in keys] == ["0", "0", "1"]
    (eth1,) = world.show(world.host, "link", "show", MASTER)
    assert "UP" in eth1["flags"]
