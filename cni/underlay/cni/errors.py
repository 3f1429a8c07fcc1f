"""Why a CNI call failed, as CNI carries it.

    UnderlayError
    ├── CniError(code, msg, details)   answered to the runtime
    ├── JournalLocked                  another agent serves this node
    └── JournalBroken                  the disk refused: the agent ends, its successor replays what is durable

Codes: CNI 1.1 "Error", and 8 of the reference implementation (pkg/types).
"""

from enum import IntEnum

from underlay.core.errors import UnderlayError


class Code(IntEnum):
    """CNI's reserved codes that Underlay answers; from 100 on they are a plugin's own."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    UNDECODABLE = 6
    INVALID_CONFIG = 7
    INVALID_NETNS = 8
    TRY_AGAIN = 11
    NOT_AVAILABLE = 50
    REFUSED_BY_KERNEL = 100
    INTERNAL = 999


class CniError(UnderlayError):
    """A CNI call that failed. ``msg`` names the variable or field; ``details`` say what a person looks at next."""

    def __init__(self, code: Code, msg: str, details: str = "") -> None:
        self.code = code
        self.msg = _text(msg)
        self.details = _text(details)
        super().__init__(f"{self.msg} (code {int(code)})" + (f": {self.details}" if details else ""))


class JournalLocked(UnderlayError):
    """Another process holds the journal's lock."""


class JournalBroken(UnderlayError):
    """The journal cannot be read or written."""


def _text(repeated: str) -> str:
    """An environment may hold bytes that are no text; neither JSON nor a log can."""
    return repeated.encode(errors="backslashreplace").decode()
