"""What keeps pods from services of the cloud (its metadata). Pure: the nft commands that do it.

A pod can send to a service on two ways, so there are two tables, both named ``underlay_services``:

``inet``, what reaches the host: dropped when it comes through a pod's veth0 (told by the link group) or arrives on a
master, for an ipvlan slave that sends to its own MAC is received there. Both when forwarded and when delivered to the
host itself, and after destination NAT, so that a Service in between does not help and a redirect by the administrator
does.

``netdev``, what a slave sends past the host: dropped as it leaves the master, where the slave's frames come by and no
capability in the pod changes that. The frame itself is looked at, since a packet socket may lie about its protocol, and
past its VLAN tags: what receives it may take the tag of VLAN 0 off, as Linux does. The host's own packets leave by the
same hook; they are told by a random mark, set after all routing and source NAT and only on packets to these services,
and not by their source address, which a pod can write as well. The kernel clears a mark when an ipvlan slave sends; one
of a macvlan slave would have to be guessed.

Where the kernel has no such hook (before Linux 5.16) ``egress`` does the same with tc.
"""

from collections.abc import Collection
from typing import Any

from underlay.cni.datapath.model import OUR_GROUP, IPAddress

TABLE = "underlay_services"

ETHERTYPE = 12
"""Where a frame says what it carries, in bytes."""
ETHERTYPES = {4: 0x0800, 6: 0x86DD}
DESTINATIONS = {4: 30, 6: 38}
"""Where an untagged frame has its destination address, in bytes."""
TAGS = (0x8100, 0x88A8)
"""What stands in the place of the ethertype in a tagged frame (IEEE 802.1Q §9)."""
TAG_BYTES = 4
MOST_TAGS = 2
"""Frames with more are dropped, wherever they go: nobody sends them (802.1ad has two)."""

_AFTER_SOURCE_NAT = 200
_PROTOCOLS = {4: "ip", 6: "ip6"}

Commands = list[dict[str, Any]]


def through_host(services: Collection[IPAddress], masters: Collection[str], mark: int) -> Commands:
    """The ``inet`` table in place of any earlier one."""
    origins: list[dict[str, Any]] = [_equal({"meta": {"key": "iifgroup"}}, OUR_GROUP)]
    if masters:
        origins.append(_equal({"meta": {"key": "iifname"}}, {"set": sorted(masters)}))
    commands = [*nothing("inet")[:2], {"add": {"table": _table("inet")}}]
    for name, hook in (("forwarded", "forward"), ("delivered", "input")):
        commands.append(_chain("inet", name, hook, 0))
        commands += [
            _rule("inet", name, origin, destination, {"counter": None}, {"drop": None})
            for origin in origins
            for destination in _destinations(services)
        ]
    commands.append(_chain("inet", "leaving", "postrouting", _AFTER_SOURCE_NAT))
    marking = {"mangle": {"key": {"meta": {"key": "mark"}}, "value": mark}}
    return commands + [_rule("inet", "leaving", each, marking) for each in _destinations(services)]


def past_host(services: Collection[IPAddress], masters: Collection[str], mark: int) -> Commands:
    """The ``netdev`` table in place of any earlier one. Fails as a whole if one of ``masters`` is not there."""
    commands = [*nothing("netdev")[:2], {"add": {"table": _table("netdev")}}]
    for tags in range(MOST_TAGS, -1, -1):
        commands += _frames(services, tags)
    # One chain each: the JSON of nftables 1.0.6 knows no chain of several devices.
    for number, master in enumerate(sorted(masters)):
        chain = f"leaving{number}"
        commands.append(_chain("netdev", chain, "egress", 0, dev=master))
        unmarked = {"match": {"op": "!=", "left": {"meta": {"key": "mark"}}, "right": mark}}
        commands.append(_rule("netdev", chain, unmarked, {"jump": {"target": "tags0"}}, comment=master))
    return commands


def _frames(services: Collection[IPAddress], tags: int) -> Commands:
    """The chain for frames that have as many tags at least; the one for more must be there."""
    chain, further = f"tags{tags}", TAG_BYTES * tags
    more: dict[str, Any] = {"drop": None} if tags == MOST_TAGS else {"jump": {"target": f"tags{tags + 1}"}}
    return [
        {"add": {"chain": {"family": "netdev", "table": TABLE, "name": chain}}},
        *(
            _rule(
                "netdev",
                chain,
                _equal(_frame(ETHERTYPE + further, 2), ETHERTYPES[service.version]),
                _equal(_frame(DESTINATIONS[service.version] + further, len(service.packed)), _hex(service)),
                {"counter": None},
                {"drop": None},
                comment=str(service),
            )
            for service in sorted(services, key=lambda item: (item.version, int(item)))
        ),
        *(_rule("netdev", chain, _equal(_frame(ETHERTYPE + further, 2), tag), more) for tag in TAGS),
    ]


def nothing(family: str) -> Commands:
    """Whatever is there of one of the tables, gone. Added first, since what is not there cannot be deleted."""
    return [{"add": {"table": _table(family)}}, {"delete": {"table": _table(family)}}]


def _table(family: str) -> dict[str, str]:
    return {"family": family, "name": TABLE}


def _chain(family: str, name: str, hook: str, priority: int, **on: object) -> dict[str, Any]:
    chain = {"family": family, "table": TABLE, "name": name, "type": "filter", "hook": hook, "prio": priority}
    return {"add": {"chain": {**chain, "policy": "accept", **on}}}


def _rule(family: str, chain: str, *expressions: dict[str, Any], **further: str) -> dict[str, Any]:
    rule = {"family": family, "table": TABLE, "chain": chain, "expr": list(expressions)}
    return {"add": {"rule": {**rule, **further}}}


def _equal(left: dict[str, Any], right: object) -> dict[str, Any]:
    return {"match": {"op": "==", "left": left, "right": right}}


def _frame(offset: int, size: int) -> dict[str, Any]:
    """A part of the Ethernet frame, in bytes."""
    return {"payload": {"base": "ll", "offset": offset * 8, "len": size * 8}}


def _hex(address: IPAddress) -> str:
    return f"0x{address.packed.hex()}"


def _destinations(services: Collection[IPAddress]) -> list[dict[str, Any]]:
    found = []
    for family, protocol in _PROTOCOLS.items():
        if named := sorted(str(service) for service in services if service.version == family):
            found.append(_equal({"payload": {"protocol": protocol, "field": "daddr"}}, {"set": named}))
    return found
