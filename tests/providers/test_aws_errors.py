"""EC2's codes → what the caller does next, row by row. Codes: EC2 API Reference "Error codes", and public reports."""

import pytest
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from underlay.core.cloud import errors as cloud
from underlay.providers.aws.errors import translate

Kind = type[cloud.CloudError]


def answered(
    code: str, message: str = "text", *, status: int = 400, operation: str = "AssignPrivateIpAddresses"
) -> cloud.CloudError:
    """What a write answered so becomes."""
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"RequestId": "request-1", "HTTPStatusCode": status},
    }
    error = sdk.ClientError(response, operation)  # type: ignore[arg-type]
    return translate(error, operation=operation, mutating=not operation.startswith("Describe"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("RequestLimitExceeded", cloud.Throttled),
        ("Throttling", cloud.Throttled),
        ("ThrottlingException", cloud.Throttled),
        ("EC2ThrottledException", cloud.Throttled),
        ("RequestThrottled", cloud.Throttled),
        ("TooManyRequestsException", cloud.Throttled),
        ("InsufficientFreeAddressesInSubnet", cloud.Exhausted),
        ("InsufficientCidrBlocks", cloud.NoPrefix),
        ("PrivateIpAddressLimitExceeded", cloud.LimitReached),
        ("AttachmentLimitExceeded", cloud.LimitReached),
        ("NetworkInterfaceLimitExceeded", cloud.LimitReached),
        ("SecurityGroupsPerInterfaceLimitExceeded", cloud.LimitReached),
        ("InvalidNetworkInterfaceID.NotFound", cloud.NotFound),
        ("InvalidNetworkInterfaceId.NotFound", cloud.NotFound),
        ("InvalidSubnetID.NotFound", cloud.NotFound),
        ("InvalidGroup.NotFound", cloud.NotFound),
        ("InvalidSecurityGroupID.NotFound", cloud.NotFound),
        ("InvalidInstanceID.NotFound", cloud.NotFound),
        ("InvalidInstanceID.Malformed", cloud.NotFound),
        ("InvalidInstanceID", cloud.NotFound),
        ("InvalidInstanceType", cloud.NotFound),
        ("InvalidNetworkInterface.InUse", cloud.Busy),
        ("InvalidAttachmentID.NotFound", cloud.Busy),
        ("IncorrectState", cloud.Busy),
        ("InvalidIPAddress.InUse", cloud.Busy),
        ("UnauthorizedOperation", cloud.Denied),
        ("AccessDenied", cloud.Denied),
        ("AuthFailure", cloud.Denied),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", cloud.Denied),
        ("InvalidClientTokenId", cloud.Denied),
        ("SignatureDoesNotMatch", cloud.Denied),
        ("UnrecognizedClientException", cloud.Denied),
        ("ExpiredToken", cloud.Denied),
        ("RequestExpired", cloud.Denied),
        ("MissingAuthenticationToken", cloud.Denied),
        ("OptInRequired", cloud.Denied),
        ("InvalidParameterValue", cloud.Rejected),
        ("InvalidParameterCombination", cloud.Rejected),
        ("MissingParameter", cloud.Rejected),
        ("IdempotentParameterMismatch", cloud.Rejected),
        ("OperationNotPermitted", cloud.Rejected),
        ("UnsupportedOperation", cloud.Rejected),
        ("RequestThrottledException", cloud.Throttled),
        ("Client.RequestLimitExceeded", cloud.Throttled),
        ("InvalidNetworkInterfaceID.Malformed", cloud.NotFound),
        ("InvalidSubnetID.Malformed", cloud.NotFound),
        ("InvalidGroupId.Malformed", cloud.NotFound),
        ("InvalidVpcID.NotFound", cloud.NotFound),
        ("InvalidSubnetCidrReservationID.NotFound", cloud.NotFound),
        ("InvalidSubnetCidrReservationID.Malformed", cloud.NotFound),
        ("IncorrectInstanceState", cloud.Busy),
        ("ConcurrentCreateNetworkInterface", cloud.Busy),
        ("RequestResourceCountExceeded", cloud.Busy),
        ("ServiceUnavailable", cloud.Unavailable),
        ("RegionDisabled", cloud.Unavailable),
        ("IDPCommunicationError", cloud.Unavailable),
        ("IncompleteSignature", cloud.Denied),
        ("InvalidAccessKeyId", cloud.Denied),
        ("ExpiredTokenException", cloud.Denied),
        ("InvalidSecurity", cloud.Denied),
        ("Blocked", cloud.Denied),
        ("PendingVerification", cloud.Denied),
        ("InvalidIdentityToken", cloud.Denied),
        ("IDPRejectedClaim", cloud.Denied),
        ("RegionDisabledException", cloud.Denied),
        ("AccessDeniedException", cloud.Denied),
        ("Client.UnauthorizedOperation", cloud.Denied),
        ("InvalidParameter", cloud.Rejected),
        ("UnknownParameter", cloud.Rejected),
        ("ValidationError", cloud.Rejected),
        ("MalformedQueryString", cloud.Rejected),
        ("InvalidAction", cloud.Rejected),
        ("Unsupported", cloud.Rejected),
        ("InvalidNextToken", cloud.Rejected),
        ("InvalidAddress.NotFound", cloud.Rejected),
        ("InvalidTagKey.Malformed", cloud.Rejected),
        ("TagLimitExceeded", cloud.Rejected),
        ("SomethingNew", cloud.Rejected),
    ],
)
def test_codes(code: str, expected: Kind) -> None:
    """Each code is the class named by what the caller does next, and keeps code, operation and request id."""
    found = answered(code)

    assert type(found) is expected
    assert (found.provider, found.code, found.operation, found.request_id) == (
        "aws",
        code,
        "AssignPrivateIpAddresses",
        "request-1",
    )


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("PrivateIpAddressLimitExceeded", "interface"),
        ("AttachmentLimitExceeded", "instance"),
        ("NetworkInterfaceLimitExceeded", "account"),
        ("SecurityGroupsPerInterfaceLimitExceeded", "account"),
    ],
)
def test_limits_say_of_what(code: str, what: str) -> None:
    """A quota names what must stop growing."""
    found = answered(code)

    assert isinstance(found, cloud.LimitReached)
    assert found.what == what


