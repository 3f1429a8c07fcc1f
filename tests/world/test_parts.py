"""The world's own parts: what they assume of cnitool and of the kernel, and that names keep worlds apart."""

import asyncio
import json
import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from controlplane import build
from world.commands import run
from world.inside import echo_frame, listen_icmp, send_frame, unreachable
from world.names import Names, container_id, netns_path
from world.sandbox import Calls, Sandbox, with_result

PLUGIN = """#!/bin/sh
cat > "$0.stdin"
env > "$0.environment"
echo '{"cniVersion": "1.0.0", "ips": []}'
"""


@pytest.mark.parametrize("name", ["", "Demo", "my-world", "0one", "averylongname"])
def test_a_name_that_could_be_mistaken_is_refused(name: str) -> None:
    """A world's name is short, lower case, and has no hyphen: its parts are told from others' by that."""
    with pytest.raises(ValueError, match="cannot name a world"):
        Names(world=name)


def test_a_world_owns_what_bears_its_name() -> None:
    """Namespaces and links of a world with a longer name, and of nobody, are not its own."""
    names = Names(world="up")

    assert names.owns_namespace(names.sandbox("0123456789", 0))
    assert names.owns_namespace(names.node_namespace("node-1"))
    assert names.owns_link(names.bridge)
    assert names.owns_link(names.management_link(12))
    assert not names.owns_namespace("upper-node-1")
    assert not any(names.owns_link(link) for link in ("eth0", "up-mgmt0", "upper-m1", "up-m", "up-m1x"))


def test_result_names_addresses_and_mac_of_the_sandbox() -> None:
    """Addresses come without mask; the MAC is that of the interface inside, not of the host's end."""
    box = Sandbox(pod="default/a", uid="1", node="n", netns="/run/netns/x")
    result = {
        "interfaces": [{"name": "veth1", "mac": "02:00:00:00:00:01"}, {"mac": "02:00:00:00:00:02", "sandbox": "/x"}],
        "ips": [{"address": "10.0.0.5/24"}],
    }

    found = with_result(box, result, 0.01)

    assert found.addresses == ["10.0.0.5"]
    assert found.mac == "02:00:00:00:00:02"


async def test_cnitool_calls_with_the_id_and_arguments_we_expect(tmp_path: Path) -> None:
    """The container id derived here is cnitool's, and kubelet's arguments and our variables reach the plugin."""
    cnitool = (await asyncio.to_thread(build.ensure, ["cnitool"]))["cnitool"]
    plugin = tmp_path / "underlay"
    plugin.write_text(PLUGIN)
    plugin.chmod(0o755)
    network = {"cniVersion": "1.0.0", "name": f"test-{os.getpid()}", "plugins": [{"type": "underlay"}]}
    (tmp_path / "10-test.conflist").write_text(json.dumps(network))
    calls = Calls(
        cnitool=str(cnitool),
        cni_path=str(tmp_path),
        configuration=str(tmp_path),
        network=str(network["name"]),
        socket="/a/socket",
        spool="/a/spool",
    )
    box = Sandbox(pod="default/a", uid="uid-1", node="n", netns="/run/netns/some-sandbox")

    await calls.add(box)

    told = dict(line.partition("=")[::2] for line in (tmp_path / "underlay.environment").read_text().splitlines())
    assert told["CNI_CONTAINERID"] == container_id(Path(box.netns))
    assert told["CNI_NETNS"] == box.netns
    assert {"K8S_POD_NAMESPACE=default", "K8S_POD_NAME=a", "K8S_POD_UID=uid-1"} <= set(told["CNI_ARGS"].split(";"))
    assert told["UNDERLAY_SOCKET"] == "/a/socket"
    assert told["UNDERLAY_SPOOL"] == "/a/spool"
    await calls.delete(box)


@pytest.mark.netns
async def test_pings_and_forged_frames_go_out_of_the_namespace_they_are_sent_in() -> None:
    """Two namespaces on one cable: pings are answered, an absent address is not, a raw frame arrives as it was made."""
    left, right = f"w{os.getpid()}-left", f"w{os.getpid()}-right"
    here, there, absent = (IPv4Address(f"10.8.0.{last}") for last in (1, 2, 3))
    for name in (left, right):
        await run("ip", "netns", "add", name)
    try:
        await run("ip", "-n", left, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", right)
        for name, address in ((left, here), (right, there)):
            await run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            await run("ip", "-n", name, "link", "set", "eth0", "up")

        both = {here: netns_path(left), there: netns_path(right)}
        assert await unreachable(both, [here, there]) == set()
        assert await unreachable({here: netns_path(left)}, [there, absent], within_seconds=1) == {(here, absent)}

        [link] = json.loads(await run("ip", "-n", right, "-j", "link", "show", "eth0"))
        mark = os.urandom(16)
        frame = echo_frame(
            source_mac="02:00:00:00:00:99", target_mac=link["address"], source=absent, target=there, mark=mark
        )
        with listen_icmp(netns_path(right)) as listener:
            send_frame(netns_path(left), "eth0", frame)
            async with asyncio.timeout(5):
                while mark not in await asyncio.get_running_loop().sock_recv(listener, 2048):
                    pass
    finally:
        for name in (left, right):
            await run("ip", "netns", "del", name)
