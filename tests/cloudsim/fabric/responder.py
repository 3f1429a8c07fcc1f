"""The VPC's ear and mouth for solicitations: one packet socket in its namespace, read by the event loop."""

import asyncio
import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from cloudsim.fabric import neighbours
from cloudsim.fabric.model import View

_ETH_P_IPV6 = 0x86DD
_SO_ATTACH_FILTER = 26
_FILTER = (
    (0x30, 0, 0, 6),  # the byte at 6, the next header,
    (0x15, 0, 4, 58),  # must be ICMPv6,
    (0x30, 0, 0, 40),  # and its type
    (0x35, 0, 2, 133),  # between a router's solicitation
    (0x25, 1, 0, 135),  # and a neighbour's
    (0x06, 0, 0, 2048),
    (0x06, 0, 0, 0),
)
"""Classic BPF, so that what pods send each other is not read here."""


class Responder:
    """Answers from ``view`` until it is closed."""

    def __init__(self, namespace: Path, view: Callable[[], View]) -> None:
        self._view = view
        self._socket = _inside(namespace, _listening)
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        try:
            packet, (link, _, kind, _, mac) = self._socket.recvfrom(2048)
            if kind == socket.PACKET_OUTGOING:
                return
            reply = neighbours.answer(packet, link=link, mac=mac.hex(":"), view=self._view())
            if reply is not None:
                to = (link, _ETH_P_IPV6, 0, 0, bytes.fromhex(reply.mac.replace(":", "")))
                self._socket.sendto(reply.packet, to)
        except OSError:
            return  # a link went away between question and answer


def _listening() -> socket.socket:
    listening = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IPV6))
    listening.setblocking(False)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in _FILTER))
    program = struct.pack("HP", len(_FILTER), ctypes.addressof(code))
    listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    return listening


def _inside(namespace: Path, work: Callable[[], socket.socket]) -> socket.socket:
    """What ``work`` makes in a namespace, which a thread enters that ends with it."""
    made: list[socket.socket | OSError] = []

    def enter() -> None:
        try:
            descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000):
                    raise OSError(ctypes.get_errno(), f"setns {namespace}")
            finally:
                os.close(descriptor)
            made.append(work())
        except OSError as failure:
            made.append(failure)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]
