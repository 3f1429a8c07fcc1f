"""The script of faults: which call of which operation goes wrong, and how."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """``LOST_REPLY`` commits and closes the connection; ``HANG`` never answers and changes nothing.

    ``PARTIAL`` shows half of a describe's page, with a token for the rest.
    """

    ERROR = "error"
    LOST_REPLY = "lost_reply"
    DELAY = "delay"
    HANG = "hang"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """``operation`` ``*`` means any. ``skip`` calls pass before it strikes, then ``count`` calls are struck."""

    operation: str
    kind: FaultKind
    skip: int = 0
    count: int = 1
    code: str = "InternalError"
    message: str = ""
    seconds: float = 0.0


class FaultScript:
    """Faults strike in the order in which they were added, one per call."""

    def __init__(self) -> None:
        self._left: list[tuple[Fault, int, int]] = []

    def add(self, fault: Fault) -> None:
        self._left.append((fault, fault.skip, fault.count))

    def clear(self) -> None:
        self._left.clear()

    def pending(self) -> Sequence[tuple[Fault, int, int]]:
        """Each fault with the calls it still lets pass and still strikes."""
        return tuple(self._left)

    def next(self, operation: str) -> Fault | None:
        """What strikes this call. Every waiting fault of the operation counts it."""
        struck: Fault | None = None
        left: list[tuple[Fault, int, int]] = []
        for fault, skip, count in self._left:
            if fault.operation not in {operation, "*"}:
                left.append((fault, skip, count))
            elif skip > 0:
                left.append((fault, skip - 1, count))
            elif struck is None:
                struck = fault
                if count > 1:
                    left.append((fault, 0, count - 1))
            else:
                left.append((fault, skip, count))
        self._left = left
        return struck
