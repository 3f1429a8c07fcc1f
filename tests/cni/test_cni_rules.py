"""CNI's rules for ADD, DEL and VERSION, one by one, as a runtime meets them: real launcher, agent and kernel.

Codes: CNI 1.1 "Error", and 8 of pkg/types; texts: the variable or field that is wrong must be in them. Order and
strictness of the checks: pkg/skel of containernetworking/cni.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from support.agent_process import CONFIG, PREFIX, AgentProcess, addresses, agent_on_a_node, ip, namespace
from underlay.cni.journal import decode
from underlay.cni.state import replay

pytestmark = [pytest.mark.apiserver, pytest.mark.netns, pytest.mark.asyncio(loop_scope="module")]

Changes = Mapping[str, str | None]
GOOD = msgspec.json.encode(CONFIG)


def config(**more: object) -> bytes:
    return msgspec.json.encode({**CONFIG, **more})


def without(key: str) -> bytes:
    return msgspec.json.encode({name: value for name, value in CONFIG.items() if name != key})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AgentProcess]:
    """An agent that serves; pods "one" and "two" wait for addresses, of which there are more than enough."""
    async with agent_on_a_node(tmp_path_factory.mktemp("rules"), "rules", cooldown_seconds=0) as process:
        await process.node.pool("a", ["10.9.0.10-10.9.0.99"])
        await process.node.pod("one")
        await process.node.pod("two")
        await process.start()
        yield process


async def refusal(process: AgentProcess, command: str, changes: Changes, content: bytes | Path) -> tuple[int, str]:
    """(code, msg) of a call that must fail: exit status 1, the error object on stdout (E3, E4, E5)."""
    done = await process.run(command, "one", f"{PREFIX}-nowhere", config=content, changes=changes)
    assert done.returncode == 1
    error = json.loads(done.stdout)
    assert error.keys() <= {"cniVersion", "code", "msg", "details"}
    return error["code"], f"{error['msg']} {error.get('details', '')}"


def held(process: AgentProcess) -> set[str]:
    journal = Path(process.node.settings.state_dir) / "journal"
    return {str(address) for address in replay(decode(journal.read_bytes())[0]).ledger.held}


BOTH: list[tuple[str, Changes, bytes | Path, int, list[str]]] = [
    ("E2-unknown-command", {"CNI_COMMAND": "add"}, GOOD, 4, ["CNI_COMMAND", "add"]),
    ("V1-no-container", {"CNI_CONTAINERID": None}, GOOD, 4, ["[CNI_CONTAINERID]"]),
    ("V1-empty-container", {"CNI_CONTAINERID": ""}, GOOD, 4, ["[CNI_CONTAINERID]"]),
    ("V1-no-ifname", {"CNI_IFNAME": None}, GOOD, 4, ["[CNI_IFNAME]"]),
    ("V1-no-path", {"CNI_PATH": None}, GOOD, 4, ["[CNI_PATH]"]),
    ("V1-several", {"CNI_PATH": None, "CNI_CONTAINERID": None}, GOOD, 4, ["[CNI_CONTAINERID,CNI_PATH]"]),
    ("V-container-slash", {"CNI_CONTAINERID": "a/b"}, GOOD, 4, ["CNI_CONTAINERID", "a/b"]),
    ("V-container-dash", {"CNI_CONTAINERID": "-a"}, GOOD, 4, ["CNI_CONTAINERID"]),
    ("V-container-bytes", {"CNI_CONTAINERID": "a\udcff"}, GOOD, 4, ["CNI_CONTAINERID"]),
    ("V-ifname-of-16", {"CNI_IFNAME": "e" * 16}, GOOD, 4, ["CNI_IFNAME", "15"]),
    ("V-ifname-dot", {"CNI_IFNAME": "."}, GOOD, 4, ["CNI_IFNAME"]),
    ("V-ifname-dots", {"CNI_IFNAME": ".."}, GOOD, 4, ["CNI_IFNAME"]),
    ("V-ifname-slash", {"CNI_IFNAME": "a/b"}, GOOD, 4, ["CNI_IFNAME"]),
    ("V-ifname-colon", {"CNI_IFNAME": "a:b"}, GOOD, 4, ["CNI_IFNAME"]),
    ("V-ifname-space", {"CNI_IFNAME": "a b"}, GOOD, 4, ["CNI_IFNAME"]),
    ("5-stdin-unreadable", {}, Path("/"), 5, ["stdin"]),
    ("5-stdin-too-large", {}, GOOD + b" " * (5 << 20), 5, ["stdin", "4 MiB"]),
    ("6-stdin-empty", {}, b"", 6, ["stdin"]),
    ("6-half-json", {}, GOOD[:-1], 6, ["stdin"]),
    ("6-not-utf8", {}, b'{"name":"\xff"}', 6, ["stdin"]),
    ("6-not-an-object", {}, b"[]", 6, ["stdin"]),
    ("6-name-not-text", {}, config(name=5), 6, ["$.name"]),
    ("6-version-not-text", {}, config(cniVersion=1.1), 6, ["$.cniVersion"]),
    ("7-no-name", {}, without("name"), 7, ["name", "missing network name"]),
    ("7-name-with-slash", {}, config(name="a/b"), 7, ["name", "a/b"]),
    ("N2-no-version-is-0.1.0", {}, without("cniVersion"), 1, ["cniVersion", '"0.1.0"', "0.3.1", "1.1.0"]),
    ("N3-version-0.2.0", {}, config(cniVersion="0.2.0"), 1, ["cniVersion", '"0.2.0"']),
    ("N3-exact-membership", {}, config(cniVersion="1.1"), 1, ["cniVersion", '"1.1"']),
    ("N3-future-version", {}, config(cniVersion="2.0.0"), 1, ["cniVersion", '"2.0.0"']),
    ("V2-environment-before-json", {"CNI_IFNAME": "a b"}, b"{", 4, ["CNI_IFNAME"]),
    ("V2-json-before-name", {}, b'{"cniVersion":"9",', 6, ["stdin"]),
    ("V2-name-before-version", {}, b'{"cniVersion":"9"}', 7, ["name"]),
]
ADD: list[tuple[str, Changes, bytes | Path, int, list[str]]] = [
    ("V1-no-netns", {"CNI_NETNS": None}, GOOD, 4, ["[CNI_NETNS]"]),
    ("V2-version-before-args", {"CNI_ARGS": "A"}, config(cniVersion="9"), 1, ["cniVersion"]),
    ("args-no-value", {"CNI_ARGS": "IgnoreUnknown=1;A"}, GOOD, 4, ["CNI_ARGS", "'A'"]),
    ("args-two-values", {"CNI_ARGS": "IgnoreUnknown=1;A=b=c"}, GOOD, 4, ["CNI_ARGS", "A=b=c"]),
    ("args-unknown", {"CNI_ARGS": "A=b"}, GOOD, 4, ["CNI_ARGS", "'A'", "IgnoreUnknown"]),
    ("args-no-pod", {"CNI_ARGS": None}, GOOD, 4, ["CNI_ARGS", "K8S_POD_NAMESPACE", "K8S_POD_NAME"]),
    ("args-not-text", {"CNI_ARGS": "K8S_POD_NAMESPACE=x;K8S_POD_NAME=\udcff"}, GOOD, 4, ["CNI_ARGS", "K8S_POD_NAME"]),
    ("args-a-path", {"CNI_ARGS": "K8S_POD_NAMESPACE=x/y;K8S_POD_NAME=z"}, GOOD, 4, ["CNI_ARGS", "K8S_POD_NAMESPACE"]),
    ("2-master", {}, config(master=["eth5"]), 2, ["master", "eth5"]),
    ("2-ipam", {}, config(ipam={"type": "host-local"}), 2, ["ipam", "host-local"]),
    ("A2-prev-result", {}, config(prevResult={"ips": []}), 7, ["prevResult"]),
    ("8-no-namespace", {}, GOOD, 8, ["CNI_NETNS", "nowhere"]),
    ("8-not-a-namespace", {"CNI_NETNS": "/etc/hostname"}, GOOD, 8, ["CNI_NETNS", "/etc/hostname"]),
    ("V-netns-not-text", {"CNI_NETNS": "/run/\udcff"}, GOOD, 4, ["CNI_NETNS"]),
    ("11-no-such-pod", {"CNI_ARGS": "K8S_POD_NAMESPACE=x;K8S_POD_NAME=y"}, GOOD, 11, ["x/y", "does not exist"]),
]


def table(*commands: tuple[str, list[tuple[str, Changes, bytes | Path, int, list[str]]]]) -> list[Any]:
    return [
        pytest.param(command, *values, id=f"{command}-{name}") for command, rows in commands for name, *values in rows
    ]


@pytest.mark.parametrize(
    ("command", "changes", "content", "code", "named"), table(("ADD", BOTH), ("DEL", BOTH), ("ADD", ADD))
)
async def test_what_is_wrong_is_refused_by_name(
    process: AgentProcess, command: str, changes: Changes, content: bytes | Path, code: int, named: list[str]
) -> None:
    """The specification's code, a text that names variable or field, and nothing is held or kept for later."""
    found, text = await refusal(process, command, changes, content)

    assert found == code
    assert [word for word in named if word not in text] == []
    assert held(process) == set()
    assert process.node.spooled() == []


