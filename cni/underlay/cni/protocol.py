"""CNI as bytes and values: the environment and stdin of a call, results and errors as a runtime reads them. Pure.

``parse_request`` checks in the order of the reference skeleton (pkg/skel): environment, stdin, name, version. Codes
and rules: CNI 1.1 §2, §"Error", §"Version"; a result is rendered in the configuration's version (CNI 1.1 §ADD).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

import msgspec

from underlay.cni.errors import CniError, Code
from underlay.core.identity import Attachment

SUPPORTED_VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_POD_NAME = re.compile(r"[a-z0-9]([a-z0-9.\-]*[a-z0-9])?")
_KNOWN_ARGS = {"IgnoreUnknown", "K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID"}


class Command(StrEnum):
    """VERSION never gets here: the launcher answers it."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"


_REQUIRED: Mapping[Command, tuple[str, ...]] = {
    Command.ADD: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    Command.CHECK: ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    Command.DEL: ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    Command.GC: ("CNI_PATH",),
    Command.STATUS: ("CNI_PATH",),
}


class ValidAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of ``cni.dev/valid-attachments``; mind the case of its keys (CNI 1.1 §GC)."""

    container_id: str = msgspec.field(name="containerID")
    ifname: str


class NetworkConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is read of a plugin's configuration. An absent ``cniVersion`` means 0.1.0 (CNI 1.1 §"Version
    considerations"). ``coordinator`` false: the pod gets no ``veth0``, so neither node nor Services reach it that way.
    """

    cni_version: str = "0.1.0"
    name: str = ""
    type: str = ""
    master: list[str] | str = "auto"
    log_level: str = ""
    coordinator: bool = True
    ipam: dict[str, msgspec.Raw] | None = None
    prev_result: msgspec.Raw = msgspec.Raw()  # in a union it would decode nothing but null
    valid_attachments: list[ValidAttachment] | None = msgspec.field(default=None, name="cni.dev/valid-attachments")
    attachments: list[ValidAttachment] | None = msgspec.field(default=None, name="cni.dev/attachments")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodArguments:
    """The pod as a runtime names it in CNI_ARGS; empty what it did not say."""

    namespace: str = ""
    name: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CniRequest:
    """One call, checked. ``netns`` is empty on a DEL whose namespace is gone; GC and STATUS have an empty
    attachment. ``netns_override``: it may be the plugin's own.
    """

    command: Command
    attachment: Attachment
    netns: str
    netns_override: bool
    pod: PodArguments
    config: NetworkConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultInterface:
    """``sandbox`` is the network namespace's path as the runtime gave it, empty for a link of the host."""

    name: str
    mac: str
    mtu: int | None = None
    sandbox: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultAddress:
    """``interface`` is an index into the result's interfaces."""

    address: IPv4Interface | IPv6Interface
    gateway: IPv4Address | IPv6Address | None
    interface: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddResult:
    """What an ADD made. A default route goes through each gateway."""

    interfaces: Sequence[ResultInterface]
    addresses: Sequence[ResultAddress]


def parse_request(environment: Mapping[str, str], stdin: bytes) -> CniRequest:
    """The call a runtime made. Raises ``CniError`` with the spec's code and the variable's or field's name."""
    command, attachment = _parse_environment(environment)
    config = _parse_config(command, stdin)
    if command is Command.ADD:
        _check_add(config)
    # A DEL needs no pod, and must not fail for what it does not need.
    arguments = PodArguments() if command is Command.DEL else parse_args(environment.get("CNI_ARGS", ""))
    return CniRequest(
        command=command,
        attachment=attachment,
        netns=environment.get("CNI_NETNS", ""),
        netns_override=environment.get("CNI_NETNS_OVERRIDE", "").lower() in {"1", "true"},
        pod=arguments,
        config=config,
    )


def parse_spooled(environment: Mapping[str, str]) -> tuple[Attachment, str]:
    """Attachment and namespace of a DEL kept by the launcher; its configuration does not matter any more."""
    command, attachment = _parse_environment(environment)
    if command is not Command.DEL:
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_COMMAND: {command} in the spool, only DEL is kept")
    return attachment, environment.get("CNI_NETNS", "")


def parse_args(text: str) -> PodArguments:
    """CNI_ARGS: ``K=V;K=V``. An unknown key is refused unless IgnoreUnknown is 1 or true (pkg/types/args.go)."""
    values: dict[str, str] = {}
    for pair in filter(None, text.split(";")):
        parts = pair.split("=")
        if len(parts) != 2:
            raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_ARGS: invalid pair {pair!r}, expected KEY=VALUE")
        values[parts[0]] = parts[1]
    unknown = sorted(values.keys() - _KNOWN_ARGS)
    if unknown and values.get("IgnoreUnknown", "").lower() not in {"1", "true"}:
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_ARGS: unknown args {unknown}, and IgnoreUnknown is not set")
    for key in ("K8S_POD_NAMESPACE", "K8S_POD_NAME"):
        if values.get(key) and not _POD_NAME.fullmatch(values[key]):
            raise CniError(
                Code.INVALID_ENVIRONMENT, f"CNI_ARGS: {key} {values[key]!r} is no name that Kubernetes gives"
            )
    return PodArguments(
        namespace=values.get("K8S_POD_NAMESPACE", ""),
        name=values.get("K8S_POD_NAME", ""),
        uid=values.get("K8S_POD_UID", ""),
    )


