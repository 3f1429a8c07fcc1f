"""Client tokens: the same token with the same parameters finds the first answer, with others it is refused.

EC2 developer guide, "Ensuring idempotency". A refused request leaves no token behind.
"""

from cloudsim.model.errors import Refused

KEPT_SECONDS = 24 * 3600.0


class Tokens:
    """Per operation and token: when it was used, with which parameters, and which resource it made."""

    def __init__(self) -> None:
        self._used: dict[tuple[str, str], tuple[float, str, str]] = {}

    def find(self, operation: str, token: str, parameters: str, now: float) -> str | None:
        """The resource that ``token`` made before, None if it is new."""
        used = self._used.get((operation, token))
        if used is None or now - used[0] > KEPT_SECONDS:
            return None
        if used[1] != parameters:
            raise Refused(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            )
        return used[2]

    def remember(self, operation: str, token: str, parameters: str, resource: str, now: float) -> None:
        self._used[operation, token] = (now, parameters, resource)