async def test_version_reads_nothing(process: AgentProcess) -> None:
    """VERSION needs no variable and no configuration, and lists every version that ADD answers in (N1, E2)."""
    nothing: Changes = dict.fromkeys(process.node.environment("VERSION", "one", "c")) | {"CNI_COMMAND": "VERSION"}

    done = await process.run("VERSION", "one", "c", config=Path("/"), changes=nothing)

    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "cniVersion": "1.1.0",
        "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


async def test_run_by_hand(process: AgentProcess) -> None:
    """Without CNI_COMMAND it says what it is on stderr and succeeds (E8)."""
    done = await process.run("", "one", "c", changes={"CNI_COMMAND": None})

    assert (done.returncode, done.stdout) == (0, b"")
    assert b"1.1.0" in done.stderr


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
async def test_an_add_answers_in_the_configurations_version(process: AgentProcess, version: str) -> None:
    """N4, A1, A6: the interface is there with the address the answer names; DEL prints nothing (D4) and frees it (D2),
    with the ADD's result given back (D3).
    """
    with namespace(f"{PREFIX}-v") as netns:
        done = await process.run("ADD", "one", netns, config=config(cniVersion=version))
        result = json.loads(done.stdout)

        assert (done.returncode, result["cniVersion"]) == (0, version)
        own = result["interfaces"][result["ips"][0]["interface"]]
        assert (own["name"], own["sandbox"]) == ("eth0", f"/run/netns/{netns}")
        assert addresses(netns)["eth0"] == [result["ips"][0]["address"].partition("/")[0]]
        assert held(process) == set(addresses(netns)["eth0"])
        gone = await process.run("DEL", "one", netns, config=config(cniVersion=version, prevResult=result))

    assert (gone.returncode, gone.stdout) == (0, b"")
    assert held(process) == set()


