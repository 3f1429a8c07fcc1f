"""The egress filter of a master as a tc classifier, for kernels whose nftables has no egress hook (before Linux 5.16).

What it drops is said in ``withholding``. A classic BPF program in direct action at the clsact qdisc, first in line;
others' classifiers there stay as they are. Formats: linux/pkt_sched.h, pkt_cls.h (TCA_BPF_*), filter.h.
"""

import socket
from collections.abc import Collection
from struct import Struct

from underlay.cni.datapath.channel import Channel, Failure, Message, attribute
from underlay.cni.datapath.model import OUR_GROUP, IPAddress
from underlay.cni.datapath.withholding import DESTINATIONS, ETHERTYPE, ETHERTYPES, MOST_TAGS, TAG_BYTES, TAGS

_NEWQDISC, _NEWTFILTER, _DELTFILTER = 36, 44, 45
_REQUEST, _REPLACE, _CREATE, _EXCL = 0x1, 0x100, 0x400, 0x200
_TCMSG = Struct("=BxxxiIII")
_CLSACT, _CLSACT_PARENT, _EGRESS = 0xFFFF0000, 0xFFFFFFF1, 0xFFFFFFF3
_FIRST_IN_LINE, _ALL_PROTOCOLS = 1, socket.htons(0x0003)
_HANDLE = OUR_GROUP
_KIND, _OPTIONS = 1, 2
_OPS_LEN, _OPS, _NAME, _FLAGS, _DIRECT_ACTION = 4, 5, 7, 8, 1
_U16, _U32 = Struct("=H"), Struct("=I")

_INSTRUCTION = Struct("=HBBI")
_LOAD_WORD, _LOAD_HALF, _EQUAL, _JUMP, _RETURN = 0x20, 0x28, 0x15, 0x05, 0x06
_MARK = 0xFFFFF000 + 20
_PASS_ON, _DROP = 0xFFFFFFFF, 2  # TC_ACT_UNSPEC: the next classifier decides


def install(channel: Channel, master: int, services: Collection[IPAddress], mark: int) -> Failure | None:
    """Put the filter on the link of that index, in place of an earlier one."""
    code = program(services, mark)
    options = attribute(_OPS_LEN, _U16.pack(len(code) // _INSTRUCTION.size)) + attribute(_OPS, code)
    options += attribute(_NAME, b"underlay\0") + attribute(_FLAGS, _U32.pack(_DIRECT_ACTION))
    qdisc = _TCMSG.pack(0, master, _CLSACT, _CLSACT_PARENT, 0) + attribute(_KIND, b"clsact\0")
    messages = (
        Message(type=_NEWQDISC, flags=_REQUEST | _CREATE | _EXCL, body=qdisc, repeatable=True),
        Message(
            type=_NEWTFILTER,
            flags=_REQUEST | _CREATE | _REPLACE,
            body=_filter(master) + attribute(_KIND, b"bpf\0") + attribute(_OPTIONS, options),
        ),
    )
    return next(iter(channel.apply(messages)), None)


def remove(channel: Channel, master: int) -> None:
    """Take the filter off; one that is not there is gone already. The qdisc stays: others may use it."""
    channel.apply((Message(type=_DELTFILTER, flags=_REQUEST, body=_filter(master) + attribute(_KIND, b"bpf\0")),))


def program(services: Collection[IPAddress], mark: int) -> bytes:
    """Drops frames to ``services`` without the mark. Begins at the frame's first byte."""
    code = [_word(_LOAD_WORD, _MARK), _word(_EQUAL, mark, 0, 1), _word(_RETURN, _PASS_ON)]
    for tags in range(MOST_TAGS + 1):
        further = TAG_BYTES * tags
        code.append(_word(_LOAD_HALF, ETHERTYPE + further))
        for family, ethertype in ETHERTYPES.items():
            tests = [part for service in services if service.version == family for part in _test(service, further)]
            tests.append(_word(_RETURN, _PASS_ON))
            # A conditional jump reaches 255 instructions, the unconditional one any.
            code += [_word(_EQUAL, ethertype, 1, 0), _word(_JUMP, len(tests)), *tests]
        code += [_word(_EQUAL, TAGS[0], 2, 0), _word(_EQUAL, TAGS[1], 1, 0), _word(_RETURN, _PASS_ON)]
    code.append(_word(_RETURN, _DROP))
    return b"".join(code)


def _test(service: IPAddress, further: int) -> list[bytes]:
    """Drop if the destination is ``service``, else go on after this."""
    packed = service.packed
    words = [int.from_bytes(packed[at : at + 4], "big") for at in range(0, len(packed), 4)]
    code: list[bytes] = []
    for number, word in enumerate(words):
        left = 2 * (len(words) - number - 1) + 1
        at = DESTINATIONS[service.version] + further + 4 * number
        code += [_word(_LOAD_WORD, at), _word(_EQUAL, word, 0, left)]
    return [*code, _word(_RETURN, _DROP)]


def _word(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return _INSTRUCTION.pack(operation, if_true, if_false, value)


def _filter(master: int) -> bytes:
    return _TCMSG.pack(0, master, _HANDLE, _EGRESS, _FIRST_IN_LINE << 16 | _ALL_PROTOCOLS)
