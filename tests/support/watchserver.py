"""A tiny HTTP server that speaks the API server's list and watch JSON, for what a real one cannot be made to do."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

import httpx2
import msgspec

from underlay.core.kube.client import KubeClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]


class Reply:
    """What a script says to one request; the connection closes when the script returns."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def json(self, content: object, status: int = 200, **headers: str) -> None:
        body = msgspec.json.encode(content)
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._writer.write(f"{head}{more}Connection: close\r\n\r\n".encode() + body)
        await self._writer.drain()

    async def begin(self) -> None:
        self._writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
        await self._writer.drain()

    async def event(self, kind: str, obj: object) -> None:
        await self.raw(msgspec.json.encode({"type": kind, "object": obj}) + b"\n")

    async def raw(self, content: bytes) -> None:
        self._writer.write(content)
        await self._writer.drain()

    def reset(self) -> None:
        self._writer.transport.abort()


Script = Callable[[Request, Reply], Awaitable[None]]


class WatchServer:
    """Answers each request with ``script``; keeps what was asked in ``requests``."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.requests: list[Request] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def client(self, *, timeout_seconds: float = 10.0) -> KubeClient:
        """For its caller to close."""
        http = httpx2.AsyncClient(base_url=self.url, timeout=timeout_seconds, trust_env=False)
        return KubeClient(http, timeout_seconds=timeout_seconds)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = asyncio.create_task(self._answer(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip().split("\r\n")
            method, target, _ = first.split(" ", 2)
            url = urlsplit(target)
            request = Request(
                method=method,
                path=url.path,
                params=dict(parse_qsl(url.query)),
                headers={name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)},
            )
            self.requests.append(request)
            await self._script(request, Reply(writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.close()
