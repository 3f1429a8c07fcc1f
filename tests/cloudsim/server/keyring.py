"""Who may call what. Signatures are not verified; the access key id names the caller."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cloudsim.model.cloud import ACCOUNT
from cloudsim.model.errors import Refused

_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,\s]+)/\d{8}/(?P<region>[^/]+)/ec2/aws4_request")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """``deny``: action names, with wildcards."""

    secret: str
    deny: tuple[str, ...]


class Keyring:
    """Empty, it admits any key; from the first known key on, only known ones."""

    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}

    def add(self, access_key: str, key: Key) -> None:
        self._keys[access_key] = key

    def clear(self) -> None:
        self._keys.clear()

    def check(self, authorization: str | None, action: str, region: str) -> None:
        """Refuses callers as EC2 does."""
        if not authorization:
            raise Refused(
                "MissingAuthenticationToken",
                "The request must contain either a valid (registered) AWS access key ID or X.509 certificate.",
            )
        match = _CREDENTIAL.match(authorization)
        if match is None or match["region"] != region:
            raise Refused("AuthFailure", f"Credential should be scoped to a valid region ('{region}') of service ec2.")
        if not self._keys:
            return
        key = self._keys.get(match["key"])
        if key is None:
            raise Refused("AuthFailure", "AWS was not able to validate the provided access credentials")
        if any(fnmatchcase(action, pattern) for pattern in key.deny):
            raise Refused(
                "UnauthorizedOperation",
                "You are not authorized to perform this operation. "
                f"User: arn:aws:iam::{ACCOUNT}:user/{match['key']} is not authorized to perform: ec2:{action} "
                f"on resource: arn:aws:ec2:{region}:{ACCOUNT}:* "
                f"because no identity-based policy allows the ec2:{action} action",
            )
