"""A simulator in a thread of its own, beside a test that calls it with blocking clients."""

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cloudsim.server.app import Settings, running

START_SECONDS = 10.0
CALL_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """The address, and the control API."""

    url: str

    def control(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """One request below /_sim. A refusal raises ``urllib.error.HTTPError``."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_sim{path}", method=method, data=data)  # noqa: S310 our own address
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as reply:  # noqa: S310 likewise
            answer: dict[str, Any] = json.load(reply)
        return answer

    def advance(self, seconds: float) -> None:
        """Move the simulator's clock, which must be a manual one, and let all that became due happen."""
        self.control("POST", "/clock", {"advance": seconds})


@contextmanager
def simulator(settings: Settings) -> Iterator[Simulator]:
    """Serve while the block runs."""
    started = threading.Event()
    found: list[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        async with running(settings) as url:
            found.append((url, asyncio.get_running_loop(), stop))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="cloudsim", daemon=True)
    thread.start()
    if not started.wait(START_SECONDS):
        raise RuntimeError("the simulator did not start")
    url, loop, stop = found[0]
    try:
        yield Simulator(url=url)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(START_SECONDS)
