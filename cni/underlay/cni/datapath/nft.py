"""The two nftables tables, both named ``underlay``, both constant: none is changed when pods come and go; and the way
to nftables for the tables of ``withholding``.

Host, put there by ``tables`` through libnftables: what a pod sends through ``veth0`` and leaves the node is masqueraded
to the node's address of the interface it leaves by, since a cloud drops a source that does not belong to the interface.
Our veths are told by their link group. What leaves by another of our veths stays as it is: the other pod's connection
mark brings the replies back. Needs ``iifgroup`` in postrouting (Linux 5.7).

Pod, in each ADD, as constant bytes: connections that begin on ``veth0`` are marked, and packets that answer them get
the mark, which leads them to table 100.

Formats: linux/netfilter/nf_tables.h, nfnetlink.h; attributes in network byte order, register contents in host order.
"""

import errno
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from struct import Struct
from typing import Any, NamedTuple

import nftables

from underlay.cni.datapath.channel import Channel, Failure, attribute
from underlay.cni.datapath.errors import KernelRefused
from underlay.cni.datapath.model import OUR_GROUP, POD_VETH, VETH_MARK

TABLE = "underlay"

_NETLINK_NETFILTER = 12
_INET = 1
_MANGLE, _SOURCE_NAT = -150, 100
_PREROUTING, _OUTPUT = 0, 3
_BEGIN, _END = 0x10, 0x11
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE = 0xA00, 0xA02, 0xA03, 0xA06
_REQUEST, _ACK, _EXCL, _CREATE, _APPEND = 0x1, 0x4, 0x200, 0x400, 0x800
_NESTED = 0x8000
_HEADER = Struct("=IHHII")
_BE32 = Struct(">I")

_META_MARK, _META_IIFNAME, _CT_STATE, _CT_MARK = 3, 6, 0, 3
_CT_STATE_NEW = 8
_EQUAL, _UNEQUAL = 0, 1


class Handle(NamedTuple):
    """What the kernel knows a table, chain or rule by. One that is made anew, equal or not, has another."""

    kind: str
    family: str
    table: str
    number: int


Handles = frozenset[Handle]


def change(commands: list[dict[str, Any]]) -> Handles:
    """Carry out libnftables' JSON commands as one transaction, in the namespace of the calling thread; returns what it
    has added and not deleted again.

    Raises ``KernelRefused``: nothing has changed.
    """
    library = nftables.Nftables()  # opens its socket here, so it belongs to this thread's namespace
    library.set_echo_output(True)
    code, reply, reason = library.json_cmd({"nftables": commands})
    if code != 0:
        raise KernelRefused(errno.EINVAL, "change the nft tables of the host", str(reason).strip())
    added: set[Handle] = set()
    for done in _objects(reply):
        if "add" in done:
            added.update(_handles(done["add"]))
        else:
            gone = {(item["family"], item["name"]) for item in done["delete"].values()}
            added = {handle for handle in added if (handle.family, handle.table) not in gone}
    return frozenset(added)


def there(tables: Iterable[tuple[str, str]]) -> Handles:
    """All there is of these tables (family, name), in the namespace of the calling thread."""
    library = nftables.Nftables()
    library.set_handle_output(True)
    found: set[Handle] = set()
    for family, name in tables:
        try:
            _, reply, _ = library.json_cmd({"nftables": [{"list": {"table": {"family": family, "name": name}}}]})
        except ValueError:  # what nftables 1.0.6 says of a table with flags is no JSON; such a one is not ours
            continue
        for listed in _objects(reply):
            found.update(_handles(listed))
    return frozenset(found)


def _objects(reply: object) -> list[dict[str, Any]]:
    return list(reply["nftables"]) if isinstance(reply, dict) else []


def _handles(objects: dict[str, Any]) -> Iterator[Handle]:
    """Of what has one: not a table that was to be added and is there."""
    for kind, item in objects.items():
        if "handle" in item:
            yield Handle(kind, item["family"], item["name"] if kind == "table" else item["table"], item["handle"])


def host_table() -> list[dict[str, Any]]:
    """The commands, in libnftables' JSON, that put the host's table in place of any earlier one (one transaction)."""
    table = {"family": "inet", "name": TABLE}
    chain = {
        "family": "inet",
        "table": TABLE,
        "name": "leaving",
        "type": "nat",
        "hook": "postrouting",
        "prio": _SOURCE_NAT,
        "policy": "accept",
    }
    rule = {
        "family": "inet",
        "table": TABLE,
        "chain": "leaving",
        "comment": "from a pod through its veth0, off this node",
        "expr": [
            {"match": {"op": "==", "left": {"meta": {"key": "iifgroup"}}, "right": OUR_GROUP}},
            {"match": {"op": "!=", "left": {"meta": {"key": "oifgroup"}}, "right": OUR_GROUP}},
            {"counter": {"packets": 0, "bytes": 0}},
            {"masquerade": {"flags": "fully-random"}},
        ],
    }
    return [
        {"add": {"table": table}},
        {"delete": {"table": table}},
        {"add": {"table": table}},
        {"add": {"chain": chain}},
        {"add": {"rule": rule}},
    ]


