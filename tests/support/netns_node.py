"""A node and the network round it in kernel namespaces, for tests of the datapath.

network  p0 10.0.0.1/24 and 10.0.0.99/24, p1 10.0.1.1/24   the gateways, and a machine elsewhere
   │
host     eth0 10.0.0.10/24 (the node's InternalIP)   eth1 without address: master of the pods, 10.0.1.0/24
   │
pods     made one by one
"""

import asyncio
import contextlib
import ctypes
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

NODE_ADDRESS = "10.0.0.10"
GATEWAY = "10.0.1.1"
REMOTE = "10.0.0.99"
MASTER = "eth1"

_numbers = count()

TOPOLOGY = """
link set lo up
link add eth0 type veth peer name p0 netns {network}
link add eth1 type veth peer name p1 netns {network}
addr add 10.0.0.10/24 dev eth0
link set eth0 up
"""
NETWORK = """
link set lo up
addr add 10.0.0.1/24 dev p0
addr add 10.0.0.99/24 dev p0
addr add 10.0.1.1/24 dev p1
link set p0 up
link set p1 up
"""


def run(*command: str, text: str | None = None) -> str:
    """Run a program; what it says on failure is in the exception."""
    done = subprocess.run(command, capture_output=True, text=True, input=text, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}{done.stdout}")
    return done.stdout


class NodeWorld:
    """The namespaces of one test.

    Without ``ipv6`` nothing changes in them but what a test does. With it the kernel gives every link that comes up
    an address and routes, when it gets round to the link's carrier and again when duplicate detection has ended.
    """

    def __init__(self, *, ipv6: bool = True) -> None:
        self._ipv6 = ipv6
        self._prefix = f"ut{os.getpid()}n{next(_numbers)}"
        self.host = f"{self._prefix}h"
        self.network = f"{self._prefix}w"
        self._made: list[str] = []

    @classmethod
    @contextlib.contextmanager
    def built(cls, *, ipv6: bool = True) -> Iterator["NodeWorld"]:
        """Host and network are there in the block, and nothing is after it."""
        world = cls(ipv6=ipv6)
        try:
            world.build()
            yield world
        finally:
            world.tear_down()

    def build(self) -> None:
        """Make host and network."""
        for name in (self.network, self.host):
            self._add(name)
        run("ip", "-n", self.host, "-batch", "-", text=TOPOLOGY.format(network=self.network))
        run("ip", "-n", self.network, "-batch", "-", text=NETWORK)
        run("ip", "-n", self.host, "route", "add", "default", "via", "10.0.0.1")

    def tear_down(self) -> None:
        """Remove all namespaces that are still there."""
        for name in reversed(self._made):
            if self.path(name).exists():
                run("ip", "netns", "del", name)

    def pod(self) -> str:
        """A fresh, empty namespace with loopback up, as a runtime makes it; returns its name."""
        name = f"{self._prefix}p{len(self._made)}"
        self._add(name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        return name

    def remove(self, name: str) -> None:
        """Remove a namespace as a runtime does."""
        run("ip", "netns", "del", name)

    def renew(self, name: str) -> None:
        """Another namespace in the place of a removed one."""
        run("ip", "netns", "add", name)

    @staticmethod
    def path(name: str) -> Path:
        """Where a namespace is found."""
        return Path("/run/netns") / name

    @staticmethod
    def show(name: str, *what: str) -> Any:  # noqa: ANN401 - iproute2's JSON
        """What ``ip -json`` tells of a namespace; it shows what a filter leaves out as empty objects."""
        return [found for found in json.loads(run("ip", "-n", name, "-d", "-j", *what) or "[]") if found]

    def links(self, name: str) -> set[str]:
        """The names of a namespace's links."""
        return {link["ifname"] for link in self.show(name, "link", "show")}

    @staticmethod
    def execute(name: str, *command: str, text: str | None = None) -> str:
        """Run a program in a namespace."""
        return run("ip", "netns", "exec", name, *command, text=text)

    def pings(self, name: str, address: str) -> bool:
        """Whether one echo request from the namespace is answered."""
        command = ("ip", "netns", "exec", name, "ping", "-n", "-c", "1", "-W", "5", address)
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    async def listen(self, name: str, port: int) -> "Listener":
        """A TCP server in the namespace that answers with the address it was called from."""
        return await Listener.start(await inside(name, lambda: _listening(port)))

    async def call(
        self, name: str, address: str, port: int, *, source: str | None = None, patience_seconds: float = 5
    ) -> str:
        """Connect from the namespace and return what the server says: the address it saw."""

        def connect() -> str:
            origin = (source, 0) if source else None
            with socket.create_connection(
                (address, port), timeout=patience_seconds, source_address=origin
            ) as connection:
                return connection.makefile().read()

        return await inside(name, connect)

    def _add(self, name: str) -> None:
        run("ip", "netns", "add", name)
        self._made.append(name)
        if not self._ipv6:
            off = (f"net.ipv6.conf.{which}.disable_ipv6=1" for which in ("all", "default"))
            self.execute(name, "sysctl", "-qw", *off)


class Listener:
    """A server that tells each caller its address, and ends."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server

    @classmethod
    async def start(cls, listening: socket.socket) -> "Listener":
        """Serve on a socket."""

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(str(writer.get_extra_info("peername")[0]).encode())
            writer.close()
            await writer.wait_closed()

        return cls(await asyncio.start_server(answer, sock=listening))

    async def close(self) -> None:
        """Stop."""
        self._server.close()
        await self._server.wait_closed()


def _listening(port: int) -> socket.socket:
    listening = socket.create_server(("0.0.0.0", port))
    listening.setblocking(False)
    return listening


async def inside(name: str, work: Callable[[], T]) -> T:
    """Run blocking ``work`` in a namespace, in a thread that ends with it."""

    def enter() -> T:
        descriptor = os.open(NodeWorld.path(name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000) != 0:
                raise OSError(ctypes.get_errno(), f"setns {name}")
        finally:
            os.close(descriptor)
        return work()

    with ThreadPoolExecutor(1) as threads:
        return await asyncio.get_running_loop().run_in_executor(threads, enter)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what another task brings about in the kernel."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - the kernel has no event for it that a test could await
            await asyncio.sleep(0.02)
