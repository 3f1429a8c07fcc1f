"""What the simulator tells the fabric, and what waits for it. The fabric here is a recorder that can refuse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from cloudsim.conftest import Clients
from cloudsim.server.app import Settings, running

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client


class Recorder:
    """Plays the fabric. ``refuse`` requests are answered 500; while ``open`` is not set, requests wait."""

    def __init__(self) -> None:
        self.plugged: dict[str, dict[str, Any]] = {}
        self.seen: list[tuple[str, str]] = []
        self.refuse = 0
        self.open = asyncio.Event()
        self.open.set()
        self.arrived = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        eni = request.match_info["eni"]
        self.seen.append((request.method, eni))
        self.arrived.set()
        await self.open.wait()
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=500, text="no such namespace")
        if request.method == "PUT":
            self.plugged[eni] = await request.json()
        else:
            self.plugged.pop(eni, None)
        return web.json_response({})


@asynccontextmanager
async def recording() -> AsyncIterator[tuple[Recorder, str]]:
    recorder = Recorder()
    app = web.Application()
    app.add_routes([web.put("/interfaces/{eni}", recorder.handle), web.delete("/interfaces/{eni}", recorder.handle)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield recorder, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        recorder.open.set()
        await runner.cleanup()


class World:
    """An account with one instance that has a network namespace."""

    def __init__(self, url: str, session: aiohttp.ClientSession, fabric: Recorder, ec2: "EC2Client") -> None:
        self.url = url
        self.session = session
        self.fabric = fabric
        self.ec2 = ec2
        self.subnet = ""
        self.instance: dict[str, Any] = {}

    async def control(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        async with self.session.request(method, f"{self.url}/_sim{path}", json=body) as reply:
            answer: dict[str, Any] = await reply.json()
        return answer

    async def attached(self, count: int = 1) -> tuple[str, str]:
        made = await asyncio.to_thread(
            self.ec2.create_network_interface, SubnetId=self.subnet, SecondaryPrivateIpAddressCount=count
        )
        eni = made["NetworkInterface"]["NetworkInterfaceId"]
        attachment = await asyncio.to_thread(
            self.ec2.attach_network_interface,
            NetworkInterfaceId=eni,
            InstanceId=self.instance["id"],
            DeviceIndex=1,
        )
        return eni, attachment["AttachmentId"]

    async def status(self, eni: str) -> str:
        rows = (await self.control("GET", "/table"))["interfaces"]
        attachment = next(row for row in rows if row["id"] == eni)["attachment"]
        return attachment["state"] if attachment else "none"


@pytest.fixture
async def world(clients: Clients) -> AsyncIterator[World]:
    async with recording() as (fabric, fabric_url), aiohttp.ClientSession() as session:
        settings = Settings(manual_clock=True, lag_seconds=0, attach_seconds=1, fabric=fabric_url, mtu=9001)
        async with running(settings) as url:
            world = World(url, session, fabric, clients(url, "a"))
            vpc = (await world.control("POST", "/vpcs", {"cidr": "10.0.0.0/16"}))["id"]
            subnet = {"vpc": vpc, "cidr": "10.0.1.0/24", "zone": "us-east-1a"}
            world.subnet = (await world.control("POST", "/subnets", subnet))["id"]
            body = {"type": "t3.medium", "subnet": world.subnet, "netns": "/run/netns/node-1"}
            world.instance = await world.control("POST", "/instances", body)
            yield world


async def test_new_instance_has_its_primary_interface_plugged(world: World) -> None:
    """When an instance is answered for, the fabric has its primary interface with everything it needs."""
    expected = {
        "instance": world.instance["id"],
        "netns": "/run/netns/node-1",
        "device_index": 0,
        "mac": world.instance["mac"],
        "subnet_cidr": "10.0.1.0/24",
        "gateway": "10.0.1.1",
        "addresses": [world.instance["private_ip"]],
        "prefixes": [],
        "subnet_cidr6": None,
        "addresses6": [],
        "prefixes6": [],
        "mtu": 9001,
    }

    assert {world.instance["eni"]: expected} == world.fabric.plugged


async def test_attach_is_complete_when_the_fabric_has_plugged(world: World) -> None:
    """An attachment stays `attaching` while the fabric works, and nothing is plugged before its time."""
    eni, _ = await world.attached(2)

    assert eni not in world.fabric.plugged
    world.fabric.open.clear()
    world.fabric.arrived.clear()
    advancing = asyncio.create_task(world.control("POST", "/clock", {"advance": 1}))
    async with asyncio.timeout(5):
        await world.fabric.arrived.wait()
        assert await world.status(eni) == "attaching"
        world.fabric.open.set()
        await advancing
    assert await world.status(eni) == "attached"
    assert len(world.fabric.plugged[eni]["addresses"]) == 3
    assert world.fabric.plugged[eni]["device_index"] == 1


async def test_assign_and_unassign_answer_after_the_fabric(world: World) -> None:
    """When either call returns, the fabric has exactly the interface's addresses, the primary first."""
    eni = world.instance["eni"]
    reply = await asyncio.to_thread(
        world.ec2.assign_private_ip_addresses, NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=2
    )
    new = [entry["PrivateIpAddress"] for entry in reply["AssignedPrivateIpAddresses"]]

    assert [world.instance["private_ip"], *new] == world.fabric.plugged[eni]["addresses"]
    await asyncio.to_thread(world.ec2.unassign_private_ip_addresses, NetworkInterfaceId=eni, PrivateIpAddresses=new[:1])
    assert [world.instance["private_ip"], new[1]] == world.fabric.plugged[eni]["addresses"]


