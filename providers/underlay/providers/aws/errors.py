"""EC2's error codes → ``cloud.errors``, by what the caller does next. No other module knows a code of EC2.

Three steps, the first that matches decides: ``DISGUISED`` (codes that mean something else by their message),
``CODES``, then the HTTP status. What the SDK raises itself is sorted by whether the request can have left: a write
that may have been sent is ``UnknownOutcome``.
"""

import re
from dataclasses import dataclass
from typing import Literal

from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

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

PROVIDER = "aws"


@dataclass(frozen=True, slots=True)
class _Limit:
    """``LimitReached`` of one kind."""

    what: Literal["interface", "instance", "account"]


@dataclass(frozen=True, slots=True)
class _Credentials:
    """``Denied`` because of who asks, not of what is asked."""


_Meaning = type[CloudError] | _Limit | _Credentials

_THROTTLED = (
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "EC2ThrottledException",
    "TooManyRequestsException",
    "Client.RequestLimitExceeded",
)
_NOT_FOUND = (
    "InvalidNetworkInterfaceID.NotFound",
    "InvalidNetworkInterfaceId.NotFound",
    "InvalidNetworkInterfaceID.Malformed",
    "InvalidSubnetID.NotFound",
    "InvalidSubnetID.Malformed",
    "InvalidInstanceID",
    "InvalidInstanceID.NotFound",
    "InvalidInstanceID.Malformed",
    "InvalidInstanceType",
    "InvalidGroup.NotFound",
    "InvalidGroupId.Malformed",
    "InvalidSecurityGroupID.NotFound",
    "InvalidVpcID.NotFound",
    "InvalidSubnetCidrReservationID.NotFound",
    "InvalidSubnetCidrReservationID.Malformed",
)
_BUSY = (
    "InvalidNetworkInterface.InUse",
    "InvalidAttachmentID.NotFound",
    "IncorrectState",
    "IncorrectInstanceState",
    "InvalidIPAddress.InUse",
    "ConcurrentCreateNetworkInterface",
    "RequestResourceCountExceeded",
)
_UNAVAILABLE = ("ServiceUnavailable", "Unavailable", "RegionDisabled", "IDPCommunicationError")
_CREDENTIALS = (
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "UnrecognizedClientException",
    "InvalidAccessKeyId",
    "MissingAuthenticationToken",
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidSecurity",
    "OptInRequired",
    "Blocked",
    "PendingVerification",
    # of STS
    "InvalidIdentityToken",
    "IDPRejectedClaim",
    "RegionDisabledException",
)
_DENIED = (
    "UnauthorizedOperation",
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "Client.UnauthorizedOperation",
)
_REJECTED = (
    "InvalidParameter",
    "InvalidParameterValue",
    "InvalidParameterCombination",
    "MissingParameter",
    "UnknownParameter",
    "ValidationError",
    "MalformedQueryString",
    "InvalidAction",
    "IdempotentParameterMismatch",
    "OperationNotPermitted",
    "Unsupported",
    "UnsupportedOperation",
    "InvalidNextToken",
    "InvalidAddress.NotFound",
    "InvalidTagKey.Malformed",
    "TagLimitExceeded",
)

CODES: dict[str, _Meaning] = {
    "InsufficientFreeAddressesInSubnet": Exhausted,
    "InsufficientCidrBlocks": NoPrefix,
    "PrivateIpAddressLimitExceeded": _Limit("interface"),
    "AttachmentLimitExceeded": _Limit("instance"),
    "NetworkInterfaceLimitExceeded": _Limit("account"),
    "SecurityGroupsPerInterfaceLimitExceeded": _Limit("account"),
    **dict.fromkeys(_THROTTLED, Throttled),
    **dict.fromkeys(_NOT_FOUND, NotFound),
    **dict.fromkeys(_BUSY, Busy),
    **dict.fromkeys(_UNAVAILABLE, Unavailable),
    **dict.fromkeys(_CREDENTIALS, _Credentials()),
    **dict.fromkeys(_DENIED, Denied),
    **dict.fromkeys(_REJECTED, Rejected),
}
"""By the whole code. EC2 appends detail to some after a dot (``AuthFailure.UnauthorizedOperation``): the part before
it counts then.
"""

