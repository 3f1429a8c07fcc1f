"""Who is measured: plugin lists and their environment. Pure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.calls import Plugin, Subject

REFERENCE_PLUGINS = Path("/usr/lib/cni")
"""Debian's containernetworking-plugins."""

CHAIN = "chain"
UNDERLAY = "underlay"
WITHOUT_COORDINATOR = "underlay_without_coordinator"
SUBJECTS = (CHAIN, UNDERLAY, WITHOUT_COORDINATOR)

_VERSION = "1.0.0"


def chain(*, kind: str, master: str, folder: Path) -> Subject:
    """Debian's plugins as people configure them for one NIC: ``kind`` + host-local, tuning (two settings), sbr.

    host-local keeps its addresses in ``folder``; they are of a network of its own, since nothing is sent over them.
    """
    ipam = {
        "type": "host-local",
        "dataDir": str(folder),
        "ranges": [[{"subnet": "10.201.0.0/16"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    mode = {"macvlan": "bridge", "ipvlan": "l2"}[kind]
    sysctl = {"net.ipv4.conf.IFNAME.rp_filter": "0", "net.ipv4.conf.IFNAME.arp_notify": "1"}
    return Subject(
        name=CHAIN,
        plugins=(
            _reference(kind, {"master": master, "mode": mode, "ipam": ipam}),
            _reference("tuning", {"sysctl": sysctl}),
            _reference("sbr", {}),
        ),
        environment={"CNI_PATH": str(REFERENCE_PLUGINS), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )


def underlay(*, launcher: Path, socket: str, spool: str, coordinator: bool) -> Subject:
    """Ours; without ``coordinator`` the pod has no ``veth0``, as behind the reference plugins."""
    own: dict[str, Any] = {} if coordinator else {"coordinator": False}
    return Subject(
        name=UNDERLAY if coordinator else WITHOUT_COORDINATOR,
        plugins=(_plugin(launcher, "underlay", own),),
        environment={"CNI_PATH": str(launcher.parent), "UNDERLAY_SOCKET": socket, "UNDERLAY_SPOOL": spool},
    )


def _reference(type_: str, own: Mapping[str, Any]) -> Plugin:
    return _plugin(REFERENCE_PLUGINS / type_, type_, own)


def _plugin(program: Path, type_: str, own: Mapping[str, Any]) -> Plugin:
    return Plugin(
        program=str(program), config=json.dumps({"cniVersion": _VERSION, "name": "bench", "type": type_, **own})
    )
