"""The frames between launcher and agent. Pure; the launcher's side is launcher/underlay.c, which describes the
layout too.

Request: u32 length of the rest; u8 version; u8 x 3 reserved; u32 deadline in ms; KEY=VALUE NUL … NUL; stdin bytes.
Answer:  u32 length of the rest; u8 version; u8 exit status; u8 x 2 reserved; stdout bytes. Integers are big-endian.
A file of the DEL spool is a request, byte for byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct

from underlay.core.errors import InvalidInput

VERSION = 1
MAX_LENGTH = 8 << 20
_REQUEST = Struct(">B3xI")
_ANSWER = Struct(">IBB2x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One execution of the launcher. ``deadline_seconds`` is how long it waits for the answer."""

    environment: Mapping[str, str]
    stdin: bytes
    deadline_seconds: float


def expected_length(head: bytes | bytearray) -> int | None:
    """Bytes of the whole frame that ``head`` begins; None while that is not known. Raises ``InvalidInput`` beyond 8
    MiB.
    """
    if len(head) < 4:
        return None
    length = int.from_bytes(head[:4], "big")
    if not _REQUEST.size < length <= MAX_LENGTH:
        raise InvalidInput("frame.length", found=length, expected=f"{_REQUEST.size + 1} to {MAX_LENGTH} bytes")
    return 4 + length


def parse_call(frame: bytes) -> Call:
    """The call in a whole frame. Raises ``InvalidInput``."""
    if len(frame) != expected_length(frame):
        raise InvalidInput("frame", found=f"{len(frame)} bytes", expected="one whole frame")
    version, deadline = _REQUEST.unpack_from(frame, 4)
    if version != VERSION:
        raise InvalidInput("frame.version", found=version, expected=str(VERSION))
    environment: dict[str, str] = {}
    at = 4 + _REQUEST.size
    while True:
        end = frame.find(b"\0", at)
        if end < 0:
            raise InvalidInput("frame.environment", found="no end", expected="an empty entry at its end")
        if end == at:
            break
        key, _, value = frame[at:end].decode(errors="surrogateescape").partition("=")
        environment[key] = value
        at = end + 1
    return Call(environment=environment, stdin=frame[end + 1 :], deadline_seconds=deadline / 1000)


def render_call(call: Call) -> bytes:
    """Inverse of ``parse_call``."""
    entries = "".join(f"{key}={value}\0" for key, value in call.environment.items())
    rest = _REQUEST.pack(VERSION, round(call.deadline_seconds * 1000))
    rest += entries.encode(errors="surrogateescape") + b"\0" + call.stdin
    return len(rest).to_bytes(4, "big") + rest


def render_answer(exit_status: int, stdout: bytes) -> bytes:
    """What the launcher prints, and its exit status."""
    return _ANSWER.pack(len(stdout) + 4, VERSION, exit_status) + stdout


def parse_answer(frame: bytes) -> tuple[int, bytes]:
    """(exit status, stdout) of a whole answer. Raises ``InvalidInput``."""
    if len(frame) < _ANSWER.size:
        raise InvalidInput("answer", found=f"{len(frame)} bytes", expected=f"at least {_ANSWER.size}")
    length, version, status = _ANSWER.unpack_from(frame)
    if version != VERSION or length != len(frame) - 4:
        raise InvalidInput("answer", found=(version, length), expected=f"({VERSION}, {len(frame) - 4})")
    return status, frame[_ANSWER.size :]
