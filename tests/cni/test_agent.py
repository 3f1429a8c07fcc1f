"""The whole agent on a real API server, with a kernel that is a few dictionaries."""

import asyncio
import shutil
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import msgspec
import pytest

from support.node import MACS, NodeUnderTest, Refused
from support.observing import added, allocated, endpoint, no_endpoint, reported
from support.proxy import TcpProxy
from underlay.cni import frames
from underlay.cni.errors import JournalLocked
from underlay.cni.frames import Call
from underlay.core.api.kubernetes import Pod

if TYPE_CHECKING:
    from conftest import ApiServer

pytestmark = pytest.mark.apiserver


async def test_a_pod_gets_an_address_and_gives_it_back(node: NodeUnderTest) -> None:
    """ADD answers an address of the node's pool with mask and gateway; endpoint and pool status follow; DEL undoes
    all.
    """
    pool = await node.pool("a", ["10.9.0.10-10.9.0.12"])
    pod = await node.pod("web")
    await node.start()
    node.netns("c1")

    answer = await node.call("ADD", "web", "c1")

    assert answer["ips"] == [{"address": "10.9.0.10/16", "gateway": "10.9.0.1", "interface": 0}]
    assert answer["interfaces"][0]["name"] == "eth0"
    assert list(node.kernel.addresses()) == [IPv4Address("10.9.0.10")]
    shown = await endpoint(node, "web")
    assert shown.status is not None
    assert (shown.status.current.uid, shown.status.current.ips[0].ipv4) == (pod.metadata.uid, "10.9.0.10/16")
    assert shown.metadata.owner_references[0].uid == pod.metadata.uid
    await allocated(node, pool, {"10.9.0.10": f"default/{node.name}-web"})

    await node.delete("web", "c1")
    await node.delete("web", "c1")

    await allocated(node, pool, {})
    await no_endpoint(node, "web")
    assert node.kernel.addresses() == {}


async def test_an_add_waits_for_an_address_that_comes(node: NodeUnderTest) -> None:
    """An ADD on an empty node is answered as soon as a pool of this node gets its first address."""
    await node.pod("early")
    await node.start()

    waiting = asyncio.create_task(node.add("early", "c1"))
    await node.pool("a", ["10.9.0.10"])

    assert await waiting == IPv4Address("10.9.0.10")


async def test_a_shortage_says_per_pool_what_is_missing(node: NodeUnderTest) -> None:
    """With all addresses held or no link for the pool, an ADD ends with code 11 and names pool and reason."""
    node.settings = msgspec.structs.replace(node.settings, add_wait_seconds=0.2)
    await node.pool("a", ["10.9.0.10"])
    await node.pool("b", ["10.9.0.20"], interface=1)
    del node.kernel.host[MACS[1]]  # type: ignore[arg-type]
    await node.pod("one")
    await node.pod("two")
    await node.start()
    assert await added(node, "one", "c1") == IPv4Address("10.9.0.10")

    with pytest.raises(Refused) as refused:
        await node.add("two", "c2")

    assert refused.value.code == 11
    assert f"pool {node.name}-a: none of its 1 addresses is free (1 held)" in refused.value.msg
    assert f"pool {node.name}-b: its interface (MAC {MACS[1]}) is not on this node yet" in refused.value.msg


async def test_a_freed_address_is_not_given_within_the_cool_down(node: NodeUnderTest) -> None:
    """DEL then ADD on a pool of one address: the second ADD waits until the address has cooled."""
    await node.wish(cooldownSeconds=1)
    await node.pool("a", ["10.9.0.10"])
    await node.pod("one")
    await node.start()
    await added(node, "one", "c1")
    loop = asyncio.get_running_loop()

    began = loop.time()
    await node.delete("one", "c1")
    again = await node.add("one", "c2")

    assert again == IPv4Address("10.9.0.10")
    assert loop.time() - began >= 1


async def test_a_second_add_of_a_served_interface_is_refused(node: NodeUnderTest) -> None:
    """CNI 1.1 ADD: an interface of that name in that container is an error that names CNI_IFNAME; nothing changes."""
    await node.pool("a", ["10.9.0.10-10.9.0.12"])
    await node.pod("one")
    await node.start()
    address = await added(node, "one", "c1")

    with pytest.raises(Refused, match="CNI_IFNAME") as refused:
        await node.add("one", "c1")

    assert refused.value.code == 4
    assert list(node.kernel.addresses()) == [address]