async def test_an_interface_that_exists_is_not_touched(process: AgentProcess) -> None:
    """A1: code 4 naming CNI_IFNAME, whoever made it; nothing is held. A3: so is a second ADD of one's own."""
    with namespace(f"{PREFIX}-a") as netns:
        ip("-n", netns, "link", "add", "eth0", "type", "bridge")
        before = ip("-n", netns, "link", "show", "eth0")

        foreign = await process.call("ADD", "one", netns)

        assert (foreign["code"], "CNI_IFNAME: interface eth0" in foreign["msg"]) == (4, True)
        assert ip("-n", netns, "link", "show", "eth0") == before
        assert held(process) == set()
        ip("-n", netns, "link", "delete", "eth0")
        assert "code" not in await process.call("ADD", "one", netns)
        mine = addresses(netns)["eth0"]
        second = await process.call("ADD", "one", netns)
        assert (second["code"], "CNI_IFNAME" in second["msg"]) == (4, True)
        assert addresses(netns)["eth0"] == mine
        assert await process.call("DEL", "one", netns) == {}


@pytest.mark.parametrize("lost", ["nothing", "namespace", "interface", "path", "twice"])
async def test_a_del_succeeds_whatever_is_gone(process: AgentProcess, lost: str) -> None:
    """D1, D2, E9: namespace or interface gone, CNI_NETNS not given, no prevResult, repeated: success without output,
    and the address is free.
    """
    with namespace(f"{PREFIX}-d") as netns:
        assert "code" not in await process.call("ADD", "one", netns)
        match lost:
            case "namespace":
                ip("netns", "delete", netns)
            case "interface":
                ip("-n", netns, "link", "delete", "eth0")
        times = 2 if lost == "twice" else 1

        for _ in range(times):
            changes: Changes = {"CNI_NETNS": None, "CNI_ARGS": None} if lost == "path" else {}
            done = await process.run("DEL", "one", netns, changes=changes)

            assert (done.returncode, done.stdout) == (0, b"")
    assert held(process) == set()


