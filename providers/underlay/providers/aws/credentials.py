"""Whom calls are signed as: the keys of the provider's Secret or the operator's own identity, and on top of either the
role that the provider names.

The own identity is what the SDK's chain finds: a web identity (AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN), EKS Pod
Identity, the instance's role, and the rest. Temporary credentials are had before a call, through the gate like a call
of its own (``OPERATION``), never while one is signed: a request whose credentials are not to be had was certainly not
sent. They are renewed ahead of their end (the SDK's margin, a quarter of an hour); as long as the old ones are valid, a
renewal that fails stops nothing. What is refused all the same is had anew once, before anybody hears of it.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any

import structlog
from botocore.config import Config
from botocore.credentials import (
    CredentialProvider,
    CredentialResolver,
    Credentials,
    DeferredRefreshableCredentials,
    ReadOnlyCredentials,
    RefreshableCredentials,
)
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError
from botocore.session import Session

from underlay.core.api.networkprovider import AssumeRole
from underlay.core.cloud.errors import CloudError
from underlay.core.cloud.limits import Rate
from underlay.core.cloud.registry import ProviderSettings
from underlay.core.errors import InvalidInput
from underlay.core.runtime.aio import offload
from underlay.providers.aws import errors
from underlay.providers.aws.sessions import new_session

OPERATION = "GetCredentials"
"""What the gate, the provider's status and the metrics call it, whichever service gives the credentials."""
RATE = Rate(burst=10, refill_per_second=1)
"""Far below what STS and the metadata service allow; one an hour is what it takes."""

_CONNECT_SECONDS = 2
_READ_SECONDS = 3
# Between two attempts to renew what still works, and between two renewals that brought what is refused as well.
_PAUSE_SECONDS = 10.0
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/.+")
_SESSION_NAME = re.compile(r"[^\w+=,.@-]+", re.ASCII)

_FAILURES = (ClientError, BotoCoreError, ResponseParserError, OSError, RuntimeError, ValueError, KeyError)
"""What the SDK's chain raises: also a token file that is absent, and answers it cannot read."""


class Identity:
    """Of one provider. Raises ``InvalidInput`` when the Secret or the role cannot be used as they are."""

    def __init__(self, settings: ProviderSettings, *, region: str, pool: Executor) -> None:
        _keep_secrets_out_of_logs()
        self._gate = settings.gate
        self._pool = pool
        self._fixed = settings.credentials is not None and settings.role is None
        given = settings.credentials
        base: Callable[[], Credentials] = partial(_own, region) if given is None else partial(_same, _of_secret(given))
        role = settings.role
        self._role = None if role is None else _AssumedRole(role, base, region=region, name=settings.name)
        self._find = base if self._role is None else self._role.find
        self._hint = _hint(settings)
        self._signer = _Signer()
        self._found: Credentials | None = None
        if self._fixed:
            self._found, self._signer.current = self._obtain()
        self._turn = asyncio.Lock()
        self._tried_at = self._renewed_at = float("-inf")
        self._failure: tuple[float, CloudError] | None = None
        self._closed = False
        self._log = structlog.get_logger().bind(provider=settings.name)

    @property
    def current(self) -> ReadOnlyCredentials:
        """What calls are signed with now."""
        return self._signer.current

    @property
    def hint(self) -> str:
        """What a person should look at when they are refused."""
        return self._hint

    def sign(self, session: Session) -> None:
        """Clients of ``session`` sign with whatever is current; neither making nor using them asks for anything."""
        _sign(session, self._signer)

    async def ready(self) -> None:
        """Sees to it that there are credentials which last. Raises ``cloud.errors``: ``Denied`` when there are none to
        be had, ``Unavailable`` when whoever gives them does not answer.
        """
        if not self._due():
            return
        asked_at = self._gate.clock.monotonic()
        async with self._turn:
            if not self._due():
                return
            if self._failure is not None and self._failure[0] >= asked_at:
                raise self._failure[1]
            await self._renew()

    def accepted(self, used: ReadOnlyCredentials) -> None:
        """A call with these worked: should they be refused later, that is another matter than before."""
        if used == self.current:
            self._renewed_at = float("-inf")

    async def renewed(self, refused: ReadOnlyCredentials) -> bool:
        """After the cloud refused these: whether there are others to try now."""
        async with self._turn:
            now = self._gate.clock.monotonic()
            if self.current != refused:
                return True
            if self._fixed or now - self._renewed_at < _PAUSE_SECONDS:
                return False
            self._renewed_at, self._found = now, None
            await self._renew()
            return self.current != refused

    def close(self) -> None:
        """Nothing is asked for any more."""
        self._closed = True
        if self._role is not None:
            self._role.close()

    def _due(self) -> bool:
        if self._found is None:
            return True
        if not isinstance(self._found, RefreshableCredentials):
            return False
        paused = self._gate.clock.monotonic() - self._tried_at < _PAUSE_SECONDS
        return self._found.refresh_needed(0 if paused else None)

    async def _renew(self) -> None:
        self._tried_at = self._gate.clock.monotonic()
        try:
            found, current = await self._gate.call(OPERATION, self._once, mutating=False)
        except CloudError as error:
            if isinstance(self._found, RefreshableCredentials) and not self._found.refresh_needed(0):
                self._log.warning("credentials.renewal-failed", error=str(error))
                return
            self._failure = (self._gate.clock.monotonic(), error)
            raise
        self._found, self._signer.current = found, current

    async def _once(self) -> tuple[Credentials, ReadOnlyCredentials]:
        if self._closed:
            raise errors.closed(OPERATION)
        try:
            return await offload(self._obtain, pool=self._pool)
        except _FAILURES as error:
            raise errors.no_credentials(error, operation=OPERATION, hint=self._hint) from error

    def _obtain(self) -> tuple[Credentials, ReadOnlyCredentials]:
        found = self._found or self._find()
        return found, found.get_frozen_credentials()