async def test_an_add_without_its_namespace_leaves_nothing(node: NodeUnderTest) -> None:
    """Code 8 naming CNI_NETNS; the address it was about to get is not held afterwards."""
    pool = await node.pool("a", ["10.9.0.10-10.9.0.12"])
    await node.pod("one")
    await node.start()

    with pytest.raises(Refused, match="CNI_NETNS") as refused:
        await node.call("ADD", "one", "gone")

    assert refused.value.code == 8
    assert await node.add("one", "c1") == IPv4Address("10.9.0.11")
    await allocated(node, pool, {"10.9.0.11": f"default/{node.name}-one"})


async def test_a_pod_that_is_not_of_this_node_is_refused(node: NodeUnderTest) -> None:
    """A pod that does not exist, and one that uses the host's network, get code 11 and a text that says which."""
    await node.pool("a", ["10.9.0.10-10.9.0.12"])
    await node.pod("host", hostNetwork=True)
    await node.start()

    with pytest.raises(Refused, match="does not exist") as unknown:
        await node.add("nobody", "c1")
    with pytest.raises(Refused, match="uses the host's network") as host:
        await node.add("host", "c2")

    assert (unknown.value.code, host.value.code) == (11, 11)


async def test_a_second_agent_does_not_start(node: NodeUnderTest) -> None:
    """The journal has one agent for life; the other one is told who holds it."""
    await node.start()
    first, node.agent = node.agent, None

    with pytest.raises(JournalLocked, match="another agent"):
        await node.start()

    node.agent = first


async def test_pods_start_while_the_api_server_is_away(node: NodeUnderTest, apiserver: "ApiServer") -> None:
    """An agent restarted during the outage serves a pod that was bound before it, and frees another; later all is
    told.
    """
    pool = await node.pool("a", ["10.9.0.10-10.9.0.12"])
    await node.pod("one")
    await node.pod("two")
    async with TcpProxy("127.0.0.1", int(apiserver.plane.url.rpartition(":")[2])) as proxy:
        node.point_at(f"https://127.0.0.1:{proxy.port}")
        await node.start()
        await added(node, "one", "c1")
        await proxy.cut()
        await node.stop()
        await node.start()

        address = await node.add("two", "c2")
        await node.delete("one", "c1")

        assert address == IPv4Address("10.9.0.11")
        await proxy.heal()
        await allocated(node, pool, {"10.9.0.11": f"default/{node.name}-two"})
        assert (await endpoint(node, "two")).status is not None
        await node.stop()


async def test_the_spool_is_replayed_before_the_first_add(node: NodeUnderTest) -> None:
    """A DEL that the launcher kept frees its address although an ADD comes at once; another container's DEL frees
    nothing.
    """
    await node.wish(cooldownSeconds=0)
    await node.pool("a", ["10.9.0.10-10.9.0.11"])
    await node.pod("one")
    await node.pod("two")
    await node.start()
    await added(node, "one", "c1")
    await added(node, "two", "c2")
    await node.stop()
    node.spool("one", "c1")
    node.spool("two", "another-container")
    node.kernel.remove_namespace(str(node.folder / "netns" / "c1"))

    await node.start()

    assert await node.add("one", "c3") == IPv4Address("10.9.0.10")
    assert node.spooled() == []


async def test_a_del_kept_while_the_agent_runs_is_found_by_the_next_add(node: NodeUnderTest) -> None:
    """A launcher that gave up on a busy agent leaves a file; the next ADD acts on it first."""
    await node.wish(cooldownSeconds=0)
    await node.pool("a", ["10.9.0.10"])
    await node.pod("one")
    await node.start()
    await added(node, "one", "c1")
    node.kernel.remove_namespace(str(node.folder / "netns" / "c1"))

    node.spool("one", "c1")

    assert await node.add("one", "c2") == IPv4Address("10.9.0.10")


async def test_an_agent_that_lost_its_journal_reads_what_pods_have(node: NodeUnderTest) -> None:
    """Addresses found in pod namespaces are held until a DEL names that namespace; others cool; the new epoch is
    recorded.
    """
    await node.wish(cooldownSeconds=1)
    await node.pool("a", ["10.9.0.10-10.9.0.11"])
    await node.pod("one")
    await node.pod("two")
    await node.start()
    await added(node, "one", "c1")
    before = await reported(node, lambda status: bool(status.journal_epoch))
    await node.stop()
    shutil.rmtree(node.settings.state_dir)

    await node.start()
    second = await node.add("two", "c2")

    assert second == IPv4Address("10.9.0.11")
    after = await reported(node, lambda status: status.journal_epoch not in {"", before.journal_epoch})
    assert after.journal_epoch != before.journal_epoch
    await node.delete("one", "c1")
    assert await node.add("one", "c3") == IPv4Address("10.9.0.10")


