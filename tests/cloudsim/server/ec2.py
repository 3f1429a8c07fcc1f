"""POST /: one request of EC2's query protocol, from the form body to the XML answer."""

import uuid
from collections.abc import Mapping

from aiohttp import web

from cloudsim.model.errors import Refused
from cloudsim.server import calls
from cloudsim.server.accounts import Account
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
            account = self._account(action, form, request.headers)
            fault = self._admit(account, action, form)
            await self._strike_before(fault, action)
            cut_short = fault is not None and fault.kind is FaultKind.PARTIAL
            body = await self._perform(account, action, Params(form, cut_short=cut_short))
        except Refused as refused:
            self._state.calls.count(action or "-", refused.code)
            return _xml(xml.error(refused.code, refused.message, request_id), refused.status)
        if fault is not None and fault.kind is FaultKind.LOST_REPLY:
            await self._state.clock.sleep(fault.seconds)
            self._state.calls.count(action, calls.LOST)
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        self._state.calls.count(action, calls.OK)
        return _xml(xml.answer(action, request_id, body), 200)

    def _account(self, action: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Account:
        """Whose request it is; refused if that account may not do it, or nobody can."""
        if not action:
            raise Refused("MissingAction", "The request must contain the parameter Action")
        if action not in READS and action not in WRITES:
            raise Refused("InvalidAction", f"The action {action} is not valid for this web service.")
        state = self._state
        number = state.keyring.check(headers, action, state.region, state.clock.now())
        if action != "CreateTags" and any(key.startswith("TagSpecification.") for key in form):
            # "Grant permission to tag resources during creation": the caller needs both actions.
            state.keyring.check(headers, "CreateTags", state.region, state.clock.now())
        return self._state.accounts.of(number)

    def _admit(self, account: Account, action: str, form: Mapping[str, str]) -> Fault | None:
        """Throttling; then what the script says of this call; then the dry run."""
        state = self._state
        narrowed = any(key.startswith(_NARROWING) for key in form)
        if account.buckets is not None and not account.buckets.admit(action, narrowed=narrowed, now=state.clock.now()):
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
            await self._state.clock.sleep(fault.seconds)
        elif fault.kind is FaultKind.HANG:
            self._state.calls.count(action, calls.HUNG)
            await self._state.closing.wait()
            raise Refused("Unavailable", "The simulator is shutting down.")

    async def _perform(self, account: Account, action: str, params: Params) -> Mapping[str, xml.Node]:
        if action in READS:
            return READS[action](account.cloud, params, self._state.read_moment())
        done = WRITES[action](account.cloud, params)
        await account.effects.follow(done)
        return done.body


def _xml(body: bytes, status: int) -> web.Response:
    return web.Response(body=body, status=status, content_type="text/xml", charset="UTF-8")