DISGUISED: tuple[tuple[str, str, str, _Meaning], ...] = (
    # operation (empty: any), beginning of the code, part of the message in lower case, meaning
    ("", "InvalidParameterValue", "aren't sufficient free ipv4 addresses", Exhausted),
    ("", "InvalidParameterValue", "interface security group memberships", _Limit("account")),
    ("", "InvalidParameterValue", "move is not allowed", Busy),
    ("", "", "is not 'running'", NotFound),
    ("", "AuthFailure", "credential", _Credentials()),
    ("", "Throttling", "", Throttled),
    # An attached interface is a fact, not a change under way: nothing is gained by waiting.
    ("AttachNetworkInterface", "InvalidNetworkInterface.InUse", "", Rejected),
)

# Not SSLError: it may also come while reading the answer.
_NOT_SENT = (sdk.EndpointConnectionError, sdk.ConnectTimeoutError, sdk.ProxyConnectionError)
_NO_CREDENTIALS = (
    sdk.NoCredentialsError,
    sdk.PartialCredentialsError,
    sdk.CredentialRetrievalError,
    sdk.TokenRetrievalError,
    sdk.UnauthorizedSSOTokenError,
)
_CHECK = "check access_key_id, secret_access_key, session_token and the clock"
# Kilobytes that are different every time, for the account's administrators alone.
_ENCODED = re.compile(r"\s*Encoded authorization failure message: *\S+")
_ACTION = re.compile(r"perform:? ((?:ec2|sts):\w+)")


def translate(error: Exception, *, operation: str, mutating: bool, hint: str = _CHECK) -> CloudError:
    """The ``CloudError`` for what the SDK raised in ``operation``; ``hint``: what to look at if credentials are
    refused.
    """
    if isinstance(error, sdk.ClientError):
        return _answered(error, operation=operation, mutating=mutating, hint=hint)
    code, message = type(error).__name__, str(error)
    if isinstance(error, _NO_CREDENTIALS):
        return _denied_credentials(operation, code, message, "", hint)
    if isinstance(error, _NOT_SENT):
        return _make(Unavailable, operation, code, message, "")
    if isinstance(error, sdk.ParamValidationError | sdk.ValidationError | sdk.NoRegionError | sdk.InvalidRegionError):
        return _make(Rejected, operation, code, message, "")
    return _make(UnknownOutcome if mutating else Unavailable, operation, code, message, "")


def no_credentials(error: Exception, *, operation: str, hint: str) -> CloudError:
    """The ``CloudError`` for what the SDK raised while it looked for credentials: nothing was sent on their behalf."""
    if isinstance(error, sdk.ClientError):
        # Of STS, mostly, whose operation says more than ours.
        return _answered(error, operation=error.operation_name or operation, mutating=False, hint=hint)
    code, message = type(error).__name__, str(error)
    if isinstance(error, sdk.HTTPClientError | ResponseParserError):
        return _make(Unavailable, operation, code, message, "")
    return _denied_credentials(operation, code, message, "", hint)


def are_credentials_refused(error: CloudError) -> bool:
    """Because of who asks, not of what is asked."""
    return isinstance(error, Denied) and error.everything


def malformed(error: Exception, *, operation: str, mutating: bool) -> CloudError:
    """A reply that cannot be read: a write may have happened all the same."""
    return _make(UnknownOutcome if mutating else Unavailable, operation, "MalformedReply", str(error), "")


def closed(operation: str) -> Unavailable:
    """The driver was let go of, such as when its provider's settings changed; nothing was sent."""
    message = "the driver was closed, its provider has been changed or removed"
    return Unavailable(provider=PROVIDER, operation=operation, code="DriverClosed", message=message)


def hands_off(operation: str, tag: str) -> Rejected:
    """An interface that nobody may touch is no use; nothing was sent."""
    message = f"spec.interfaces.tags: found {tag}, expected tags without it, since it keeps everybody's hands off"
    return Rejected(provider=PROVIDER, operation=operation, code="HandsOff", message=message)