class _Signer(Credentials):
    """What a client takes for its credentials."""

    def __init__(self) -> None:
        super().__init__("", "")
        self.current = ReadOnlyCredentials(None, None, None)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return self.current


class _Given(CredentialProvider):
    """A chain of one."""

    METHOD = "underlay"

    def __init__(self, signer: _Signer) -> None:
        super().__init__()
        self._signer = signer

    def load(self) -> Credentials:
        return self._signer


def _same(found: Credentials) -> Credentials:
    return found


def _of_secret(given: Mapping[str, str]) -> Credentials:
    for needed in ("access_key_id", "secret_access_key"):
        if not given.get(needed):
            found = ", ".join(sorted(given)) or "nothing"
            raise InvalidInput(
                f"credentials.{needed}", found=f"keys: {found}", expected="access_key_id and secret_access_key"
            )
    return Credentials(given["access_key_id"], given["secret_access_key"], given.get("session_token") or None)


def _own(region: str) -> Credentials:
    """The operator's own identity, by the SDK's chain."""
    found: Credentials | None = _session(region).get_credentials()
    if found is None:
        raise NoCredentialsError
    return found


class _AssumedRole:
    """The role, taken with credentials that renew themselves as well. Its client is made with the driver, which takes
    its time then and not while a call waits.
    """

    def __init__(self, role: AssumeRole, base: Callable[[], Credentials], *, region: str, name: str) -> None:
        if not _ROLE_ARN.fullmatch(role.role):
            expected = "the role's ARN, for example arn:aws:iam::123456789012:role/underlay"
            raise InvalidInput("spec.assumeRole.role", found=role.role, expected=expected)
        self._asked = {"RoleArn": role.role, "RoleSessionName": _SESSION_NAME.sub("-", f"underlay-{name}")[:64]}
        if role.external_id:
            self._asked["ExternalId"] = role.external_id
        self._base = base
        self._signer = _Signer()
        session = _session(region)
        _sign(session, self._signer)
        self._sts: Any = session.create_client("sts", endpoint_url=role.endpoint or None)

    def find(self) -> Credentials:
        """Everything anew."""
        return DeferredRefreshableCredentials(refresh_using=partial(self._take, self._base()), method="assume-role")

    def close(self) -> None:
        """Ends idle connections."""
        self._sts.close()

    def _take(self, base: Credentials) -> dict[str, Any]:
        self._signer.current = base.get_frozen_credentials()
        given = self._sts.assume_role(**self._asked)["Credentials"]
        return {
            "access_key": given["AccessKeyId"],
            "secret_key": given["SecretAccessKey"],
            "token": given["SessionToken"],
            "expiry_time": given["Expiration"].isoformat(),
        }


def _sign(session: Session, signer: _Signer) -> None:
    session.register_component("credential_provider", CredentialResolver([_Given(signer)]))


def _session(region: str) -> Session:
    """One whose clients, those of its chain too, ask once and do not wait for long: the gate repeats and bounds."""
    session = new_session(region)
    session.set_default_client_config(
        Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            user_agent_extra="underlay",
        )
    )
    return session


def _hint(settings: ProviderSettings) -> str:
    if settings.credentials is not None:
        base = "access_key_id, secret_access_key and session_token in the provider's Secret"
    else:
        base = (
            "the operator's own identity: an IAM role of its ServiceAccount, or of its instance (whose metadata service"
            " needs a hop limit of 2 or more to answer pods)"
        )
    if settings.role is None:
        return f"check {base}, and the operator's clock"
    needs = f"the external id {settings.role.external_id}" if settings.role.external_id else "no external id"
    return (
        f"check that {settings.role.role} exists and that its trust policy names the operator's identity and asks for"
        f" {needs}; then {base}, and the operator's clock"
    )


def _keep_secrets_out_of_logs() -> None:
    """At debug the SDK logs whole requests and answers: tokens, and the keys that STS gives out."""
    for name in ("botocore", "boto3", "urllib3"):
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.getEffectiveLevel(), logging.INFO))
