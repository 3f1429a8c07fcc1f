"""Refusals. Codes: EC2 API Reference, "Error codes"; texts as EC2 words them where public reports quote them."""


class Refused(Exception):
    """EC2 refuses. ``status`` is the HTTP status: 400 unless the code has another."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        return STATUS.get(self.code, 400)


STATUS = {
    "AuthFailure": 401,
    "AccessDenied": 403,
    "ExpiredToken": 403,
    "InvalidClientTokenId": 403,
    "SignatureDoesNotMatch": 403,
    "MissingAuthenticationToken": 403,
    "OptInRequired": 401,
    "UnauthorizedOperation": 403,
    "DryRunOperation": 412,
    "InsufficientAddressCapacity": 500,
    "InsufficientCapacity": 500,
    "InternalError": 500,
    "InternalFailure": 500,
    "RequestLimitExceeded": 503,
    "Throttling": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
}


def invalid_value(message: str) -> Refused:
    return Refused("InvalidParameterValue", message)


PREFIXES = {
    "InvalidNetworkInterfaceID": "eni-",
    "InvalidInstanceID": "i-",
    "InvalidSubnetID": "subnet-",
    "InvalidVpcID": "vpc-",
    "InvalidAttachmentID": "eni-attach-",
    "InvalidSubnetCidrReservationID": "scr-",
    "InvalidRouteTableID": "rtb-",
}
"""How ids of a kind begin. What begins otherwise is malformed, which EC2 says before it looks."""


def not_found(kind: str, label: str, ids: list[str]) -> Refused:
    """One or several ids of ``kind`` (``InvalidNetworkInterfaceID``) that do not exist."""
    for id_ in ids:
        if not id_.startswith(PREFIXES.get(kind, "")):
            return Refused(f"{kind}.Malformed", f'Invalid id: "{id_}" (expecting "{PREFIXES[kind]}...")')
    if len(ids) == 1:
        return Refused(f"{kind}.NotFound", f"The {label} ID '{ids[0]}' does not exist")
    return Refused(f"{kind}.NotFound", f"The {label} IDs '{', '.join(ids)}' do not exist")
