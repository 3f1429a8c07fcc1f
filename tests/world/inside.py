"""Sockets in other network namespaces, and what the demo sends over them.

A socket belongs for ever to the namespace in which it was opened, so one short ``setns`` in a thread is all it takes:
no process per pod and ping.
"""

import asyncio
import contextlib
import ctypes
import itertools
import os
import socket
import struct
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_ETHERTYPE_IPV4 = 0x0800
_ICMP = 1


def in_namespace(netns: Path, make: Callable[[], T]) -> T:
    """``make()`` called by a thread that is in ``netns`` and ends with it."""

    def call() -> T:
        handle = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter {netns}")
        finally:
            os.close(handle)
        return make()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result()


async def unreachable(
    sources: Mapping[IPv4Address, Path], targets: Collection[IPv4Address], *, within_seconds: float = 3.0
) -> set[tuple[IPv4Address, IPv4Address]]:
    """Pairs (source, target) without an answer to any echo request. ``sources``: address → its namespace."""
    pings = [_Pings(source, in_namespace(netns, _icmp_socket)) for source, netns in sources.items()]
    try:
        return set().union(*await asyncio.gather(*(ping.missing(targets, within_seconds) for ping in pings)))
    finally:
        for ping in pings:
            ping.close()


async def http_get(netns: Path, address: IPv4Address, port: int, *, within_seconds: float = 2.0) -> str:
    """The body of ``GET /`` asked from within ``netns``. Raises ``OSError`` (also when nothing came in time)."""
    loop = asyncio.get_running_loop()
    client = in_namespace(netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    try:
        client.setblocking(False)
        async with asyncio.timeout(within_seconds):
            await loop.sock_connect(client, (str(address), port))
            await loop.sock_sendall(client, b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while chunk := await loop.sock_recv(client, 4096):
                answer += chunk
    finally:
        client.close()
    return answer.partition(b"\r\n\r\n")[2].decode().strip()


def send_frame(netns: Path, link: str, frame: bytes) -> None:
    """Put ``frame`` on ``link`` as it is, whatever it claims about its sender."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((link, 0))
            raw.send(frame)

    in_namespace(netns, send)


def echo_frame(*, source_mac: str, target_mac: str, source: IPv4Address, target: IPv4Address, mark: bytes) -> bytes:
    """An Ethernet frame with an ICMP echo request that carries ``mark``."""
    icmp = _echo_request(mark)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(icmp), 0, 0, 64, _ICMP, 0, source.packed, target.packed)
    header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
    ethernet = _mac(target_mac) + _mac(source_mac) + struct.pack("!H", _ETHERTYPE_IPV4)
    return ethernet + header + icmp


def listen_icmp(netns: Path) -> socket.socket:
    """A socket that sees every ICMP message for ``netns``."""
    return in_namespace(netns, _icmp_socket)


def received(listener: socket.socket, mark: bytes) -> bool:
    """Whether an echo request with ``mark`` is among what has come so far."""
    while True:
        try:
            packet = listener.recv(2048)
        except BlockingIOError:
            return False
        if mark in packet:
            return True


class _Pings:
    """Echo requests of one source to many targets at once."""

    def __init__(self, source: IPv4Address, icmp: socket.socket) -> None:
        self._source = source
        self._socket = icmp
        self._socket.bind((str(source), 0))

    async def missing(
        self, targets: Collection[IPv4Address], within_seconds: float
    ) -> set[tuple[IPv4Address, IPv4Address]]:
        left = {target for target in targets if target != self._source}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_seconds
        request = _echo_request(os.urandom(16))
        while left and loop.time() < deadline:
            for target in left:
                try:
                    self._socket.sendto(request, (str(target), 0))
                except OSError:
                    continue  # no route or no neighbour yet: asked again below
            try:
                async with asyncio.timeout(0.5):
                    while left:
                        packet, (sender, _) = await loop.sock_recvfrom(self._socket, 2048)
                        start = (packet[0] & 0xF) * 4
                        if packet[start] == _ECHO_REPLY and packet[start + 8 :] == request[8:]:
                            left.discard(IPv4Address(sender))
            except TimeoutError:
                continue
        return {(self._source, target) for target in left}

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Echo requests and what became of them. ``gap_seconds``: the longest time between two answered ones that lay
    apart; ``trailing_lost``: unanswered ones at the very end.
    """

    sent: int
    lost: int
    gap_seconds: float
    trailing_lost: int


class Pinging:
    """One echo request to ``target`` every ``every_seconds`` from within ``netns``, until ``end``."""

    def __init__(self, netns: Path, target: IPv4Address, *, every_seconds: float = 0.1) -> None:
        self._target = target
        self._every = every_seconds
        self._socket = in_namespace(netns, _icmp_socket)
        self._sent: dict[bytes, float] = {}
        self._answered: set[bytes] = set()
        self._heard = asyncio.Event()
        self._tasks = [asyncio.ensure_future(self._send()), asyncio.ensure_future(self._receive())]

    async def until_answered(self, *, within_seconds: float) -> None:
        """Until the next answer. Raises ``TimeoutError``."""
        self._heard.clear()
        async with asyncio.timeout(within_seconds):
            await self._heard.wait()

    async def end(self, *, last_seconds: float = 0.5) -> Counted:
        """Sends no more, waits for the last answers, and counts."""
        self._tasks[0].cancel()
        await asyncio.sleep(last_seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._socket.close()
        times = [at for mark, at in self._sent.items() if mark in self._answered]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        answers = [mark in self._answered for mark in self._sent]
        trailing = len(list(itertools.takewhile(lambda answered: not answered, reversed(answers))))
        return Counted(
            sent=len(answers), lost=answers.count(False), gap_seconds=max(gaps, default=0.0), trailing_lost=trailing
        )

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            mark = os.urandom(16)
            self._sent[mark] = loop.time()
            with contextlib.suppress(OSError):  # no route or neighbour just now: it counts as unanswered
                self._socket.sendto(_echo_request(mark), (str(self._target), 0))
            await asyncio.sleep(self._every)

    async def _receive(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            packet, (sender, _) = await loop.sock_recvfrom(self._socket, 2048)
            start = (packet[0] & 0xF) * 4
            if packet[start] == _ECHO_REPLY and IPv4Address(sender) == self._target:
                self._answered.add(packet[start + 8 :])
                self._heard.set()


def _icmp_socket() -> socket.socket:
    icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    icmp.setblocking(False)
    icmp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return icmp


def _echo_request(payload: bytes) -> bytes:
    bare = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, 0, 1) + payload
    return bare[:2] + struct.pack("!H", _checksum(bare)) + bare[4:]


def _checksum(content: bytes) -> int:
    """RFC 1071, for an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(content) // 2}H", content))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