def render_result(result: AddResult, version: str) -> bytes:
    """``result`` as ``version`` has it: 0.3.1 and 0.4.0 name each address' family, 1.1.0 alone knows a link's MTU."""
    body: dict[str, object] = {
        "cniVersion": version,
        "interfaces": [_render_interface(link, version) for link in result.interfaces],
        "ips": [_render_address(item, version) for item in result.addresses],
        "routes": [
            {"dst": "0.0.0.0/0" if item.gateway.version == 4 else "::/0", "gw": str(item.gateway)}
            for item in result.addresses
            if item.gateway is not None
        ],
        "dns": {},
    }
    return msgspec.json.encode(body) + b"\n"


def render_error(error: CniError, version: str = SUPPORTED_VERSIONS[-1]) -> bytes:
    """The error object of CNI 1.1 §"Error"; ``details`` only if there are some."""
    body: dict[str, object] = {"cniVersion": version, "code": int(error.code), "msg": error.msg}
    if error.details:
        body["details"] = error.details
    return msgspec.json.encode(body) + b"\n"


def _parse_environment(environment: Mapping[str, str]) -> tuple[Command, Attachment]:
    text = environment.get("CNI_COMMAND", "")
    if not text:
        raise CniError(Code.INVALID_ENVIRONMENT, "required env variables [CNI_COMMAND] missing")
    if text not in set(Command):
        raise CniError(Code.INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {text}")
    command = Command(text)
    if missing := [name for name in _REQUIRED[command] if not environment.get(name)]:
        raise CniError(Code.INVALID_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
    if command in {Command.GC, Command.STATUS}:
        return command, Attachment(container_id="", ifname="")
    if not environment.get("CNI_NETNS", "").isprintable():
        raise CniError(
            Code.INVALID_ENVIRONMENT, f"CNI_NETNS: {environment['CNI_NETNS']!r} is no path that can be printed"
        )
    container_id, ifname = environment["CNI_CONTAINERID"], environment["CNI_IFNAME"]
    if not _NAME.fullmatch(container_id):
        details = "expected letters, digits, '_', '.', '-', the first a letter or digit"
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_CONTAINERID: invalid characters in {container_id!r}", details)
    if problem := _wrong_ifname(ifname):
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_IFNAME: {ifname!r} {problem}")
    return command, Attachment(container_id=container_id, ifname=ifname)


def _wrong_ifname(name: str) -> str:
    # The kernel's own rule (dev_valid_name), in the words of pkg/utils.
    if len(name.encode(errors="surrogateescape")) > 15:
        return "is longer than 15 characters"
    if name in {".", ".."}:
        return "is not a name"
    if re.search(r"[/:\s]", name):
        return "contains '/', ':' or white space"
    return ""


def _parse_config(command: Command, stdin: bytes) -> NetworkConfig:
    try:
        config = msgspec.json.decode(stdin, type=NetworkConfig)
    except msgspec.ValidationError as wrong:
        raise CniError(Code.UNDECODABLE, f"stdin: network configuration: {wrong}") from wrong
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise CniError(Code.UNDECODABLE, f"stdin: network configuration is not JSON: {wrong}") from wrong
    if not config.name:
        raise CniError(Code.INVALID_CONFIG, "name: missing network name")
    if not _NAME.fullmatch(config.name):
        details = "expected letters, digits, '_', '.', '-', the first a letter or digit"
        raise CniError(Code.INVALID_CONFIG, f"name: invalid characters in network name {config.name!r}", details)
    _check_version(command, config.cni_version)
    return config


def _check_add(config: NetworkConfig) -> None:
    """Raises ``CniError`` for what would silently be done otherwise than was asked."""
    if config.master not in ("auto", ["auto"]):
        details = 'expected "auto": addresses come with the interface they belong to'
        raise CniError(Code.UNSUPPORTED_FIELD, f"unsupported field master: {config.master!r}", details)
    if config.ipam:
        names = f"{{{', '.join(f'{key}: {bytes(value).decode()}' for key, value in config.ipam.items())}}}"
        raise CniError(
            Code.UNSUPPORTED_FIELD, f"unsupported field ipam: {names}", "addresses come from this node's pools"
        )
    if bytes(config.prev_result) not in {b"", b"null"}:
        details = "underlay makes the pod's interface: it stands first in a list of plugins"
        raise CniError(Code.INVALID_CONFIG, "prevResult: underlay continues no other plugin's result", details)


def _check_version(command: Command, version: str) -> None:
    if version not in SUPPORTED_VERSIONS:
        details = f'config is "{version}", plugin supports {list(SUPPORTED_VERSIONS)}'
        raise CniError(Code.INCOMPATIBLE_VERSION, "incompatible CNI versions: cniVersion", details)
    since = _SINCE.get(command)
    if since and SUPPORTED_VERSIONS.index(version) < SUPPORTED_VERSIONS.index(since):
        raise CniError(
            Code.INCOMPATIBLE_VERSION, f"config version does not allow {command}: cniVersion", f'config is "{version}"'
        )


def _render_interface(link: ResultInterface, version: str) -> dict[str, object]:
    body: dict[str, object] = {"name": link.name, "mac": link.mac}
    if link.mtu is not None and version == "1.1.0":
        body["mtu"] = link.mtu
    if link.sandbox:
        body["sandbox"] = link.sandbox
    return body


def _render_address(item: ResultAddress, version: str) -> dict[str, object]:
    body: dict[str, object] = {"version": str(item.address.version)} if version.startswith("0.") else {}
    body |= {"address": str(item.address), "interface": item.interface}
    if item.gateway is not None:
        body["gateway"] = str(item.gateway)
    return body