@pytest.mark.parametrize(
    ("operation", "code", "message", "expected"),
    [
        pytest.param(
            "AssignPrivateIpAddresses",
            "InvalidParameterValue",
            "There aren't sufficient free Ipv4 addresses or prefixes",
            cloud.Exhausted,
            id="an empty subnet as a wrong value",
        ),
        pytest.param(
            "CreateNetworkInterface",
            "InvalidParameterValue",
            "exceeded limit 5 on the number of interface security group memberships",
            cloud.LimitReached,
            id="too many groups as a wrong value",
        ),
        pytest.param(
            "AssignPrivateIpAddresses",
            "InvalidParameterValue",
            "[10.0.0.9] assigned, but move is not allowed.",
            cloud.Busy,
            id="an address of another interface as a wrong value",
        ),
        pytest.param(
            "CreateNetworkInterface",
            "InvalidParameterValue",
            "There aren't sufficient free Ipv4 addresses or prefixes",
            cloud.Exhausted,
            id="the same where an interface is made",
        ),
        pytest.param(
            "DescribeInstances",
            "Throttling.Api",
            "Rate exceeded",
            cloud.Throttled,
            id="throttling with whatever behind it",
        ),
        pytest.param(
            "AttachNetworkInterface",
            "IncorrectState",
            "Instance 'i-1' is not 'running' or 'stopped'.",
            cloud.NotFound,
            id="an ended instance as a wrong state",
        ),
        pytest.param(
            "AttachNetworkInterface",
            "InvalidNetworkInterface.InUse",
            "Interface: [eni-1] in use.",
            cloud.Rejected,
            id="attached is a fact, not a change under way",
        ),
        pytest.param(
            "DeleteNetworkInterface",
            "InvalidNetworkInterface.InUse",
            "Network interface 'eni-1' is currently in use.",
            cloud.Busy,
            id="but deleting may wait for detaching",
        ),
    ],
)
def test_codes_in_disguise(operation: str, code: str, message: str, expected: Kind) -> None:
    """Where EC2 hides a meaning in a message or in the operation, the meaning counts."""
    assert type(answered(code, message, operation=operation)) is expected


@pytest.mark.parametrize(
    ("code", "message", "permission"),
    [
        ("UnauthorizedOperation", "You are not authorized to perform this operation.", "ec2:AssignPrivateIpAddresses"),
        ("AuthFailure", "Not authorized for images", "ec2:AssignPrivateIpAddresses"),
        (
            "UnauthorizedOperation",
            "User: x is not authorized to perform: ec2:CreateTags on resource: y",
            "ec2:CreateTags",
        ),
    ],
)
def test_the_missing_permission_is_named(code: str, message: str, permission: str) -> None:
    """The action to allow is the one EC2 names, else the operation's own."""
    found = answered(code, message)

    assert isinstance(found, cloud.Denied)
    assert found.permission == permission


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AuthFailure", "AWS was not able to validate the provided access credentials"),
        ("InvalidClientTokenId", "The security token included in the request is invalid."),
        ("SignatureDoesNotMatch", "The request signature we calculated does not match"),
        ("ExpiredToken", "The security token included in the request is expired"),
    ],
)
def test_wrong_credentials_are_no_missing_permission(code: str, message: str) -> None:
    """Who asks is refused, not what is asked: the text names the credentials and no permission."""
    found = answered(code, message)

    assert isinstance(found, cloud.Denied)
    assert found.permission == ""
    assert "credentials were refused" in str(found)


