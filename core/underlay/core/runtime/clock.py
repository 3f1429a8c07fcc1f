"""Time as an argument, so that waits can be tested without waiting."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What time it is, twice, and how to let it pass."""

    def now(self) -> float:
        """Wall time, seconds since 1970 UTC. May jump; only for what people and other machines read."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment. Never jumps; for every duration and deadline."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once ``seconds`` have passed on ``monotonic``."""
        ...


class RealClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Wall time."""
        return time.time()

    def monotonic(self) -> float:
        """CLOCK_MONOTONIC, the event loop's own."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """``asyncio.sleep``."""
        await asyncio.sleep(seconds)
