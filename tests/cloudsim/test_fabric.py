"""The fabric forwards what a cloud would forward, and nothing else, seen from the namespaces it plugs links into."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

pytestmark = pytest.mark.netns

NAME = f"t{os.getpid() % 10000}"
MAC_A, MAC_B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fabric:
    """A running fabric and two instances, A with 10.9.0.10 and B with 10.9.0.20 on their first interfaces."""

    process: asyncio.subprocess.Process
    session: aiohttp.ClientSession

    async def put(self, eni: str, **changes: object) -> None:
        async with self.session.put(f"/interfaces/{eni}", json={**_interface(eni, **changes), **changes}) as answer:
            assert answer.status == 204, await answer.text()

    async def delete(self, eni: str) -> None:
        async with self.session.delete(f"/interfaces/{eni}") as answer:
            assert answer.status == 204

    async def put_macs(self, eni: str, macs: dict[str, str]) -> None:
        async with self.session.put(f"/interfaces/{eni}/macs", json=macs) as answer:
            assert answer.status == 204, await answer.text()

    async def drops(self, eni: str) -> dict[str, int]:
        async with self.session.get("/drops") as answer:
            found: dict[str, dict[str, int]] = await answer.json()
            return found[eni]


@pytest.fixture
async def fabric(tmp_path: Path) -> AsyncIterator[Fabric]:
    for instance in ("a", "b"):
        await run("ip", "netns", "add", f"{NAME}-{instance}")
        await run("ip", "-n", f"{NAME}-{instance}", "link", "set", "lo", "up")
    ready = tmp_path / "ready"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cloudsim.fabric", "--name", NAME, "--ready-file", str(ready)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            await process.stdout.readline()
        async with aiohttp.ClientSession(json.loads(ready.read_text())["url"]) as session:
            plugged = Fabric(process=process, session=session)
            await plugged.put("eni-a")
            await plugged.put("eni-b")
            yield plugged
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
        for instance in ("a", "b"):
            await run("ip", "netns", "del", f"{NAME}-{instance}")


async def test_first_interface_is_configured_and_others_are_bare(fabric: Fabric) -> None:
    """A primary interface has its address and a default route; a further one appears down, with MAC and MTU only."""
    await fabric.put("eni-c", instance="a", device_index=1, mac="02:00:00:00:00:0c", addresses=["10.9.0.30"], mtu=9001)

    links = {link["ifname"]: link for link in json.loads(await inside("a", "ip", "-j", "-4", "address"))}
    first = [(found["local"], found["prefixlen"]) for found in links["ens5"]["addr_info"]]
    assert first == [("10.9.0.10", 24)]
    assert "UP" in links["ens5"]["flags"]
    [further] = json.loads(await inside("a", "ip", "-j", "address", "show", "ens6"))
    assert (further["address"], further["mtu"], further["addr_info"]) == ("02:00:00:00:00:0c", 9001, [])
    assert "UP" not in further["flags"]
    [default] = json.loads(await inside("a", "ip", "-j", "route", "show", "default"))
    assert (default["gateway"], default["dev"]) == ("10.9.0.1", "ens5")


async def test_instances_reach_each_other_and_the_gateway(fabric: Fabric) -> None:
    """Traffic between assigned addresses passes, nothing of it is counted as dropped, and no redirect is sent."""
    assert await reaches("a", "10.9.0.20")
    assert await reaches("b", "10.9.0.10")
    assert await reaches("a", "10.9.0.1")

    assert await fabric.drops("eni-a") == {"unassigned_source": 0, "foreign_mac": 0}
    assert "redirect" not in await inside("a", "ip", "route", "show", "cache")


@pytest.mark.usefixtures("fabric")
async def test_nobody_answers_for_an_address_that_does_not_exist() -> None:
    """The VPC answers ARP for assigned addresses only."""
    assert await silent("a", "10.9.0.77")

    neighbours = {n["dst"]: n for n in json.loads(await inside("a", "ip", "-j", "neigh", "show"))}
    assert "lladdr" not in neighbours["10.9.0.77"]


async def test_unassigned_source_is_dropped_and_counted(fabric: Fabric) -> None:
    """A frame from an address the interface does not have is dropped, until the address is assigned."""
    await inside("a", "ip", "address", "add", "10.9.0.99/32", "dev", "ens5")

    assert await silent("a", "10.9.0.20", source="10.9.0.99")
    assert (await fabric.drops("eni-a"))["unassigned_source"] > 0
    await fabric.put("eni-a", addresses=["10.9.0.10", "10.9.0.99"])
    assert await reaches("a", "10.9.0.20", source="10.9.0.99")


async def test_foreign_mac_is_dropped_and_counted_until_told(fabric: Fabric) -> None:
    """A frame with another MAC than the interface's is dropped, unless the fabric was told it for that address."""
    await inside("a", "ip", "link", "set", "ens5", "address", "02:00:00:00:00:ff")

    assert await silent("a", "10.9.0.20")
    assert (await fabric.drops("eni-a"))["foreign_mac"] > 0
    assert (await fabric.drops("eni-a"))["unassigned_source"] == 0
    await fabric.put_macs("eni-a", {"10.9.0.10": "02:00:00:00:00:ff"})
    assert await reaches("a", "10.9.0.20")
    foreign = (await fabric.drops("eni-a"))["foreign_mac"]
    await inside("a", "ip", "address", "add", "10.9.0.99/32", "dev", "ens5")
    assert await silent("a", "10.9.0.20", source="10.9.0.99")
    drops = await fabric.drops("eni-a")
    assert (drops["foreign_mac"], drops["unassigned_source"] > 0) == (foreign, True)


