"""Who may call what. Signatures are not verified; the access key id names the caller."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cloudsim.model.cloud import ACCOUNT
from cloudsim.model.errors import Refused

_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,\s]+)/\d{8}/(?P<region>[^/]+)/ec2/aws4_request")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """``allow`` and ``deny``: action names, with wildcards; what is denied is denied whatever else is allowed."""

    secret: str
    account: str = ACCOUNT
    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()

    def permits(self, action: str) -> bool:
        return _matches(action, self.allow) and not _matches(action, self.deny)


class Keyring:
    """At first it admits any key, to the first account; from the first known key on, only known ones."""

    def __init__(self) -> None:
        self._keys: dict[str, Key] | None = None

    def add(self, access_key: str, key: Key) -> None:
        self._keys = {**(self._keys or {}), access_key: key}

    def revoke(self, access_key: str) -> None:
        """The key is unknown from now on, also if it was the only one."""
        self._keys = {name: key for name, key in (self._keys or {}).items() if name != access_key}

    def clear(self) -> None:
        self._keys = None

    def check(self, authorization: str | None, action: str, region: str) -> str:
        """Whose account the caller's key belongs to. Refuses callers as EC2 does."""
        if not authorization:
            raise Refused(
                "MissingAuthenticationToken",
                "The request must contain either a valid (registered) AWS access key ID or X.509 certificate.",
            )
        match = _CREDENTIAL.match(authorization)
        if match is None or match["region"] != region:
            raise Refused("AuthFailure", f"Credential should be scoped to a valid region ('{region}') of service ec2.")
        if self._keys is None:
            return ACCOUNT
        key = self._keys.get(match["key"])
        if key is None:
            raise Refused("AuthFailure", "AWS was not able to validate the provided access credentials")
        if not key.permits(action):
            raise Refused(
                "UnauthorizedOperation",
                "You are not authorized to perform this operation. "
                f"User: arn:aws:iam::{key.account}:user/{match['key']} is not authorized to perform: ec2:{action} "
                f"on resource: arn:aws:ec2:{region}:{key.account}:* "
                f"because no identity-based policy allows the ec2:{action} action",
            )
        return key.account


def _matches(action: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(action, pattern.removeprefix("ec2:")) for pattern in patterns)
