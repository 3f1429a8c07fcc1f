"""What the API server can answer, named by what the caller does next.

KubeError(status, reason, message)
├── NotFound        404: it is not there
├── AlreadyExists   409 of a create: read the one that is there
├── Conflict        409 of an update, apply or delete: somebody else wrote; read and decide again
├── Gone            410: the version asked for is forgotten; list again
├── Invalid         400, 422: the request is wrong; do not repeat it
├── Forbidden       401, 403: tell the administrator which permission is missing
├── Unavailable     no answer, 429, 5xx: back off and try again
└── Unreadable      the answer does not have the shape of the kind
"""

import msgspec

from underlay.core.errors import UnderlayError


class KubeError(UnderlayError):
    """``status`` is the HTTP status (0: no answer), ``reason`` metav1.Status's one word, ``message`` its text."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        super().__init__(f"{reason or status}: {message}")


class NotFound(KubeError):
    """The object, or the kind, is not there."""


class AlreadyExists(KubeError):
    """An object of this name is there already."""


class Conflict(KubeError):
    """The object has another version or UID than the request named, or another manager owns a field."""


class Gone(KubeError):
    """The resource version or continue token is older than what the server remembers."""


class Invalid(KubeError):
    """The server's validation refuses the request."""


class Forbidden(KubeError):
    """Who we are is not known, or may not do this."""


class Unavailable(KubeError):
    """No answer, or the answer "not now". ``maybe_done``: a write may have been carried out nevertheless."""

    def __init__(
        self, status: int, reason: str, message: str, *, maybe_done: bool = True, after_seconds: float | None = None
    ) -> None:
        super().__init__(status, reason, message)
        self.maybe_done = maybe_done
        self.after_seconds = after_seconds


class Unreadable(KubeError):
    """An answer that cannot be decoded into the kind's Struct."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """metav1.Status, as far as it is used."""

    message: str = ""
    reason: str = ""
    code: int = 0


_CLASSES: dict[int, type[KubeError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
}
_NOT_NOW = 429
_SERVER = 500


def of_response(code: int, body: bytes, *, retry_after: str | None = None) -> KubeError:
    """The error for an answer of HTTP status ``code`` (≥ 400)."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError:
        status = Status(message=body[:500].decode(errors="replace"))
    return of_status(code, status, retry_after=retry_after)


def of_status(code: int, status: Status, *, retry_after: str | None = None) -> KubeError:
    """The error for ``code`` and what the server says about it."""
    if status.reason == "AlreadyExists":
        return AlreadyExists(code, status.reason, status.message)
    if code == _NOT_NOW or code >= _SERVER:
        after = float(retry_after) if retry_after and retry_after.isdecimal() else None
        return Unavailable(code, status.reason, status.message, maybe_done=code != _NOT_NOW, after_seconds=after)
    return _CLASSES.get(code, KubeError)(code, status.reason, status.message)
