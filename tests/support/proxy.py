"""A TCP proxy in front of a real server: the network between client and server, to be broken on purpose."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from underlay.core.kube.client import KubeClient


class TcpProxy:
    """Forwards to ``host:port``. ``cut`` breaks all connections and refuses new ones; ``freeze`` holds every byte."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.connections = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.heal()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flowing.set()
        await self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            with suppress(OSError):
                await writer.wait_closed()

    async def heal(self) -> None:
        """Accept connections again, on the same port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Reset all connections, refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop()

    def drop(self) -> None:
        """Reset all connections; new ones are accepted."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        """Connections stay, nothing passes any more."""
        self._flowing.clear()

    def thaw(self) -> None:
        """What was held back passes."""
        self._flowing.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, far_writer}
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while content := await source.read(65536):
                await self._flowing.wait()
                sink.write(content)
                await sink.drain()
        sink.close()


@asynccontextmanager
async def proxied(
    kubeconfig: Path, folder: Path, *, timeout_seconds: float = 5
) -> AsyncIterator[tuple[TcpProxy, KubeClient]]:
    """A client whose way to the API server of ``kubeconfig`` can be broken; ``folder`` gets its own kubeconfig."""
    config = folder / "proxied-kubeconfig"
    host, port = _server(kubeconfig)
    async with TcpProxy(host, port) as proxy:
        _redirect(kubeconfig, config, f"https://{host}:{port}", f"https://127.0.0.1:{proxy.port}")
        async with KubeClient.connect(config, user_agent="proxied/1", timeout_seconds=timeout_seconds) as client:
            yield proxy, client


def _server(kubeconfig: Path) -> tuple[str, int]:
    match = re.search(r"https://([\d.]+):(\d+)", kubeconfig.read_text())
    assert match is not None
    return match[1], int(match[2])


def _redirect(source: Path, target: Path, old: str, new: str) -> None:
    target.write_text(source.read_text().replace(old, new))
