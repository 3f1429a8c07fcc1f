"""What went wrong at a cloud, named by what the caller does next.

CloudError(provider, operation, code, request_id, message)
├── Throttled(after)      wait, the request was not looked at
├── Busy                  something else is changing the object: retry soon
├── Unavailable           the service or the way to it is broken: back off
├── Exhausted(subnet)     choose another subnet
├── NoPrefix(subnet)      no whole block there: choose another subnet or single addresses
├── LimitReached(what)    interface | instance | account: stop growing that
├── NotFound              forget it and read again
├── Denied(permission)    tell the administrator which permission or credential is missing
├── Rejected              the request is wrong: a bug or a mistaken setting; do not repeat it
└── UnknownOutcome        no reply: it may have happened; find out as the intent says
"""

from typing import Literal

from underlay.core.errors import UnderlayError


class CloudError(UnderlayError):
    """``code`` is the cloud's own; ``operation`` the API action. ``unfinished``: part of what the verb does has
    happened and stays, and the same request, repeated, goes on from there.
    """

    unfinished: bool = False

    def __init__(self, *, provider: str, operation: str, code: str, message: str, request_id: str = "") -> None:
        self.provider = provider
        self.operation = operation
        self.code = code
        self.message = message
        self.request_id = request_id
        super().__init__(
            f"{provider} {operation}: {code}: {message}" + (f" (request {request_id})" if request_id else "")
        )


class Throttled(CloudError):
    """Too many requests; ``after_seconds`` when the cloud says how long."""

    after_seconds: float | None = None


class Busy(CloudError):
    """The object is being changed by someone else."""


class Unavailable(CloudError):
    """The service, or the network to it, does not work now. The request was not carried out."""


class Exhausted(CloudError):
    """The subnet has too few free addresses."""

    subnet: str = ""


class NoPrefix(CloudError):
    """The subnet has no whole free block."""

    subnet: str = ""


class LimitReached(CloudError):
    """A quota: of the interface, the instance or the account."""

    what: Literal["interface", "instance", "account"] = "account"


class NotFound(CloudError):
    """The object named does not exist (any more)."""


class Denied(CloudError):
    """Credentials are wrong or lack a permission.

    ``permission`` is the action to allow (``ec2:CreateNetworkInterface``). ``everything``: not this call alone, whoever
    calls is refused or cannot be told at all.
    """

    permission: str = ""
    everything: bool = False


class Rejected(CloudError):
    """The request can never succeed as it is."""


class UnknownOutcome(CloudError):
    """The connection broke or timed out after the request had been sent."""