def install_pod_table(channel: Channel) -> list[Failure]:
    """Put the pod's table through a netfilter ``channel`` opened in the pod. A table that is there is this one."""
    batch, last = pod_table()
    failures = channel.exchange(batch, first=1, last=last)
    return [failure for failure in failures if failure.errno != errno.EEXIST]


def remove_pod_table(channel: Channel) -> list[Failure]:
    """Remove the pod's table; one that is not there is removed already."""
    batch, last = _batch((_DELTABLE, 0, _text(1, TABLE)))
    failures = channel.exchange(batch, first=1, last=last)
    return [failure for failure in failures if failure.errno != errno.ENOENT]


def open_channel() -> Channel:
    """A netfilter socket in the namespace of the calling thread."""
    return Channel(_NETLINK_NETFILTER)


@cache
def pod_table() -> tuple[bytes, int]:
    """The pod's batch and the number of its last request, which asks to be acknowledged.

    In nft's words::

        table inet underlay {
            chain arriving { type filter hook prerouting priority mangle
                iifname "veth0" ct state new ct mark set 0x1 }
            chain answering { type route hook output priority mangle
                ct mark 0x1 meta mark set 0x1 }
        }
    """
    arriving = (
        _meta(_META_IIFNAME, into=1)
        + _compare(_EQUAL, POD_VETH.encode().ljust(16, b"\0"))
        + _ct(_CT_STATE, into=1)
        + _mask(_CT_STATE_NEW)
        + _compare(_UNEQUAL, _register(0))
        + _immediate(VETH_MARK)
        + _expression("ct", _be32(2, _CT_MARK) + _be32(4, 1))
    )
    answering = (
        _ct(_CT_MARK, into=1)
        + _compare(_EQUAL, _register(VETH_MARK))
        + _immediate(VETH_MARK)
        + _expression("meta", _be32(2, _META_MARK) + _be32(3, 1))
    )
    return _batch(
        (_NEWTABLE, _CREATE | _EXCL, _text(1, TABLE)),
        (_NEWCHAIN, _CREATE, _chain("arriving", "filter", _PREROUTING)),
        (_NEWCHAIN, _CREATE, _chain("answering", "route", _OUTPUT)),
        (_NEWRULE, _CREATE | _APPEND, _rule("arriving", arriving)),
        (_NEWRULE, _CREATE | _APPEND, _rule("answering", answering)),
    )


def _batch(*requests: tuple[int, int, bytes]) -> tuple[bytes, int]:
    """Requests (type, flags, attributes) between begin and end, numbered from 1; begin and end are 0."""
    batch = _message(_BEGIN, _REQUEST, 0, b"\0\0" + (10).to_bytes(2, "big"))
    for number, (kind, flags, attributes) in enumerate(requests, 1):
        closing = _ACK if number == len(requests) else 0
        batch += _message(kind, flags | _REQUEST | closing, number, bytes((_INET, 0, 0, 0)) + attributes)
    return batch + _message(_END, _REQUEST, 0, b"\0\0" + (10).to_bytes(2, "big")), len(requests)


def _message(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return _HEADER.pack(16 + len(body), kind, flags, number, 0) + body


def _be32(kind: int, value: int) -> bytes:
    return attribute(kind, _BE32.pack(value & 0xFFFFFFFF))


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _nested(kind: int, content: bytes) -> bytes:
    return attribute(kind | _NESTED, content)


def _register(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


def _chain(name: str, kind: str, hook: int) -> bytes:
    where = _nested(4, _be32(1, hook) + _be32(2, _MANGLE))
    return _text(1, TABLE) + _text(3, name) + where + _text(7, kind)


def _rule(chain: str, expressions: bytes) -> bytes:
    return _text(1, TABLE) + _text(2, chain) + _nested(4, expressions)


def _expression(name: str, content: bytes) -> bytes:
    return _nested(1, _text(1, name) + _nested(2, content))


def _meta(key: int, *, into: int) -> bytes:
    return _expression("meta", _be32(2, key) + _be32(1, into))


def _ct(key: int, *, into: int) -> bytes:
    return _expression("ct", _be32(2, key) + _be32(1, into))


def _compare(how: int, value: bytes) -> bytes:
    return _expression("cmp", _be32(1, 1) + _be32(2, how) + _nested(3, attribute(1, value)))


def _mask(mask: int) -> bytes:
    bits = _nested(4, attribute(1, _register(mask))) + _nested(5, attribute(1, _register(0)))
    return _expression("bitwise", _be32(1, 1) + _be32(2, 1) + _be32(3, 4) + bits)


def _immediate(value: int) -> bytes:
    return _expression("immediate", _be32(1, 1) + _nested(2, attribute(1, _register(value))))
