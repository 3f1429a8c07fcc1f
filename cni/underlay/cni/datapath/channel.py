"""A netlink socket that sends batches: one ``send``, one ``recv`` when all is well.

The kernel works on a batch within ``send``: it takes every message, also after one that failed, and answers each error
with the message's sequence number. Only the last message asks for an acknowledgement, which closes the batch.
"""

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct

_HEADER = Struct("=IHHII")
_ATTR = Struct("=HH")
_INT32 = Struct("=i")
_NLMSG_ERROR = 2
_ACK = 0x4
_CAPPED, _HAS_ATTRIBUTES = 0x100, 0x200
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One request without its sequence number. ``repeatable``: that the object is there already is as good."""

    type: int
    flags: int
    body: bytes
    repeatable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The kernel's answer to the ``position``-th message of a batch; ``errno`` is positive."""

    position: int
    errno: int
    reason: str


def attribute(kind: int, payload: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    size = len(payload)
    return _ATTR.pack(size + 4, kind) + payload + _PADDING[size & 3]


class Channel:
    """A route socket, bound to the namespace in which it was opened. One thread at a time."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._sequence = 0

    def close(self) -> None:
        """Give the socket back; the namespace may be held by nothing else."""
        self._socket.close()

    def apply(self, messages: Sequence[Message]) -> list[Failure]:
        """Send all messages at once; what failed, in order. An empty list means that everything was done."""
        if not messages:
            return []
        batch = bytearray()
        first = self._sequence + 1
        last = self._sequence = self._sequence + len(messages)
        for sequence, message in enumerate(messages, first):
            flags = message.flags | _ACK if sequence == last else message.flags
            batch += _HEADER.pack(16 + len(message.body), message.type, flags, sequence, 0)
            batch += message.body
        self._socket.send(batch)
        failures = self.answers(first, last)
        return [f for f in failures if not (messages[f.position].repeatable and f.errno == errno.EEXIST)]

    def exchange(self, batch: bytes, *, first: int, last: int) -> list[Failure]:
        """Send an encoded batch of messages ``first`` to ``last``; the last one asks to be acknowledged."""
        self._socket.send(batch)
        return self.answers(first, last)

    def ask(self, message: Message) -> bytes | Failure:
        """The kernel's one reply to a question, header included."""
        self._sequence += 1
        self._socket.send(
            _HEADER.pack(16 + len(message.body), message.type, message.flags, self._sequence, 0) + message.body
        )
        reply = self._socket.recv(65536)
        if _HEADER.unpack_from(reply)[1] == _NLMSG_ERROR:
            return _failure(reply, 0, _HEADER.unpack_from(reply)[0], self._sequence)
        return reply

    def answers(self, first: int, last: int) -> list[Failure]:
        """Read until message ``last`` is answered."""
        failures: list[Failure] = []
        while True:
            data = self._socket.recv(65536)
            offset = 0
            while offset < len(data):
                size, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
                if kind == _NLMSG_ERROR and first <= sequence <= last:
                    if _INT32.unpack_from(data, offset + 16)[0]:
                        failures.append(_failure(data, offset, size, first))
                    if sequence == last:
                        return failures
                offset += (size + 3) & ~3


def _failure(data: bytes, offset: int, size: int, first: int) -> Failure:
    """Read one NLMSG_ERROR: the error, the failed message's header (or all of it), the kernel's text if it has one."""
    _, _, flags, sequence, _ = _HEADER.unpack_from(data, offset)
    (code,) = _INT32.unpack_from(data, offset + 16)
    reason = ""
    if flags & _HAS_ATTRIBUTES:
        echoed = 16 if flags & _CAPPED else (_HEADER.unpack_from(data, offset + 20)[0] + 3) & ~3
        at = offset + 20 + echoed
        while at + 4 <= offset + size:
            length, kind = _ATTR.unpack_from(data, at)
            if kind == 1:
                reason = data[at + 4 : at + length].rstrip(b"\0").decode(errors="replace")
            at += max(4, (length + 3) & ~3)
    return Failure(position=sequence - first, errno=-code, reason=reason)
