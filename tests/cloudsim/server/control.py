"""/_sim: what a test does to the cloud behind the tenant's back, and what it sees of it. JSON in, JSON out.

Reads here never lag. A refusal is 400 with ``code`` and ``message``. docs/cloudsim.md lists the requests.
"""

import json
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from cloudsim.clock import ManualClock
from cloudsim.model import instances, security_groups, subnets, vpcs
from cloudsim.model.errors import Refused
from cloudsim.server import tables
from cloudsim.server.faults import Fault, FaultKind
from cloudsim.server.keyring import Key
from cloudsim.server.state import State

Body = Mapping[str, object]


class Control:
    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sim/health", _answering(self._health)),
            web.post("/_sim/vpcs", _answering(self._add_vpc)),
            web.post("/_sim/subnets", _answering(self._add_subnet)),
            web.post("/_sim/security-groups", _answering(self._add_group)),
            web.post("/_sim/instances", _answering(self._add_instance)),
            web.delete("/_sim/instances/{id}", _answering(self._terminate)),
            web.put("/_sim/instances/{id}/state", _answering(self._set_state)),
            web.get("/_sim/table", _answering(self._table)),
            web.get("/_sim/calls", _answering(self._calls)),
            web.delete("/_sim/calls", _answering(self._forget_calls)),
            web.get("/_sim/faults", _answering(self._faults)),
            web.post("/_sim/faults", _answering(self._add_fault)),
            web.delete("/_sim/faults", _answering(self._clear_faults)),
            web.post("/_sim/credentials", _answering(self._add_credentials)),
            web.delete("/_sim/credentials", _answering(self._clear_credentials)),
            web.post("/_sim/clock", _answering(self._advance)),
        ]

    async def _health(self, _: web.Request) -> Body:
        return {"now": self._state.cloud.now()}

    async def _add_vpc(self, request: web.Request) -> Body:
        vpc = vpcs.create(self._state.cloud, _text(await _body(request), "cidr"))
        return {"id": vpc.id, "security_group": vpc.default_group}

    async def _add_subnet(self, request: web.Request) -> Body:
        body = await _body(request)
        subnet = subnets.create(self._state.cloud, _text(body, "vpc"), _text(body, "cidr"), _text(body, "zone"))
        return {"id": subnet.id, "gateway": str(subnet.gateway), "free": subnet.free}

    async def _add_group(self, request: web.Request) -> Body:
        body = await _body(request)
        vpc = vpcs.require(self._state.cloud, _text(body, "vpc"))
        group = security_groups.create(self._state.cloud, vpc.id, _text(body, "name"), _text(body, "name"))
        return {"id": group.id}

    async def _add_instance(self, request: web.Request) -> Body:
        body = await _body(request)
        role = None
        if isinstance(credentials := body.get("credentials"), Mapping):
            role = instances.Role(access_key=_text(credentials, "access_key"), secret=_text(credentials, "secret"))
        cloud = self._state.cloud
        netns = str(body.get("netns") or "")
        instance = instances.run(cloud, _text(body, "type"), _text(body, "subnet"), netns=netns, role=role)
        (eni,) = cloud.interfaces_of(instance.id)
        if not await self._state.fabric.plug(eni.id):
            error = self._state.fabric.errors[-1]["error"]
            raise Refused(
                "FabricUnavailable", f"instance {instance.id} is made, but its interface is not plugged: {error}"
            )
        return {
            "id": instance.id,
            "private_ip": instance.private_ip,
            "eni": eni.id,
            "mac": eni.mac,
            "zone": instance.zone,
            "providerID": f"aws:///{instance.zone}/{instance.id}",
        }

    async def _terminate(self, request: web.Request) -> Body:
        gone = instances.terminate(self._state.cloud, request.match_info["id"])
        for interface in gone:
            await self._state.fabric.unplug(interface)
        kept = [id_ for id_ in gone if self._state.cloud.interfaces.get(id_) is not None]
        return {"deleted": [id_ for id_ in gone if id_ not in kept], "available": kept}

    async def _set_state(self, request: web.Request) -> Body:
        wanted = _text(await _body(request), "state")
        if wanted not in {"running", "stopped"}:
            raise Refused("InvalidParameterValue", f"state must be running or stopped, found {wanted!r}")
        state = instances.InstanceState(wanted)
        return {"state": instances.set_state(self._state.cloud, request.match_info["id"], state).state.value}

    async def _table(self, _: web.Request) -> Body:
        return {
            **tables.table(self._state.cloud),
            "fabric": {"url": self._state.fabric.url, "errors": list(self._state.fabric.errors)},
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
        body = await _body(request)
        kind = _text(body, "kind")
        if kind not in set(FaultKind):
            raise Refused("InvalidParameterValue", f"kind must be one of {', '.join(FaultKind)}, found {kind!r}")
        self._state.faults.add(
            Fault(
                operation=_text(body, "operation"),
                kind=FaultKind(kind),
                skip=max(0, int(_number(body, "nth", 1)) - 1),
                count=int(_number(body, "count", 1)),
                code=str(body.get("code") or "InternalError"),
                message=str(body.get("message") or ""),
                seconds=_number(body, "seconds", 0),
            )
        )
        return {}

    async def _clear_faults(self, _: web.Request) -> Body:
        self._state.faults.clear()
        return {}

    async def _add_credentials(self, request: web.Request) -> Body:
        body = await _body(request)
        deny = body.get("deny") or []
        if not isinstance(deny, list):
            raise Refused("InvalidParameterValue", "deny must be a list of action names")
        key = Key(secret=str(body.get("secret") or ""), deny=tuple(str(action) for action in deny))
        self._state.keyring.add(_text(body, "access_key"), key)
        return {}

    async def _clear_credentials(self, _: web.Request) -> Body:
        self._state.keyring.clear()
        return {}

    async def _advance(self, request: web.Request) -> Body:
        clock = self._state.cloud.clock
        if not isinstance(clock, ManualClock):
            raise Refused(
                "InvalidParameterValue", "this simulator runs by the machine's clock; start it with --manual-clock"
            )
        await self._state.effects.advance(clock, _number(await _body(request), "advance", 0))
        return {"now": clock.now()}


def _answering(handle: Callable[[web.Request], Awaitable[Body]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return web.json_response(await handle(request))
        except Refused as refused:
            return web.json_response({"code": refused.code, "message": refused.message}, status=400)

    return answer


async def _body(request: web.Request) -> Body:
    try:
        body = await request.json()
    except json.JSONDecodeError as error:
        raise Refused("InvalidParameterValue", f"the body must be JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused("InvalidParameterValue", "the body must be a JSON object")
    return body


def _text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Refused("MissingParameter", f"{name} must be a text, found {value!r}")
    return value


def _number(body: Mapping[str, object], name: str, default: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("InvalidParameterValue", f"{name} must be a number, found {value!r}")
    return float(value)
