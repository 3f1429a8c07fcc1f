"""/_sim: who may call the cloud: long-lived keys, roles, and the roles of instances. JSON in, JSON out."""

from aiohttp import web

from cloudsim.model import instances
from cloudsim.model.cloud import ACCOUNT
from cloudsim.server import bodies
from cloudsim.server.bodies import Body, answering
from cloudsim.server.keyring import Key
from cloudsim.server.roles import Role
from cloudsim.server.state import State


class Identities:
    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_sim/credentials", answering(self._callers)),
            web.post("/_sim/credentials", answering(self._add_credentials)),
            web.delete("/_sim/credentials", answering(self._clear_credentials)),
            web.delete("/_sim/credentials/{key}", answering(self._revoke_credentials)),
            web.get("/_sim/roles", answering(self._roles)),
            web.post("/_sim/roles", answering(self._put_role)),
            web.delete("/_sim/roles/{name}", answering(self._remove_role)),
            web.delete("/_sim/roles/{name}/sessions", answering(self._expire_sessions)),
            web.put("/_sim/instances/{id}/role", answering(self._set_instance_role)),
        ]

    async def _callers(self, _: web.Request) -> Body:
        return {"callers": self._state.keyring.callers()}

    async def _add_credentials(self, request: web.Request) -> Body:
        body = await bodies.read(request)
        key = Key(
            secret=str(body.get("secret") or ""),
            account=str(body.get("account") or ACCOUNT),
            allow=bodies.texts(body, "allow", ("*",)),
            deny=bodies.texts(body, "deny"),
        )
        self._state.keyring.add(bodies.text(body, "access_key"), key)
        return {}

    async def _revoke_credentials(self, request: web.Request) -> Body:
        self._state.keyring.revoke(request.match_info["key"])
        return {}

    async def _clear_credentials(self, _: web.Request) -> Body:
        self._state.keyring.clear()
        return {}

    async def _roles(self, _: web.Request) -> Body:
        return {"roles": [{"arn": role.arn, "issued": issued} for role, issued in self._state.roles.all()]}

    async def _put_role(self, request: web.Request) -> Body:
        body = await bodies.read(request)
        role = Role(
            name=bodies.text(body, "name"),
            account=str(body.get("account") or ACCOUNT),
            allow=bodies.texts(body, "allow", ("*",)),
            deny=bodies.texts(body, "deny"),
            trusts=bodies.texts(body, "trusts"),
            external_id=str(body.get("external_id") or ""),
            web_identities=bodies.texts(body, "web_identities"),
            seconds=bodies.number(body, "seconds", 3600),
        )
        self._state.roles.put(role)
        return {"arn": role.arn}

    async def _remove_role(self, request: web.Request) -> Body:
        self._state.roles.remove(request.match_info["name"])
        return {}

    async def _expire_sessions(self, request: web.Request) -> Body:
        return {"ended": self._state.roles.expire(request.match_info["name"], self._state.clock.now())}

    async def _set_instance_role(self, request: web.Request) -> Body:
        """An instance profile is attached, changed or (empty) taken away."""
        id_, name = request.match_info["id"], str((await bodies.read(request)).get("role") or "")
        arn = self._state.roles.named(name).arn if name else ""
        instances.set_role(self._state.accounts.owning(id_).cloud, id_, arn)
        return {"role": arn}