async def test_some_macs_are_told_without_touching_others(fabric: Fabric) -> None:
    """A MAC told for one address leaves the others as they are, and is taken back by null."""
    await fabric.put("eni-a", addresses=["10.9.0.10", "10.9.0.11"])
    await fabric.put_macs("eni-a", {"10.9.0.11": "02:00:00:00:00:11"})
    await inside("a", "ip", "link", "set", "ens5", "address", "02:00:00:00:00:ff")

    async with fabric.session.patch("/macs", json={"10.9.0.10": "02:00:00:00:00:ff"}) as answer:
        assert answer.status == 204
    assert await reaches("a", "10.9.0.20")
    async with fabric.session.patch("/macs", json={"10.9.0.10": None}) as answer:
        assert answer.status == 204
    await inside("a", "ip", "link", "set", "ens5", "address", "02:00:00:00:00:11")
    await inside("a", "ip", "address", "add", "10.9.0.11/32", "dev", "ens5")
    assert await reaches("a", "10.9.0.20", source="10.9.0.11")
    assert await silent("a", "10.9.0.20", source="10.9.0.10")
    async with fabric.session.patch("/macs", json={"10.9.0.200": None}) as answer:
        assert answer.status == 404


@pytest.mark.parametrize("giver_first", [True, False], ids=["giver first", "taker first"])
async def test_moved_address_moves_traffic(fabric: Fabric, *, giver_first: bool) -> None:
    """An address that goes from one interface to another is delivered to the new one, in whichever order it is told."""
    await fabric.put("eni-b", addresses=["10.9.0.20", "10.9.0.50"])
    await inside("b", "ip", "address", "add", "10.9.0.50/32", "dev", "ens5")
    assert await reaches("a", "10.9.0.50")
    await fabric.put("eni-c", instance="b", device_index=1, mac="02:00:00:00:00:0c", addresses=["10.9.0.30"])
    await inside("b", "ip", "address", "del", "10.9.0.50/32", "dev", "ens5")
    await inside("b", "ip", "address", "add", "10.9.0.50/32", "dev", "ens6")
    await inside("b", "ip", "link", "set", "ens6", "up")
    await inside("b", "ip", "rule", "add", "from", "10.9.0.50", "lookup", "99")
    await inside("b", "ip", "route", "add", "10.9.0.0/24", "dev", "ens6", "table", "99")
    assert await silent("a", "10.9.0.50")

    taking = {"instance": "b", "device_index": 1, "mac": "02:00:00:00:00:0c", "addresses": ["10.9.0.30", "10.9.0.50"]}
    if giver_first:
        await fabric.put("eni-b", addresses=["10.9.0.20"])
        await fabric.put("eni-c", **taking)
    else:
        await fabric.put("eni-c", **taking)
        await fabric.put("eni-b", addresses=["10.9.0.20"])

    assert await reaches("a", "10.9.0.50")