def not_found(operation: str, code: str, message: str) -> NotFound:
    """What EC2 says by leaving something out of a list."""
    return NotFound(provider=PROVIDER, operation=operation, code=code, message=message)


def is_missing_interface(error: CloudError) -> bool:
    """The interface itself is not known: gone, or so new that not every part of EC2 has heard of it."""
    return error.code.lower() == "invalidnetworkinterfaceid.notfound"


def is_token_of_other_request(error: CloudError) -> bool:
    """The client token was used before with other parameters."""
    return error.code == "IdempotentParameterMismatch"


def is_place_taken(error: CloudError) -> bool:
    """On attaching: the interface is attached already, or its device index is in use."""
    return error.code == "InvalidNetworkInterface.InUse" or (
        error.code == "InvalidParameterValue" and "attached at device" in error.message
    )


def is_address_taken(error: CloudError) -> bool:
    """A named address is another interface's."""
    return error.code == "InvalidIPAddress.InUse" or "move is not allowed" in error.message


def is_lack_of_either(error: CloudError) -> bool:
    """EC2's text for too few free addresses or prefixes, whichever were asked for."""
    return (
        error.code == "InvalidParameterValue" and "sufficient free ipv4 addresses or prefixes" in error.message.lower()
    )


def is_overlap(error: CloudError) -> bool:
    """On reserving a block: another reservation has some of it."""
    return error.code == "InvalidParameterValue" and "overlap with existing reserved" in error.message


def is_not_assigned(error: CloudError) -> bool:
    """On unassigning: some of the addresses or prefixes are not the interface's."""
    return error.code == "InvalidParameterValue" and "not assigned" in error.message


def _answered(error: sdk.ClientError, *, operation: str, mutating: bool, hint: str) -> CloudError:
    detail = error.response.get("Error", {})
    code, message = detail.get("Code", "Unknown"), _ENCODED.sub("", detail.get("Message", ""))
    metadata = error.response.get("ResponseMetadata", {})
    request_id, status = metadata.get("RequestId", ""), metadata.get("HTTPStatusCode", 0)
    meaning = _meaning(operation, code, message)
    match meaning:
        case _Credentials():
            return _denied_credentials(operation, code, message, request_id, hint)
        case _Limit(what=what):
            limit = LimitReached(
                provider=PROVIDER, operation=operation, code=code, message=message, request_id=request_id
            )
            limit.what = what
            return limit
        case None:
            if status in (429, 503):
                meaning = Throttled
            elif status >= 500:
                meaning = UnknownOutcome if mutating else Unavailable
            else:
                meaning = Rejected
    sts = operation.startswith("AssumeRole")
    if sts and meaning in (Denied, Rejected):
        message, meaning = f"{message.rstrip('.')} ({hint})", Denied
    translated = _make(meaning, operation, code, message, request_id)
    if isinstance(translated, Denied):
        named = _ACTION.search(message)
        translated.permission = named[1] if named else f"{'sts' if sts else 'ec2'}:{operation}"
        translated.everything = sts
    if isinstance(translated, Exhausted | NoPrefix):
        subnet = re.search(r"subnet-[0-9a-f]+", message)
        translated.subnet = subnet[0] if subnet else ""
    return translated


def _meaning(operation: str, code: str, message: str) -> _Meaning | None:
    text = message.lower()
    for only, beginning, part, meaning in DISGUISED:
        if only in ("", operation) and code.startswith(beginning) and part in text:
            return meaning
    return CODES.get(code) or CODES.get(code.partition(".")[0])


def _denied_credentials(operation: str, code: str, message: str, request_id: str, hint: str) -> Denied:
    text = f"{message.rstrip('.')} (the credentials were refused: {hint})"
    denied = Denied(provider=PROVIDER, operation=operation, code=code, message=text, request_id=request_id)
    denied.everything = True
    return denied


def _make(meaning: type[CloudError], operation: str, code: str, message: str, request_id: str) -> CloudError:
    return meaning(provider=PROVIDER, operation=operation, code=code, message=message, request_id=request_id)
