"""CNI as the specification and the reference skeleton have it (CNI 1.1; pkg/skel, pkg/types of
containernetworking/cni).
"""

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.cni import frames
from underlay.cni.errors import CniError, Code
from underlay.cni.frames import Call
from underlay.cni.protocol import (
    SUPPORTED_VERSIONS,
    AddResult,
    Command,
    ResultAddress,
    ResultInterface,
    parse_args,
    parse_request,
    render_error,
    render_result,
)
from underlay.core.errors import InvalidInput
from underlay.core.identity import Attachment

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "abc-1_2.3",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=p;K8S_POD_UID=u;K8S_POD_INFRA_CONTAINER_ID=abc;X=y",
}
CONFIG = b'{"cniVersion":"1.0.0","name":"net","type":"underlay","unknown":{"kept":"out"}}'


def test_a_complete_add_becomes_a_request() -> None:
    """Everything a verb needs is in the value; unknown fields of the configuration do not matter."""
    request = parse_request(ENVIRONMENT, CONFIG)

    assert request.command is Command.ADD
    assert request.attachment == Attachment(container_id="abc-1_2.3", ifname="eth0")
    assert (request.netns, request.config.name, request.config.cni_version) == ("/run/netns/x", "net", "1.0.0")
    assert (request.pod.namespace, request.pod.name, request.pod.uid) == ("ns", "p", "u")


