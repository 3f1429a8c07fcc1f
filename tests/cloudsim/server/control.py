"""/_sim: what a test sees of the cloud, and what it lets happen: faults, time. JSON in, JSON out.

Reads here never lag. A refusal is 400 with ``code`` and ``message``. docs/cloudsim.md lists the requests.
"""

from aiohttp import web

from cloudsim.clock import ManualClock
from cloudsim.model.errors import Refused
from cloudsim.server import bodies, effects, sts, tables
from cloudsim.server.bodies import Body, answering
from cloudsim.server.faults import Fault, FaultKind
from cloudsim.server.state import State
from cloudsim.wire.operations import READS, WRITES

_OPERATIONS = frozenset({"*", *READS, *WRITES, *sts.OPERATIONS})
_FAULT = frozenset({"operation", "kind", "nth", "count", "code", "message", "seconds"})


class Control:
    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sim/health", answering(self._health)),
            web.get("/_sim/table", answering(self._table)),
            web.get("/_sim/calls", answering(self._calls)),
            web.delete("/_sim/calls", answering(self._forget_calls)),
            web.get("/_sim/faults", answering(self._faults)),
            web.post("/_sim/faults", answering(self._add_fault)),
            web.delete("/_sim/faults", answering(self._clear_faults)),
            web.post("/_sim/clock", answering(self._advance)),
        ]

    async def _health(self, _: web.Request) -> Body:
        return {"now": self._state.clock.now()}

    async def _table(self, _: web.Request) -> Body:
        fabrics = [account.fabric for account in self._state.accounts]
        return {
            **tables.table(account.cloud for account in self._state.accounts),
            "fabric": {"url": fabrics[0].url, "errors": [error for fabric in fabrics for error in fabric.errors]},
        }

    async def _calls(self, _: web.Request) -> Body:
        return dict(self._state.calls.table())

    async def _forget_calls(self, _: web.Request) -> Body:
        self._state.calls.clear()
        return {}

    async def _faults(self, _: web.Request) -> Body:
        return {
            "faults": [
                {"operation": fault.operation, "kind": fault.kind.value, "skip": skip, "count": count}
                for fault, skip, count in self._state.faults.pending()
            ]
        }

    async def _add_fault(self, request: web.Request) -> Body:
        body = await bodies.read(request)
        kind, operation = bodies.text(body, "kind"), bodies.text(body, "operation")
        if kind not in set(FaultKind):
            raise Refused("InvalidParameterValue", f"kind must be one of {', '.join(FaultKind)}, found {kind!r}")
        # What never strikes makes a test that relies on it prove nothing.
        if operation not in _OPERATIONS:
            raise Refused("InvalidParameterValue", f"operation must be * or one that is simulated, found {operation!r}")
        if unknown := sorted(body.keys() - _FAULT):
            raise Refused("UnknownParameter", f"a fault has {', '.join(sorted(_FAULT))}, found {', '.join(unknown)}")
        if kind == FaultKind.PARTIAL and operation not in READS:
            raise Refused(
                "InvalidParameterValue", f"only a read can be partial, EC2 writes all or nothing: {operation}"
            )
        self._state.faults.add(
            Fault(
                operation=operation,
                kind=FaultKind(kind),
                skip=max(0, int(bodies.number(body, "nth", 1)) - 1),
                count=int(bodies.number(body, "count", 1)),
                code=str(body.get("code") or "InternalError"),
                message=str(body.get("message") or ""),
                seconds=bodies.number(body, "seconds", 0),
            )
        )
        return {}

    async def _clear_faults(self, _: web.Request) -> Body:
        self._state.faults.clear()
        return {}

    async def _advance(self, request: web.Request) -> Body:
        clock = self._state.clock
        if not isinstance(clock, ManualClock):
            raise Refused(
                "InvalidParameterValue", "this simulator runs by the machine's clock; start it with --manual-clock"
            )
        seconds = bodies.number(await bodies.read(request), "advance", 0)
        await effects.advance(clock, seconds, [account.effects for account in self._state.accounts])
        return {"now": clock.now()}