async def test_prefix_arrives_as_one(world: World) -> None:
    """The fabric hears of a prefix beside the single addresses, and of none when it is unassigned."""
    eni = world.instance["eni"]
    reply = await asyncio.to_thread(world.ec2.assign_private_ip_addresses, NetworkInterfaceId=eni, Ipv4PrefixCount=1)
    (prefix,) = [entry["Ipv4Prefix"] for entry in reply["AssignedIpv4Prefixes"]]

    assert [prefix] == world.fabric.plugged[eni]["prefixes"]
    assert [world.instance["private_ip"]] == world.fabric.plugged[eni]["addresses"]
    await asyncio.to_thread(world.ec2.unassign_private_ip_addresses, NetworkInterfaceId=eni, Ipv4Prefixes=[prefix])
    assert world.fabric.plugged[eni]["prefixes"] == []


async def test_ipv6_arrives(world: World) -> None:
    """The fabric hears of IPv6 addresses, prefixes and their subnet, and of none when they are unassigned."""
    vpc = (await world.control("POST", "/vpcs", {"cidr": "10.1.0.0/16", "ipv6_cidr": "2001:db8:1::/56"}))["id"]
    subnet = {"vpc": vpc, "cidr": "10.1.1.0/24", "zone": "us-east-1a", "ipv6_cidr": "2001:db8:1:1::/64"}
    where = (await world.control("POST", "/subnets", subnet))["id"]
    body = {"type": "t3.medium", "subnet": where, "netns": "/run/netns/node-2"}
    eni = (await world.control("POST", "/instances", body))["eni"]

    assign = world.ec2.assign_ipv6_addresses
    addresses = (await asyncio.to_thread(assign, NetworkInterfaceId=eni, Ipv6AddressCount=1))["AssignedIpv6Addresses"]
    prefixes = (await asyncio.to_thread(assign, NetworkInterfaceId=eni, Ipv6PrefixCount=1))["AssignedIpv6Prefixes"]

    plugged = world.fabric.plugged[eni]
    assert (len(addresses), len(prefixes)) == (1, 1)
    assert (plugged["addresses6"], plugged["prefixes6"]) == (addresses, prefixes)
    assert plugged["subnet_cidr6"] == "2001:db8:1:1::/64"
    await asyncio.to_thread(
        world.ec2.unassign_ipv6_addresses, NetworkInterfaceId=eni, Ipv6Addresses=addresses, Ipv6Prefixes=prefixes
    )
    assert (world.fabric.plugged[eni]["addresses6"], world.fabric.plugged[eni]["prefixes6"]) == ([], [])


async def test_moved_address_leaves_the_donor_first(world: World) -> None:
    """With AllowReassignment the fabric hears of the donor first: never have two interfaces one address."""
    donor, _ = await world.attached(2)
    await world.control("POST", "/clock", {"advance": 1})
    moved = world.fabric.plugged[donor]["addresses"][1]
    world.fabric.seen.clear()
    await asyncio.to_thread(
        world.ec2.assign_private_ip_addresses,
        NetworkInterfaceId=world.instance["eni"],
        PrivateIpAddresses=[moved],
        AllowReassignment=True,
    )

    assert [("PUT", donor), ("PUT", world.instance["eni"])] == world.fabric.seen
    assert moved not in world.fabric.plugged[donor]["addresses"]


async def test_detach_unplugs(world: World) -> None:
    """A detached interface is no longer plugged when it is available."""
    eni, attachment = await world.attached()
    await world.control("POST", "/clock", {"advance": 1})
    await asyncio.to_thread(world.ec2.detach_network_interface, AttachmentId=attachment)

    assert eni in world.fabric.plugged
    await world.control("POST", "/clock", {"advance": 1})
    assert await world.status(eni) == "none"
    assert eni not in world.fabric.plugged


async def test_termination_unplugs_everything(world: World) -> None:
    """When an instance is gone, so are its links."""
    await world.attached()
    await world.control("POST", "/clock", {"advance": 1})
    await world.control("DELETE", f"/instances/{world.instance['id']}")

    assert world.fabric.plugged == {}


async def test_refusing_fabric_is_asked_again_and_recorded(world: World) -> None:
    """A passing error does no harm; one that stays is in the table with its reason."""
    eni = world.instance["eni"]

    async def assign() -> None:
        await asyncio.to_thread(
            world.ec2.assign_private_ip_addresses, NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=1
        )

    world.fabric.refuse = 1
    await assign()
    assert len(world.fabric.plugged[eni]["addresses"]) == 2
    assert (await world.control("GET", "/table"))["fabric"]["errors"] == []
    world.fabric.refuse = 3
    await assign()
    (error,) = (await world.control("GET", "/table"))["fabric"]["errors"]
    assert (eni, "PUT", "500 no such namespace") == (error["interface"], error["request"], error["error"])
