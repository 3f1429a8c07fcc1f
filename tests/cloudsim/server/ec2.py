"""POST /: one request of EC2's query protocol, from the form body to the XML answer."""

import uuid
from collections.abc import Mapping

from aiohttp import web

from cloudsim.model.errors import Refused
from cloudsim.server import calls
from cloudsim.server.faults import Fault, FaultKind
from cloudsim.server.state import State
from cloudsim.wire import xml
from cloudsim.wire.operations import READS, WRITES
from cloudsim.wire.query import Params

_NARROWING = ("Filter.", "MaxResults", "NextToken")


class Ec2:
    def __init__(self, state: State) -> None:
        self._state = state

    async def handle(self, request: web.Request) -> web.Response:
        form = {key: str(value) for key, value in (await request.post()).items()}
        action = form.get("Action", "")
        request_id = str(uuid.uuid4())
        try:
            fault = self._admit(action, form, request.headers.get("Authorization"))
            await self._strike_before(fault, action)
            body = await self._perform(action, form)
        except Refused as refused:
            self._state.calls.count(action or "-", refused.code)
            return _xml(xml.error(refused.code, refused.message, request_id), refused.status)
        if fault is not None and fault.kind is FaultKind.LOST_REPLY:
            await self._state.cloud.clock.sleep(fault.seconds)
            self._state.calls.count(action, calls.LOST)
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        self._state.calls.count(action, calls.OK)
        return _xml(xml.answer(action, request_id, body), 200)

    def _admit(self, action: str, form: Mapping[str, str], authorization: str | None) -> Fault | None:
        """Everything that EC2 looks at before the operation; then what the script says of this call."""
        state = self._state
        if not action:
            raise Refused("MissingAction", "The request must contain the parameter Action")
        if action not in READS and action not in WRITES:
            raise Refused("InvalidAction", f"The action {action} is not valid for this web service.")
        state.keyring.check(authorization, action, state.cloud.region)
        narrowed = any(key.startswith(_NARROWING) for key in form)
        if state.buckets is not None and not state.buckets.admit(action, narrowed=narrowed, now=state.cloud.now()):
            raise Refused("RequestLimitExceeded", "Request limit exceeded.")
        fault = state.faults.next(action)
        if fault is not None and fault.kind is FaultKind.ERROR:
            raise Refused(fault.code, fault.message or f"{fault.code} by the fault script")
        if form.get("DryRun") == "true":
            raise Refused("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
        return fault

    async def _strike_before(self, fault: Fault | None, action: str) -> None:
        if fault is None:
            return
        if fault.kind is FaultKind.DELAY:
            await self._state.cloud.clock.sleep(fault.seconds)
        elif fault.kind is FaultKind.HANG:
            self._state.calls.count(action, calls.HUNG)
            await self._state.closing.wait()
            raise Refused("Unavailable", "The simulator is shutting down.")

    async def _perform(self, action: str, form: Mapping[str, str]) -> Mapping[str, xml.Node]:
        params = Params(form)
        if action in READS:
            return READS[action](self._state.cloud, params, self._state.read_moment())
        done = WRITES[action](self._state.cloud, params)
        await self._state.effects.follow(done)
        return done.body


def _xml(body: bytes, status: int) -> web.Response:
    return web.Response(body=body, status=status, content_type="text/xml", charset="UTF-8")