async def test_a_del_of_what_never_was_succeeds(process: AgentProcess) -> None:
    """D1: no state of any kind, also with arguments that an ADD would refuse."""
    done = await process.run("DEL", "one", f"{PREFIX}-nowhere", changes={"CNI_ARGS": "A"})

    assert (done.returncode, done.stdout) == (0, b"")


async def test_an_add_that_failed_is_deleted_and_made_again(process: AgentProcess) -> None:
    """A4: a failed ADD leaves nothing, its DEL succeeds, and the next sandbox of the pod is served."""
    assert (await process.call("ADD", "one", f"{PREFIX}-nowhere"))["code"] == 8
    assert await process.call("DEL", "one", f"{PREFIX}-nowhere") == {}
    with namespace(f"{PREFIX}-n") as netns:
        assert "code" not in await process.call("ADD", "one", netns)
        assert await process.call("DEL", "one", netns) == {}


async def test_sandboxes_are_served_side_by_side(process: AgentProcess) -> None:
    """A5: different containers in parallel, each its own address."""
    with namespace(f"{PREFIX}-p") as one, namespace(f"{PREFIX}-q") as two:
        results = await asyncio.gather(process.call("ADD", "one", one), process.call("ADD", "two", two))

        assert len({item["ips"][0]["address"] for item in results}) == 2
        await asyncio.gather(process.call("DEL", "one", one), process.call("DEL", "two", two))


async def test_a_pod_is_not_made_of_the_node(process: AgentProcess) -> None:
    """E7: CNI_NETNS that is the plugin's own namespace gets code 8 before anything is done, for DEL after the
    addresses are free: a path may have become the node's after its pod's end.
    """
    add = await process.call("ADD", "one", process.machine)

    assert (add["code"], "CNI_NETNS" in add["msg"]) == (8, True)
    assert "eth0" not in links(process.machine)
    assert held(process) == set()
    with namespace(f"{PREFIX}-e") as netns:
        assert "code" not in await process.call("ADD", "one", netns)
        deleted = await process.call("DEL", "one", process.machine, container=netns)
        assert (deleted["code"], "CNI_NETNS" in deleted["msg"]) == (8, True)
        assert held(process) == set()
        assert await process.call("DEL", "one", netns) == {}


async def test_a_further_interface_leaves_the_ways_out_to_the_first(process: AgentProcess) -> None:
    """A second interface of a sandbox gets an address of its own; default route and veth0 belong to the first.
    Removing it leaves the first one's way to the node as it was, removing the first one before it takes that away.
    """
    with namespace(f"{PREFIX}-m") as netns:
        container = "f" * 64
        first = await process.call("ADD", "one", netns, container=container)
        second = await process.call("ADD", "one", netns, container=container, ifname="net1")

        assert "code" not in second, second
        assert [link["name"] for link in first["interfaces"]] == ["eth0", "veth0", "vethfffffffffff"]
        assert [link["name"] for link in second["interfaces"]] == ["net1"]
        assert (len(first["routes"]), second["routes"]) == (1, [])
        assert [route["dev"] for route in json.loads(ip("-n", netns, "-j", "route", "show", "default"))] == ["eth0"]
        assert links(netns) == {"eth0", "net1", "veth0"}
        assert await process.call("DEL", "one", netns, container=container, ifname="net1") == {}
        assert _routed(process.machine) == addresses(netns)["eth0"]
        assert "code" not in await process.call("ADD", "one", netns, container=container, ifname="net1")
        assert await process.call("DEL", "one", netns, container=container) == {}
        assert _routed(process.machine) == []
        assert await process.call("DEL", "one", netns, container=container, ifname="net1") == {}
    assert held(process) == set()


def links(netns: str) -> set[str]:
    return {link["ifname"] for link in json.loads(ip("-n", netns, "-j", "link"))} - {"lo"}


def _routed(machine: str) -> list[str]:
    routes = json.loads(ip("-n", machine, "-j", "route", "show", "table", "all"))
    found = [route["dst"] for route in routes if route.get("table") == "500"]
    assert all(IPv4Address(item) for item in found)
    return found