@pytest.mark.parametrize(
    ("changes", "stdin", "code", "named"),
    [
        pytest.param({"CNI_COMMAND": None}, CONFIG, 4, "[CNI_COMMAND]", id="no-command"),
        pytest.param({"CNI_COMMAND": "NONE"}, CONFIG, 4, "unknown CNI_COMMAND: NONE", id="unknown-command"),
        pytest.param({"CNI_NETNS": None}, CONFIG, 4, "required env variables [CNI_NETNS] missing", id="no-netns"),
        pytest.param(
            {"CNI_CONTAINERID": None, "CNI_NETNS": "", "CNI_IFNAME": None, "CNI_PATH": None},
            CONFIG,
            4,
            "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing",
            id="all-missing-are-listed",
        ),
        pytest.param({"CNI_CONTAINERID": "-a"}, CONFIG, 4, "CNI_CONTAINERID", id="container-begins-with-dash"),
        pytest.param({"CNI_CONTAINERID": "a/b"}, CONFIG, 4, "CNI_CONTAINERID", id="container-with-slash"),
        pytest.param({"CNI_CONTAINERID": "a\n"}, CONFIG, 4, "CNI_CONTAINERID", id="container-with-newline"),
        pytest.param({"CNI_IFNAME": "a" * 16}, CONFIG, 4, "CNI_IFNAME", id="ifname-of-16"),
        pytest.param({"CNI_IFNAME": "."}, CONFIG, 4, "CNI_IFNAME", id="ifname-dot"),
        pytest.param({"CNI_IFNAME": ".."}, CONFIG, 4, "CNI_IFNAME", id="ifname-dots"),
        pytest.param({"CNI_IFNAME": "a/b"}, CONFIG, 4, "CNI_IFNAME", id="ifname-with-slash"),
        pytest.param({"CNI_IFNAME": "a:b"}, CONFIG, 4, "CNI_IFNAME", id="ifname-with-colon"),
        pytest.param({"CNI_IFNAME": "a b"}, CONFIG, 4, "CNI_IFNAME", id="ifname-with-space"),
        pytest.param({"CNI_ARGS": "A"}, CONFIG, 4, "CNI_ARGS", id="args-without-value"),
        pytest.param({"CNI_ARGS": "A=b=c"}, CONFIG, 4, "CNI_ARGS", id="args-with-two-values"),
        pytest.param({"CNI_ARGS": "A=b"}, CONFIG, 4, "unknown args ['A']", id="args-unknown"),
        pytest.param({}, b"", 6, "stdin", id="empty-stdin"),
        pytest.param({}, b"{", 6, "stdin", id="half-json"),
        pytest.param({}, b"\xff\xfe", 6, "stdin", id="not-utf8"),
        pytest.param({}, b'{"name":"\xff"}', 6, "stdin", id="name-not-utf8"),
        pytest.param({}, b'{"cniVersion":"1.0.0"}', 7, "missing network name", id="no-name"),
        pytest.param({}, b'{"cniVersion":"1.0.0","name":"a b"}', 7, "name", id="name-with-space"),
        pytest.param({}, b'{"cniVersion":"1.0.0","name":5}', 6, "$.name", id="name-not-text"),
        pytest.param({}, b'{"cniVersion":"0.3.0","name":"n"}', 1, "cniVersion", id="version-0.3.0"),
        pytest.param({}, b'{"cniVersion":"1.1","name":"n"}', 1, "cniVersion", id="version-is-compared-as-text"),
        pytest.param({}, b'{"name":"n"}', 1, "cniVersion", id="no-version-means-0.1.0"),
        pytest.param(
            {"CNI_COMMAND": "CHECK"}, b'{"cniVersion":"0.3.1","name":"n"}', 1, "CHECK", id="check-before-0.4.0"
        ),
        pytest.param({"CNI_COMMAND": "GC"}, CONFIG, 1, "GC", id="gc-before-1.1.0"),
        pytest.param({"CNI_COMMAND": "STATUS"}, CONFIG, 1, "STATUS", id="status-before-1.1.0"),
        pytest.param({"CNI_COMMAND": "DEL", "CNI_IFNAME": None}, CONFIG, 4, "[CNI_IFNAME]", id="del-without-ifname"),
        pytest.param({"CNI_COMMAND": "DEL"}, b"nonsense", 6, "stdin", id="del-with-nonsense"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(
    changes: dict[str, str | None], stdin: bytes, code: int, named: str
) -> None:
    """Each row of the skeleton's checks: the specification's code, and a text that names the variable or field."""
    environment = {key: value for key, value in (ENVIRONMENT | changes).items() if value is not None}

    with pytest.raises(CniError) as refused:
        parse_request(environment, stdin)

    assert refused.value.code == code
    assert named in refused.value.msg


@pytest.mark.parametrize(
    ("name", "environment", "version"),
    [
        (
            "del-needs-no-netns",
            {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "a", "CNI_IFNAME": "e", "CNI_PATH": "/"},
            "0.3.1",
        ),
        (
            "del-ignores-bad-args",
            {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "a", "CNI_IFNAME": "e", "CNI_PATH": "/", "CNI_ARGS": "A"},
            "1.1.0",
        ),
        ("gc-needs-no-container", {"CNI_COMMAND": "GC", "CNI_PATH": "/"}, "1.1.0"),
        ("status-needs-no-container", {"CNI_COMMAND": "STATUS", "CNI_PATH": "/"}, "1.1.0"),
        ("check-from-0.4.0", ENVIRONMENT | {"CNI_COMMAND": "CHECK"}, "0.4.0"),
        ("ifname-of-15", ENVIRONMENT | {"CNI_IFNAME": "a" * 15}, "1.0.0"),
    ],
)
def test_what_is_enough_is_accepted(name: str, environment: dict[str, str], version: str) -> None:
    """The other side of each rule."""
    config = msgspec.json.encode({"cniVersion": version, "name": "n"})

    assert parse_request(environment, config).command == environment["CNI_COMMAND"], name


def test_args_are_strict_unless_told_otherwise() -> None:
    """IgnoreUnknown=1 and =true let a key pass that nobody knows; empty pairs are no pairs."""
    assert parse_args("IgnoreUnknown=true;A=b;;K8S_POD_NAME=p").name == "p"
    assert parse_args("").name == ""
    with pytest.raises(CniError, match="IgnoreUnknown"):
        parse_args("IgnoreUnknown=0;A=b")


RESULT = AddResult(
    interfaces=(
        ResultInterface(name="eth0", mac="02:00:00:00:00:01", mtu=9001, sandbox="/run/netns/x"),
        ResultInterface(name="vethabc", mac="02:00:00:00:00:02", mtu=9001),
    ),
    addresses=(
        ResultAddress(address=IPv4Interface("10.0.0.5/24"), gateway=IPv4Address("10.0.0.1"), interface=0),
        ResultAddress(address=IPv6Interface("fd00::5/64"), gateway=IPv6Address("fe80::1"), interface=0),
    ),
)


@pytest.mark.parametrize("version", SUPPORTED_VERSIONS)
def test_a_result_is_rendered_in_the_configurations_version(version: str) -> None:
    """0.3.1 and 0.4.0: each address names its family; mtu is of 1.1.0; a host link has no sandbox (CNI 1.1 ADD
    success).
    """
    rendered = msgspec.json.decode(render_result(RESULT, version))

    assert rendered["cniVersion"] == version
    assert [item["address"] for item in rendered["ips"]] == ["10.0.0.5/24", "fd00::5/64"]
    assert [item["interface"] for item in rendered["ips"]] == [0, 0]
    assert [item.get("version") for item in rendered["ips"]] == (["4", "6"] if version < "1" else [None, None])
    assert [item.get("sandbox") for item in rendered["interfaces"]] == ["/run/netns/x", None]
    assert [item.get("mtu") for item in rendered["interfaces"]] == [9001 if version == "1.1.0" else None] * 2
    assert rendered["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "::/0", "gw": "fe80::1"}]


def test_an_error_has_the_keys_of_the_specification() -> None:
    """cniVersion, code, msg; details only where there are some."""
    bare = msgspec.json.decode(render_error(CniError(Code.TRY_AGAIN, "later"), "0.4.0"))
    detailed = msgspec.json.decode(render_error(CniError(Code.TRY_AGAIN, "later", "why"), "0.4.0"))

    assert bare == {"cniVersion": "0.4.0", "code": 11, "msg": "later"}
    assert detailed == bare | {"details": "why"}


_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
_KEY = st.text(st.characters(exclude_characters="\0=", exclude_categories=["Cs"]), min_size=1)


@given(
    environment=st.dictionaries(_KEY, _TEXT, max_size=5),
    stdin=st.binary(max_size=100),
    deadline=st.integers(0, 2**32 - 1),
)
def test_a_call_survives_the_socket(environment: dict[str, str], stdin: bytes, deadline: int) -> None:
    """Frames: parse is the inverse of render, whatever the environment holds."""
    call = Call(environment=environment, stdin=stdin, deadline_seconds=deadline / 1000)

    assert frames.parse_call(frames.render_call(call)) == call


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_a_call_or_refused(content: bytes) -> None:
    """Nothing a peer sends raises anything but InvalidInput."""
    try:
        expected = frames.expected_length(content)
        if expected == len(content):
            frames.parse_call(content)
    except InvalidInput:
        pass
