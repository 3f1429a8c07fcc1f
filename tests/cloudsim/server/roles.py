"""IAM roles and the temporary keys that STS and the metadata service issue for them."""

import hashlib
from dataclasses import dataclass, replace

from cloudsim.model.cloud import ACCOUNT
from cloudsim.model.errors import Refused

LONGEST_SECONDS = 12 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """``trusts``: access keys and role ARNs that may take it, empty: any; ``web_identities``: the tokens that may;
    ``seconds``: how long its sessions last unless the request says otherwise.
    """

    name: str
    account: str = ACCOUNT
    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    trusts: tuple[str, ...] = ()
    external_id: str = ""
    web_identities: tuple[str, ...] = ()
    seconds: float = 3600.0

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account}:role/{self.name}"

    def session_arn(self, session: str) -> str:
        return f"arn:aws:sts::{self.account}:assumed-role/{self.name.rpartition('/')[2]}/{session}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Temporary keys. ``role``: ARN."""

    role: str
    name: str
    access_key: str
    secret: str
    token: str
    issued: float
    expires: float


class Roles:
    """By ARN. Keys are a matter of the seed and their number, so that runs are alike."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._roles: dict[str, Role] = {}
        self._sessions: dict[str, Session] = {}
        self._issued = 0

    def put(self, role: Role) -> None:
        """New or changed; what was issued goes by what the role is now."""
        self._roles[role.arn] = role

    def remove(self, name: str) -> None:
        """What was issued for it is unknown from now on."""
        self._roles = {arn: role for arn, role in self._roles.items() if role.name != name}

    def get(self, arn: str) -> Role | None:
        return self._roles.get(arn)

    def named(self, name: str) -> Role:
        for role in self._roles.values():
            if role.name == name:
                return role
        raise Refused("NoSuchEntity", f"The role with name {name} cannot be found.")

    def all(self) -> list[tuple[Role, int]]:
        """Each with the number of sessions issued for it."""
        issued = [session.role for session in self._sessions.values()]
        return [(role, issued.count(arn)) for arn, role in sorted(self._roles.items())]

    def session(self, access_key: str) -> Session | None:
        return self._sessions.get(access_key)

    def issue(self, role: Role, name: str, now: float, seconds: float | None = None) -> Session:
        self._issued += 1

        def chosen(what: str) -> str:
            return hashlib.sha256(f"{self._seed} {self._issued} {what}".encode()).hexdigest()

        session = Session(
            role=role.arn,
            name=name,
            access_key=f"ASIA{chosen('key')[:16].upper()}",
            secret=f"issued-secret-{chosen('secret')[:33]}",
            token=f"session-token-{chosen('token')}",
            issued=now,
            expires=now + (role.seconds if seconds is None else seconds),
        )
        self._sessions[session.access_key] = session
        return session

    def expire(self, name: str, now: float) -> int:
        """What was issued for the role ends now. Returns how many sessions that are."""
        arn, ended = self.named(name).arn, 0
        for key, session in self._sessions.items():
            if session.role == arn and session.expires > now:
                self._sessions[key] = replace(session, expires=now)
                ended += 1
        return ended
