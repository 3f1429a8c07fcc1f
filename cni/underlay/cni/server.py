"""The agent's socket: frames of the launcher in, CNI answers out.

One connection is one call. Only root and the agent's own user are heard (SO_PEERCRED). A launcher that is gone
abandons an ADD that still waits for an address; what has been begun beyond that is finished, and its DEL comes.
"""

import asyncio
import os
import socket
import struct
import time
from pathlib import Path

import structlog

from underlay.cni import frames
from underlay.cni.errors import CniError, Code, JournalBroken
from underlay.cni.lull import Lull
from underlay.cni.metrics import Metrics
from underlay.cni.protocol import SUPPORTED_VERSIONS, CniRequest, Command, parse_request, render_error, render_result
from underlay.cni.verbs import Patience, Verbs
from underlay.core.errors import InvalidInput

_MARGIN_SECONDS = 2.0
"""Kept of the launcher's deadline for the steps after the wait for an address."""
_OWN_NAMESPACE = "CNI_NETNS: plugin's netns and netns from CNI_NETNS should not be the same"
_CREDENTIALS = struct.Struct("3i")


class Server:
    """Listens from ``start`` on; ADDs are held back until ``serve`` says that the agent is ready, DELs are not."""

    def __init__(self, *, path: Path, verbs: Verbs, metrics: Metrics, lull: Lull, add_wait_seconds: float) -> None:
        self._path = path
        self._verbs = verbs
        self._metrics = metrics
        self._lull = lull
        self._own_network = Path("/proc/self/ns/net").stat()
        self._add_wait_seconds = add_wait_seconds
        self._ready = asyncio.Event()
        self._listening: asyncio.Server | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._connections: set[_Connection] = set()
        self._log = structlog.get_logger()

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Listen. Calls run in ``tasks``: what is not an ordinary error ends the agent."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._path.unlink(missing_ok=True)
        self._tasks = tasks
        mask = os.umask(0o177)
        try:
            loop = asyncio.get_running_loop()
            self._listening = await loop.create_unix_server(lambda: _Connection(self), str(self._path), backlog=1024)
        finally:
            os.umask(mask)

    def serve(self) -> None:
        """ADDs may proceed."""
        self._ready.set()

    def close(self) -> None:
        """Listen no more and hang up: a launcher then answers for itself, and keeps its DEL."""
        if self._listening is not None:
            self._listening.close()
            self._path.unlink(missing_ok=True)
        for connection in tuple(self._connections):
            connection.abort()

    def connected(self, connection: "_Connection") -> None:
        """A launcher has come."""
        self._connections.add(connection)

    def disconnected(self, connection: "_Connection", *, unanswered: bool) -> None:
        """It has gone: an ADD that waits looks whether it was its own."""
        self._connections.discard(connection)
        if unanswered:
            self._verbs.wake()

    def accept(self, frame: bytes, connection: "_Connection") -> None:
        """Begin to serve one call."""
        if self._tasks is None:
            return
        call = self._serve(frame, connection)
        try:
            self._tasks.create_task(call)
        except RuntimeError:  # the agent is ending
            call.close()
            connection.abort()

    async def _serve(self, frame: bytes, connection: "_Connection") -> None:
        with self._lull.disturbed():
            await self._call(frame, connection)

    async def _call(self, frame: bytes, connection: "_Connection") -> None:
        began = time.perf_counter()
        version, command, code = SUPPORTED_VERSIONS[-1], "", 0
        try:
            call = frames.parse_call(frame)
            command = call.environment.get("CNI_COMMAND", "")
            request = parse_request(call.environment, call.stdin)
            version = request.config.cni_version
            wait = min(self._add_wait_seconds, max(call.deadline_seconds - _MARGIN_SECONDS, 0))
            answer = await self._carry_out(request, Patience(wait_seconds=wait, abandoned=connection.gone))
        except CniError as failed:
            code = int(failed.code)
            self._log.warning("call.failed", command=command, code=code, reason=failed.msg, details=failed.details)
            connection.answer(frames.render_answer(1, render_error(failed, version)))
        except JournalBroken as failed:
            code = int(Code.IO_FAILURE)
            connection.answer(frames.render_answer(1, render_error(CniError(Code.IO_FAILURE, str(failed)), version)))
        except InvalidInput as failed:
            code = int(Code.UNDECODABLE)
            connection.answer(frames.render_answer(1, render_error(CniError(Code.UNDECODABLE, str(failed)), version)))
        except Exception as failed:  # noqa: BLE001 - one call's surprise must not end all others; it is logged with its trace
            code = int(Code.INTERNAL)
            self._log.exception("call.crashed", command=command)
            error = CniError(Code.INTERNAL, f"{type(failed).__name__}: {failed}", "see the log of underlay-agent")
            connection.answer(frames.render_answer(1, render_error(error, version)))
        else:
            sent = connection.answer(frames.render_answer(0, answer))
            if sent and request.command is Command.ADD:
                self._verbs.add_answered(request.attachment)
            elif request.command is Command.DEL:
                self._verbs.delete_answered()
        self._metrics.calls.labels(command or "none", str(code)).observe(time.perf_counter() - began)

    async def _carry_out(self, request: CniRequest, patience: Patience) -> bytes:
        match request.command:
            case Command.ADD:
                if self._is_own_namespace(request):
                    raise CniError(Code.INVALID_NETNS, _OWN_NAMESPACE)
                await self._ready.wait()
                return render_result(await self._verbs.add(request, patience), request.config.cni_version)
            case Command.DEL:
                own = self._is_own_namespace(request)
                await self._verbs.delete(request.attachment, "" if own else request.netns)
                if own:  # after the release, as in the reference skeleton: the addresses must not be lost
                    raise CniError(Code.INVALID_NETNS, _OWN_NAMESPACE)
            case Command.CHECK:
                await self._verbs.check(request)
            case Command.GC:
                await self._verbs.collect(request)
            case Command.STATUS:
                if not self._ready.is_set():
                    raise CniError(Code.NOT_AVAILABLE, "the agent is starting: it still reads its journal and spool")
        return b""

    def _is_own_namespace(self, request: CniRequest) -> bool:
        """Whether a pod is to be made of the node itself (pkg/skel, ns.CheckNetNS): a path may be stale, and its number
        be that of another process by now. A path that leads nowhere is another matter.
        """
        if request.netns_override or not request.netns:
            return False
        try:
            return os.path.samestat(Path(request.netns).stat(), self._own_network)
        except (OSError, ValueError):
            return False


class _Connection(asyncio.Protocol):
    """Bytes until one frame is whole."""

    def __init__(self, server: Server) -> None:
        self.gone = asyncio.Event()
        self._server = server
        self._buffer = bytearray()
        self._expected: int | None = None
        self._taken = False
        self._answered = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            return
        self._transport = transport
        self._server.connected(self)
        peer = transport.get_extra_info("socket")
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(credentials)[1] not in {0, os.geteuid()}:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            self._expected = self._expected or frames.expected_length(self._buffer)
        except InvalidInput:
            if self._transport is not None:
                self._transport.abort()
            return
        if self._expected and len(self._buffer) >= self._expected and not self._taken:
            self._taken = True
            self._server.accept(bytes(self._buffer), self)

    def connection_lost(self, _error: Exception | None) -> None:
        self.gone.set()
        self._server.disconnected(self, unanswered=self._taken and not self._answered)

    def abort(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def answer(self, frame: bytes) -> bool:
        """Send and close; False when nobody is there."""
        if self._transport is None or self.gone.is_set() or self._transport.is_closing():
            return False
        self._answered = True
        self._transport.write(frame)
        self._transport.close()
        return True
