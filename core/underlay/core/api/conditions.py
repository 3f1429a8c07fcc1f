"""Conditions and the times in them. Pure: the caller says what time it is."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from underlay.core.api.meta import Condition
from underlay.core.errors import InvalidInput

Status = Literal["True", "False", "Unknown"]


def set_condition(
    conditions: Sequence[Condition],
    type: str,  # noqa: A002 - the field's own name
    status: Status,
    reason: str,
    message: str,
    now: str,
    generation: int | None = None,
) -> list[Condition]:
    """``conditions`` with the one of ``type`` set, in its place or at the end.

    ``last_transition_time`` becomes ``now`` (RFC 3339) only when ``status`` changes; a new reason or message alone
    keeps it (metav1.Condition). ``generation`` is the one that was observed.
    """
    before = next((condition for condition in conditions if condition.type == type), None)
    after = Condition(
        type=type,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=before.last_transition_time if before and before.status == status else now,
        observed_generation=generation,
    )
    if before is None:
        return [*conditions, after]
    return [after if condition is before else condition for condition in conditions]


def rfc3339(epoch_seconds: float) -> str:
    """``2026-01-02T03:04:05Z``: whole seconds, as the API server writes times."""
    return datetime.fromtimestamp(int(epoch_seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_rfc3339(text: str, field: str = "time") -> float:
    """Seconds since the epoch. Takes fractions and any offset, as RFC 3339 §5.6 does; raises ``InvalidInput``."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidInput(field, found=text, expected="an RFC 3339 time such as 2026-01-02T03:04:05Z")
    return moment.timestamp()
