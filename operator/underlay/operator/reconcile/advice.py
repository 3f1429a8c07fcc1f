"""What went wrong at a cloud → the reason a condition carries and the sentence that tells a person what to do."""

from dataclasses import dataclass

from underlay.core.cloud.breaker import ANNOTATION, BREAKER_OPEN
from underlay.core.cloud.errors import (
    Busy,
    CloudError,
    Denied,
    Exhausted,
    LimitReached,
    NoPrefix,
    NotFound,
    Rejected,
    Throttled,
    Unavailable,
    UnknownOutcome,
)
from underlay.core.errors import InvalidInput, UnderlayError


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """``retry_seconds``: when trying again makes sense (before growing back-off)."""

    reason: str
    message: str
    retry_seconds: float


class SecretUnreadable(UnderlayError):
    """The Secret that a provider names cannot be read, for ``why``."""

    def __init__(self, secret: str, why: str) -> None:
        self.secret = secret
        super().__init__(f"spec.credentialsSecretRef: Secret {secret} cannot be read: {why}")


_WAIT = "nothing, the operator tries again"
_IDS = "check that the ids in the provider and in Node.spec.providerID exist in this account and region"
_REACH = "check that the operator reaches the cloud's API (spec.endpoint, network, proxy); it keeps trying"
_BUG = "check the provider's spec; if it is right this is a bug, please report it with this text"

_BY_CLASS: dict[type[UnderlayError], tuple[str, str, float]] = {
    NotFound: ("NotFound", _IDS, 10),
    Throttled: ("Throttled", "nothing, the operator slows down and tries again", 5),
    Busy: ("Busy", _WAIT, 2),
    Unavailable: ("CloudUnavailable", _REACH, 5),
    UnknownOutcome: ("OutcomeUnknown", "nothing, the operator finds out what the cloud did", 2),
    Rejected: ("Rejected", _BUG, 60),
    SecretUnreadable: ("SecretUnreadable", "create the Secret, or correct spec.credentialsSecretRef", 5),
    InvalidInput: ("InvalidValue", "correct the field named here", 60),
}


def advise(error: UnderlayError) -> Advice:
    """The condition's reason and text for an error."""
    reason, what_to_do, retry_seconds = _particular(error) or _BY_CLASS.get(
        type(error), ("InternalError", "see the operator's log; it keeps trying", 30)
    )
    # Without the request id, which would make every repetition another text; the log has it.
    if isinstance(error, CloudError):
        what = f"{error.provider} {error.operation}: {error.code}: {error.message}"
    else:
        what = str(error)
    return Advice(reason=reason, message=f"{what.rstrip('.')}. To do: {what_to_do}.", retry_seconds=retry_seconds)


def _particular(error: UnderlayError) -> tuple[str, str, float] | None:
    match error:
        case Denied(permission=permission) if permission:
            text = f"allow {permission} for the operator's credentials (docs/aws.md lists the whole policy)"
            return "PermissionMissing", text, 10
        case Denied():
            text = "check the provider's credentialsSecretRef, or the operator's own cloud identity when there is none"
            return "CredentialsRefused", text, 10
        case Unavailable(code=code) if code == BREAKER_OPEN:
            text = f"nothing, single calls test the cloud; if it was set by hand, remove annotation {ANNOTATION}"
            return "CloudUnavailable", text, 5
        case Exhausted(subnet=subnet):
            text = f"free addresses in subnet {subnet}, or add another one of the zone to the provider's spec.subnets"
            return "SubnetExhausted", text, 30
        case NoPrefix(subnet=subnet):
            text = f"reserve prefixes in subnet {subnet}, or set spec.addresses.mode to auto or secondaryIP"
            return "NoPrefix", text, 60
        case LimitReached(what="account"):
            return "AccountLimit", "ask the cloud to raise the account's quota", 60
        case LimitReached(what=what):
            text = f"the {what} has as many as it may have; use a larger instance type or fewer pods per node"
            # Of an instance the plan knows it now.
            return ("InterfaceLimit", text, 10) if what == "instance" else ("AddressLimit", text, 60)
        case _:
            return None
