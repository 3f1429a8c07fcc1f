"""Who may call what. Signatures are not verified; the access key id names the caller, and of temporary keys the
session token is compared.
"""

import hmac
import itertools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cloudsim.model.cloud import ACCOUNT
from cloudsim.model.errors import Refused
from cloudsim.server.roles import Roles

_CREDENTIAL = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,\s]+)/\d{8}/(?P<region>[^/]+)/(?P<service>\w+)/aws4_request"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """``allow`` and ``deny``: action names, with wildcards, of EC2 unless they begin with another service's prefix;
    what is denied is denied whatever else is allowed.
    """

    secret: str
    account: str = ACCOUNT
    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()

    def permits(self, action: str) -> bool:
        """``action`` with its service: ``ec2:CreateTags``."""
        return _matches(action, self.allow) and not _matches(action, self.deny)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """``arn`` as refusals call it; ``name``: the access key, or for a session its role's ARN."""

    key: Key
    arn: str
    name: str


class Keyring:
    """At first it admits any key, to the first account; from the first known key on, only known ones. Temporary keys
    are always held to what was issued.
    """

    def __init__(self, roles: Roles) -> None:
        self._keys: dict[str, Key] | None = None
        self._roles = roles
        self._refusals = itertools.count()
        self._callers: Counter[str] = Counter()

    def add(self, access_key: str, key: Key) -> None:
        self._keys = {**(self._keys or {}), access_key: key}

    def revoke(self, access_key: str) -> None:
        """The key is unknown from now on, also if it was the only one."""
        self._keys = {name: key for name, key in (self._keys or {}).items() if name != access_key}

    def callers(self) -> dict[str, int]:
        """How many requests each access key signed that was known."""
        return dict(self._callers)

    def clear(self) -> None:
        self._keys = None

    def check(self, headers: Mapping[str, str], action: str, region: str, now: float) -> str:
        """Whose account the caller of EC2's ``action`` belongs to. Refuses callers as EC2 does."""
        match = _signed(headers)
        if match is None or (match["region"], match["service"]) != (region, "ec2"):
            raise Refused("AuthFailure", f"Credential should be scoped to a valid region ('{region}') of service ec2.")
        session = self._roles.session(match["key"])
        if session is not None and session.expires <= now:
            raise Refused("RequestExpired", "Request has expired.")
        caller = self._caller(headers, match["key"])
        if caller is None:
            raise Refused("AuthFailure", "AWS was not able to validate the provided access credentials")
        self.permit(caller, action, region)
        return caller.key.account

    def permit(self, caller: Caller, action: str, region: str) -> None:
        """Refuses what the caller may not do at EC2."""
        if not caller.key.permits(f"ec2:{action}"):
            raise Refused(
                "UnauthorizedOperation",
                "You are not authorized to perform this operation. "
                f"User: {caller.arn} is not authorized to perform: ec2:{action} "
                f"on resource: arn:aws:ec2:{region}:{caller.key.account}:* "
                f"because no identity-based policy allows the ec2:{action} action. "
                f"Encoded authorization failure message: {self._encoded(caller, action)}",
            )

    def check_sts(self, headers: Mapping[str, str], now: float) -> Caller:
        """Who calls STS. Refuses as STS does, in words and codes of its own."""
        match = _signed(headers)
        if match is None or match["service"] != "sts":
            raise Refused("SignatureDoesNotMatch", "Credential should be scoped to correct service: 'sts'.")
        session = self._roles.session(match["key"])
        if session is not None and session.expires <= now:
            raise Refused("ExpiredToken", "The security token included in the request is expired")
        caller = self._caller(headers, match["key"])
        if caller is None:
            raise Refused("InvalidClientTokenId", "The security token included in the request is invalid.")
        return caller

    def _caller(self, headers: Mapping[str, str], access_key: str) -> Caller | None:
        caller = self._named(headers, access_key)
        if caller is not None:
            self._callers[access_key] += 1
        return caller

    def _named(self, headers: Mapping[str, str], access_key: str) -> Caller | None:
        if session := self._roles.session(access_key):
            role = self._roles.get(session.role)
            token = headers.get("X-Amz-Security-Token", "")
            if role is None or not hmac.compare_digest(token, session.token):
                return None
            key = Key(secret="", account=role.account, allow=role.allow, deny=role.deny)
            return Caller(key=key, arn=role.session_arn(session.name), name=role.arn)
        known = Key(secret="") if self._keys is None else self._keys.get(access_key)
        if known is None:
            return None
        return Caller(key=known, arn=f"arn:aws:iam::{known.account}:user/{access_key}", name=access_key)

    def _encoded(self, caller: Caller, action: str) -> str:
        """As long as EC2's, and like it never the same twice."""
        return f"{caller.name}{action}{next(self._refusals)}".encode().hex().ljust(600, "-")


def _signed(headers: Mapping[str, str]) -> re.Match[str] | None:
    authorization = headers.get("Authorization")
    if not authorization:
        raise Refused(
            "MissingAuthenticationToken",
            "The request must contain either a valid (registered) AWS access key ID or X.509 certificate.",
        )
    return _CREDENTIAL.match(authorization)


def _matches(action: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(action, item if ":" in item or item == "*" else f"ec2:{item}") for item in patterns)
