"""POST /sts: AssumeRole, AssumeRoleWithWebIdentity and GetCallerIdentity; GET /pod-identity/<role>: the agent of EKS
Pod Identity. Codes and texts: STS API Reference; the agent's answer: the SDKs' "container credential provider".
"""

import uuid
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from aiohttp import web

from cloudsim.model.errors import Refused
from cloudsim.server import calls
from cloudsim.server.faults import FaultKind
from cloudsim.server.roles import LONGEST_SECONDS, Role, Session
from cloudsim.server.state import State
from cloudsim.wire.xml import Node, fill, moment, to_bytes

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
OPERATIONS = frozenset({"AssumeRole", "AssumeRoleWithWebIdentity", "GetCallerIdentity"})
SHORTEST_SECONDS = 900
_SHORTEST_ID = 2


class Sts:
    def __init__(self, state: State) -> None:
        self._state = state

    async def handle(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        action, request_id = form.get("Action", ""), str(uuid.uuid4())
        try:
            await self._strike(action)
            result = self._perform(action, form, request.headers)
        except Refused as refused:
            self._state.calls.count(action or "-", refused.code)
            return _xml(_error(refused, request_id), refused.status)
        self._state.calls.count(action, calls.OK)
        root = ET.Element(f"{action}Response", xmlns=NAMESPACE)
        fill(root, {f"{action}Result": result, "ResponseMetadata": {"RequestId": request_id}})
        return _xml(to_bytes(root), 200)

    async def pod_identity(self, request: web.Request) -> web.Response:
        """The node's agent: the caller's token is the ServiceAccount's, as a header."""
        name, state = request.match_info["role"], self._state
        try:
            role = state.roles.named(name)
        except Refused as refused:
            return web.json_response({"message": refused.message}, status=404)
        if request.headers.get("Authorization", "") not in role.web_identities:
            return web.json_response({"message": "the token is not valid"}, status=400)
        session = state.roles.issue(role, "eks-pod", state.clock.now())
        return web.json_response(
            {
                "AccessKeyId": session.access_key,
                "SecretAccessKey": session.secret,
                "Token": session.token,
                "AccountId": role.account,
                "Expiration": moment(session.expires).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )

    async def _strike(self, action: str) -> None:
        """What the script of faults says of this call; a lost reply and a partial one mean nothing here."""
        fault = self._state.faults.next(action)
        if fault is None:
            return
        if fault.kind is FaultKind.ERROR:
            raise Refused(fault.code, fault.message or f"{fault.code} by the fault script")
        if fault.kind is FaultKind.DELAY:
            await self._state.clock.sleep(fault.seconds)
        if fault.kind is FaultKind.HANG:
            self._state.calls.count(action, calls.HUNG)
            await self._state.closing.wait()
            raise Refused("ServiceUnavailable", "The simulator is shutting down.")

    def _perform(self, action: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Mapping[str, Node]:
        now, roles = self._state.clock.now(), self._state.roles
        if action == "AssumeRoleWithWebIdentity":
            role = roles.get(_required(form, "RoleArn"))
            token = _required(form, "WebIdentityToken")
            if not any(token in known.web_identities for known, _ in roles.all()):
                raise Refused("InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider")
            if role is None or token not in role.web_identities:
                raise Refused("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
            return self._issued(role, form, now)
        caller = self._state.keyring.check_sts(headers, now)
        if action == "GetCallerIdentity":
            return {"Arn": caller.arn, "UserId": caller.name, "Account": caller.key.account}
        if action != "AssumeRole":
            raise Refused("InvalidAction", f"Could not find operation {action} for version 2011-06-15")
        arn = _required(form, "RoleArn")
        role = roles.get(arn)
        allowed = caller.key.permits("sts:AssumeRole")
        # A role that does not exist, one that trusts others, and a wrong external id all look the same from outside.
        if role is None or not allowed or not _trusts(role, caller.name, form.get("ExternalId", "")):
            message = f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {arn}"
            raise Refused("AccessDenied", message)
        return self._issued(role, form, now)

    def _issued(self, role: Role, form: Mapping[str, str], now: float) -> Mapping[str, Node]:
        name, seconds = _required(form, "RoleSessionName"), None
        if "DurationSeconds" in form:
            seconds = int(form["DurationSeconds"])
            if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
                raise Refused("ValidationError", f"durationSeconds must be {SHORTEST_SECONDS} to {LONGEST_SECONDS}")
        session = self._state.roles.issue(role, name, now, seconds)
        return {
            "AssumedRoleUser": {"AssumedRoleId": f"AROA:{name}", "Arn": role.session_arn(name)},
            "Credentials": _credentials(session),
        }


def _trusts(role: Role, caller: str, external_id: str) -> bool:
    return (not role.trusts or caller in role.trusts) and role.external_id in ("", external_id)


def _credentials(session: Session) -> Mapping[str, Node]:
    return {
        "AccessKeyId": session.access_key,
        "SecretAccessKey": session.secret,
        "SessionToken": session.token,
        "Expiration": moment(session.expires),
    }


def _required(form: Mapping[str, str], name: str) -> str:
    value = form.get(name, "")
    if len(value) < _SHORTEST_ID:
        message = f"1 validation error detected: Value '{value}' at '{name[0].lower()}{name[1:]}' failed to satisfy"
        raise Refused("ValidationError", f"{message} constraint: Member must have length greater than or equal to 2")
    return value


def _error(refused: Refused, request_id: str) -> bytes:
    root = ET.Element("ErrorResponse", xmlns=NAMESPACE)
    fill(
        root,
        {"Error": {"Type": "Sender", "Code": refused.code, "Message": refused.message}, "RequestId": request_id},
    )
    return to_bytes(root)


def _xml(body: bytes, status: int) -> web.Response:
    return web.Response(body=body, status=status, content_type="text/xml", charset="UTF-8")