SIX_A = {"subnet_cidr6": "2001:db8:9::/64", "addresses6": ["2001:db8:9::a"]}
SIX_B = {"subnet_cidr6": "2001:db8:9::/64", "addresses6": ["2001:db8:9::b"], "prefixes6": ["2001:db8:9:0:b::/80"]}


async def renewed(fabric: Fabric) -> None:
    """Both instances anew, with IPv6: a first interface is configured when it is plugged."""
    for eni, more in (("eni-a", SIX_A), ("eni-b", SIX_B)):
        await fabric.delete(eni)
        await fabric.put(eni, **more)


async def test_ipv6_reaches_by_the_router_that_advertises_itself(fabric: Fabric) -> None:
    """A first interface has its address and learns its default route; neighbours, gateway and prefixes are reached."""
    await renewed(fabric)
    await inside("b", "ip", "address", "add", "2001:db8:9:0:b::77/128", "dev", "ens5", "nodad")

    assert await reaches("a", "2001:db8:9::b")  # on-link: the VPC answers for b
    assert await reaches("a", "2001:db8:9:0:b::77")
    assert await reaches("a", "2001:db8:9::1")
    assert await reaches("a", "fe80:ec2::1%ens5", source="2001:db8:9::a")
    assert await reaches("b", "2001:db8:9::a", source="2001:db8:9:0:b::77")
    [default] = json.loads(await inside("a", "ip", "-6", "-j", "route", "show", "default"))
    assert (default["gateway"], default["dev"], default["protocol"]) == ("fe80:ec2::1", "ens5", "ra")
    assert await fabric.drops("eni-a") == {"unassigned_source": 0, "foreign_mac": 0}


async def test_ipv6_frames_of_others_are_dropped_and_counted(fabric: Fabric) -> None:
    """A source that is not the interface's, and another MAC than its own, do not get in; a prefix is its own whole."""
    await renewed(fabric)
    assert await reaches("a", "2001:db8:9::b")
    router = ("via", "fe80:ec2::1", "dev", "ens5")
    await inside("a", "ip", "neigh", "replace", "fe80:ec2::1", "lladdr", "0e:c2:00:00:00:01", "dev", "ens5")
    await inside("a", "ip", "route", "replace", "2001:db8:9::b", *router)
    await inside("a", "ip", "address", "add", "2001:db8:9:0:a::5/128", "dev", "ens5", "nodad")

    assert await silent("a", "2001:db8:9::b", source="2001:db8:9:0:a::5")
    assert (await fabric.drops("eni-a"))["unassigned_source"] > 0
    await fabric.put("eni-a", **SIX_A, prefixes6=["2001:db8:9:0:a::/80"])
    assert await reaches("a", "2001:db8:9::b", source="2001:db8:9:0:a::5")
    await inside("a", "ip", "link", "set", "ens5", "address", "02:00:00:00:00:ff")
    await inside("a", "ip", "neigh", "replace", "fe80:ec2::1", "lladdr", "0e:c2:00:00:00:01", "dev", "ens5")
    assert await silent("a", "2001:db8:9::b", source="2001:db8:9:0:a::5")
    assert (await fabric.drops("eni-a"))["foreign_mac"] > 0
    await fabric.put_macs("eni-a", {"2001:db8:9:0:a::5": "02:00:00:00:00:ff"})
    assert await reaches("a", "2001:db8:9::b", source="2001:db8:9:0:a::5")