async def test_pools_of_another_machine_are_not_served(node: NodeUnderTest) -> None:
    """A SpiderNodeNetwork that names another Node uid or providerID serves nothing here, and the text says so."""
    await node.pool("a", ["10.9.0.10"])
    await node.pod("one")
    await node.wish(providerID="aws:///zone-a/i-other")
    node.settings = msgspec.structs.replace(node.settings, add_wait_seconds=1)
    await node.start()

    with pytest.raises(Refused, match="belongs to aws:///zone-a/i-other") as refused:
        await node.add("one", "c1")

    assert refused.value.code == 11


async def test_an_address_the_host_has_is_not_given(node: NodeUnderTest) -> None:
    """A pool address on a link of the host is passed over, and condition HostClean names it."""
    await node.pool("a", ["10.9.0.10-10.9.0.11"])
    await node.pod("one")
    node.kernel.put_on_host(MACS[0], "10.9.0.10/16")
    await node.start()

    assert await node.add("one", "c1") == IPv4Address("10.9.0.11")
    status = await reported(node, lambda status: any(item.status == "False" for item in status.conditions))
    assert ["10.9.0.10" in item.message for item in status.conditions if item.type == "HostClean"] == [True]


async def test_a_claim_without_pod_and_namespace_is_freed(node: NodeUnderTest) -> None:
    """A DEL that never came: once the pod is gone from the API server and its namespace from the node, so is the
    claim.
    """
    pool = await node.pool("a", ["10.9.0.10"])
    pod = await node.pod("one")
    await node.start()
    await added(node, "one", "c1")
    await allocated(node, pool, {"10.9.0.10": f"default/{node.name}-one"})
    node.kernel.remove_namespace(str(node.folder / "netns" / "c1"))

    await node.client.delete(Pod, pod.metadata.name, "default")

    await allocated(node, pool, {})


async def test_a_launcher_that_goes_away_ends_its_add(node: NodeUnderTest) -> None:
    """An ADD that waits for an address stops when nobody waits for it, so the pod's DEL need not."""
    await node.pod("one")
    await node.start()
    body = msgspec.json.encode({"cniVersion": "1.0.0", "name": "underlay"})
    frame = Call(environment=node.environment("ADD", "one", "c1"), stdin=body, deadline_seconds=60)
    _, writer = await asyncio.open_unix_connection(node.settings.socket)
    writer.write(frames.render_call(frame))
    await writer.drain()

    writer.close()
    await writer.wait_closed()

    async with asyncio.timeout(2):
        await node.delete("one", "c1")
    await node.pool("a", ["10.9.0.10"])
    assert await node.add("one", "c2") == IPv4Address("10.9.0.10")


async def test_check_gc_and_status(node: NodeUnderTest) -> None:
    """STATUS and CHECK of what is there succeed; GC frees what is not listed as valid; CHECK then says it is
    unknown.
    """
    await node.pool("a", ["10.9.0.10-10.9.0.12"])
    await node.pod("one")
    await node.pod("two")
    await node.start()
    await added(node, "one", "c1")
    await added(node, "two", "c2")

    await node.call("STATUS", "one", "c1", cniVersion="1.1.0")
    await node.call("CHECK", "one", "c1")
    valid = [{"containerID": "c2", "ifname": "eth0"}]
    await node.call("GC", "one", "c1", cniVersion="1.1.0", **{"cni.dev/valid-attachments": valid})

    assert list(node.kernel.addresses()) == [IPv4Address("10.9.0.11")]
    with pytest.raises(Refused) as refused:
        await node.call("CHECK", "one", "c1")
    assert refused.value.code == 3


async def test_many_adds_at_once_have_one_owner_each(node: NodeUnderTest) -> None:
    """Forty pods at once on forty addresses: all served, no address twice, statuses agree."""
    pool = await node.pool("a", ["10.9.1.1-10.9.1.40"])
    names = [f"p{index}" for index in range(40)]
    await asyncio.gather(*(node.pod(name) for name in names))
    await node.start()

    addresses = await asyncio.gather(*(node.add(name, f"c-{name}") for name in names))

    assert len(set(addresses)) == 40
    expected = {str(ip): f"default/{node.name}-{name}" for ip, name in zip(addresses, names, strict=True)}
    await allocated(node, pool, expected)