@pytest.mark.parametrize(
    ("code", "status", "operation", "expected"),
    [
        ("Unheard", 503, "AssignPrivateIpAddresses", cloud.Throttled),
        ("Unheard", 429, "AssignPrivateIpAddresses", cloud.Throttled),
        ("Unavailable", 503, "AssignPrivateIpAddresses", cloud.Unavailable),
        ("ServiceUnavailable", 503, "AssignPrivateIpAddresses", cloud.Unavailable),
        ("InternalError", 500, "AssignPrivateIpAddresses", cloud.UnknownOutcome),
        ("InternalError", 500, "DescribeSubnets", cloud.Unavailable),
        ("502", 502, "AssignPrivateIpAddresses", cloud.UnknownOutcome),
        ("504", 504, "DescribeSubnets", cloud.Unavailable),
    ],
)
def test_by_http_status(code: str, status: int, operation: str, expected: Kind) -> None:
    """A code nobody knows is judged by its status; a write that failed inside EC2 may have happened."""
    assert type(answered(code, status=status, operation=operation)) is expected


URL = "https://ec2.eu-central-1.amazonaws.com/"


@pytest.mark.parametrize(
    ("error", "of_a_write", "of_a_read"),
    [
        pytest.param(
            sdk.EndpointConnectionError(endpoint_url=URL, error="refused"),
            cloud.Unavailable,
            cloud.Unavailable,
            id="no connection",
        ),
        pytest.param(
            sdk.ConnectTimeoutError(endpoint_url=URL, error="late"),
            cloud.Unavailable,
            cloud.Unavailable,
            id="no connection in time",
        ),
        pytest.param(
            sdk.ProxyConnectionError(proxy_url=URL, error="refused"),
            cloud.Unavailable,
            cloud.Unavailable,
            id="no connection to the proxy",
        ),
        pytest.param(
            sdk.ReadTimeoutError(endpoint_url=URL, error="late"),
            cloud.UnknownOutcome,
            cloud.Unavailable,
            id="no answer in time",
        ),
        pytest.param(
            sdk.ConnectionClosedError(endpoint_url=URL), cloud.UnknownOutcome, cloud.Unavailable, id="connection broke"
        ),
        pytest.param(
            sdk.HTTPClientError(error="anything"), cloud.UnknownOutcome, cloud.Unavailable, id="anything on the wire"
        ),
        pytest.param(
            sdk.ResponseStreamingError(error="half an answer"),
            cloud.UnknownOutcome,
            cloud.Unavailable,
            id="half an answer",
        ),
        pytest.param(
            sdk.SSLError(endpoint_url=URL, error=OSError("bad record")),
            cloud.UnknownOutcome,
            cloud.Unavailable,
            id="TLS broke, perhaps after sending",
        ),
        pytest.param(ResponseParserError("<html>"), cloud.UnknownOutcome, cloud.Unavailable, id="not EC2's XML"),
        pytest.param(sdk.NoCredentialsError(), cloud.Denied, cloud.Denied, id="no credentials"),
        pytest.param(
            sdk.CredentialRetrievalError(provider="iam-role", error_msg="down"),
            cloud.Denied,
            cloud.Denied,
            id="credentials not to be had",
        ),
        pytest.param(
            sdk.ParamValidationError(report="SubnetId: wrong type"), cloud.Rejected, cloud.Rejected, id="not even sent"
        ),
    ],
)
def test_what_the_sdk_raises(error: Exception, of_a_write: Kind, of_a_read: Kind) -> None:
    """What cannot have left is Unavailable; what may have left is, for a write, of unknown outcome."""
    assert type(translate(error, operation="AttachNetworkInterface", mutating=True)) is of_a_write
    assert type(translate(error, operation="DescribeSubnets", mutating=False)) is of_a_read


def test_a_subnet_that_ec2_names_is_kept() -> None:
    """An exhausted subnet named in the message is the one to avoid."""
    found = answered("InsufficientFreeAddressesInSubnet", "subnet-0abc has not enough free addresses")

    assert isinstance(found, cloud.Exhausted)
    assert found.subnet == "subnet-0abc"