async def test_nobody_hears_ipv6_groups_or_answers_for_unknown_addresses(fabric: Fabric) -> None:
    """What is sent to all nodes reaches nobody, and an address that is not assigned has no neighbour."""
    await renewed(fabric)
    assert await reaches("a", "2001:db8:9::b")

    heard = await inside("a", "sh", "-c", "ping -L -n -c 2 -i 0.1 -W 0.5 ff02::1%ens5 || true")  # -L: not by itself
    assert "2 packets transmitted, 0 received" in heard
    assert await silent("a", "2001:db8:9::77")
    neighbours = {n["dst"]: n for n in json.loads(await inside("a", "ip", "-6", "-j", "neigh", "show"))}
    assert "lladdr" not in neighbours["2001:db8:9::77"]


async def test_ipv4_prefix_belongs_to_its_interface(fabric: Fabric) -> None:
    """Every address of a /28 is delivered to its interface and accepted from it, until the prefix is taken away."""
    await fabric.put("eni-b", prefixes=["10.9.0.32/28"])
    await inside("b", "ip", "address", "add", "10.9.0.40/32", "dev", "ens5")

    assert await reaches("a", "10.9.0.40")
    assert await reaches("b", "10.9.0.10", source="10.9.0.40")
    await fabric.put("eni-b")
    assert await silent("a", "10.9.0.40")


async def test_detached_interface_is_gone_and_comes_again(fabric: Fabric) -> None:
    """DELETE takes the link out of the instance, twice does no harm, and a later PUT brings it back."""
    await fabric.delete("eni-b")
    await fabric.delete("eni-b")

    assert "ens5" not in await inside("b", "ip", "-br", "link")
    assert await silent("a", "10.9.0.20")
    await fabric.put("eni-b")
    assert await reaches("a", "10.9.0.20")


async def test_wrong_body_is_refused_by_field(fabric: Fabric) -> None:
    """A body that cannot be used is answered with 400 and the field; an instance that does not exist with 409."""
    async with fabric.session.put("/interfaces/eni-x", json={**_interface("eni-a"), "gateway": "10.9.0.300"}) as answer:
        assert (answer.status, "gateway" in await answer.text()) == (400, True)
    async with fabric.session.put(
        "/interfaces/eni-x", json={**_interface("eni-a"), "netns": "/run/netns/no"}
    ) as answer:
        assert answer.status == 409
    async with fabric.session.put("/interfaces/eni-x/macs", json={}) as answer:
        assert answer.status == 404


async def test_nothing_is_left_behind(fabric: Fabric) -> None:
    """After SIGTERM the VPC's namespace and every link it plugged are gone."""
    fabric.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        assert await fabric.process.wait() == 0

    assert f"{NAME}-vpc" not in await run("ip", "netns")
    assert "ens5" not in await inside("a", "ip", "-br", "link")


def _interface(eni: str, *, instance: object = None, **_: object) -> dict[str, object]:
    """Instance A's or B's first interface, or what it is on another instance."""
    default, mac, last = ("b", MAC_B, 20) if eni == "eni-b" else ("a", MAC_A, 10)
    instance = instance or default
    return {
        "instance": instance,
        "netns": f"/run/netns/{NAME}-{instance}",
        "device_index": 0,
        "mac": mac,
        "subnet_cidr": "10.9.0.0/24",
        "gateway": "10.9.0.1",
        "addresses": [f"10.9.0.{last}"],
        "mtu": 1500,
    }


async def reaches(instance: str, address: str, *, source: str | None = None) -> bool:
    """Whether pings are answered before long. The kernel repeats an unanswered ARP request only after a second."""
    try:
        async with asyncio.timeout(5):
            while await silent(instance, address, source=source):
                pass
    except TimeoutError:
        return False
    return True


async def silent(instance: str, address: str, *, source: str | None = None) -> bool:
    """Whether none of three pings is answered."""
    command = ["ping", "-q", "-n", "-c", "3", "-i", "0.1", "-W", "0.5", *(["-I", source] if source else []), address]
    process = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", f"{NAME}-{instance}", *command), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        return await process.wait() != 0
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise


async def inside(instance: str, *command: str) -> str:
    return await run("ip", "netns", "exec", f"{NAME}-{instance}", *command)


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, f"{' '.join(command)}: {out.decode()}"
    return out.decode()
