"""/_sim: what a test puts into the cloud behind the tenant's back.

A VPC is of the account that the request names, everything else of the account of what it is put into.
"""

from dataclasses import replace

from aiohttp import web

from cloudsim.model import instances, interfaces, routes, security_groups, subnets, tags, vpcs
from cloudsim.model.cloud import ACCOUNT, Cloud
from cloudsim.model.errors import Refused
from cloudsim.server import bodies
from cloudsim.server.bodies import Body, answering
from cloudsim.server.state import State

_NEXT = "next"


class Resources:
    def __init__(self, state: State) -> None:
        self._accounts = state.accounts

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/_sim/vpcs", answering(self._add_vpc)),
            web.post("/_sim/subnets", answering(self._add_subnet)),
            web.post("/_sim/security-groups", answering(self._add_group)),
            web.post("/_sim/route-tables", answering(self._add_route_table)),
            web.put("/_sim/route-tables/{id}", answering(self._set_route_table)),
            web.put("/_sim/interfaces/{id}", answering(self._set_interface)),
            web.post("/_sim/instances", answering(self._add_instance)),
            web.delete("/_sim/instances/{id}", answering(self._terminate)),
            web.put("/_sim/instances/{id}/state", answering(self._set_state)),
        ]

    async def _add_vpc(self, request: web.Request) -> Body:
        body = await bodies.read(request)
        number = str(body.get("account") or ACCOUNT)
        if not (number.isdecimal() and len(number) == 12):
            raise Refused("InvalidParameterValue", f"account must be twelve digits, found {number!r}")
        cloud = self._accounts.of(number).cloud
        cidr6 = vpcs.parse_block6(bodies.text(body, "ipv6_cidr")) if "ipv6_cidr" in body else None
        vpc = vpcs.create(cloud, bodies.text(body, "cidr"), cidr6)
        _tag(cloud, vpc.id, body)
        main = routes.main_of(cloud, vpc.id)
        return {"id": vpc.id, "security_group": vpc.default_group, "route_table": main.id}

    async def _add_subnet(self, request: web.Request) -> Body:
        body = await bodies.read(request)
        vpc = bodies.text(body, "vpc")
        cloud = self._cloud(vpc)
        cidr6 = None
        if body.get("ipv6_cidr"):
            asked = bodies.text(body, "ipv6_cidr")
            cidr6 = vpcs.next_block6(cloud, vpc) if asked == _NEXT else vpcs.parse_block6(asked)
        subnet = subnets.create(cloud, vpc, bodies.text(body, "cidr"), bodies.text(body, "zone"), cidr6)
        _tag(cloud, subnet.id, body)
        return {
            "id": subnet.id,
            "gateway": str(subnet.gateway),
            "free": subnet.free,
            "ipv6_cidr": str(subnet.cidr6 or ""),
        }

    async def _add_group(self, request: web.Request) -> Body:
        body = await bodies.read(request)
        cloud = self._cloud(bodies.text(body, "vpc"))
        vpc = vpcs.require(cloud, bodies.text(body, "vpc"))
        name = bodies.text(body, "name")
        group = security_groups.create(cloud, vpc.id, name, str(body.get("description") or name))
        _tag(cloud, group.id, body)
        return {"id": group.id}

    async def _add_route_table(self, request: web.Request) -> Body:
        body = await bodies.read(request)
        cloud = self._cloud(bodies.text(body, "vpc"))
        vpc = vpcs.require(cloud, bodies.text(body, "vpc"))
        table = routes.create(cloud, vpc.id, bodies.texts(body, "subnets"), str(body.get("default") or ""))
        _tag(cloud, table.id, body)
        return {"id": table.id, "default": table.default}

    async def _set_route_table(self, request: web.Request) -> Body:
        id_ = request.match_info["id"]
        body = await bodies.read(request)
        table = routes.set_way_out(self._cloud(id_), id_, str(body.get("default") or ""))
        return {"id": table.id, "default": table.default}

    async def _set_interface(self, request: web.Request) -> Body:
        """What only an AWS service may do: an interface's type, and that the service manages it."""
        cloud = self._cloud(request.match_info["id"])
        body = await bodies.read(request)
        eni = interfaces.require(cloud, request.match_info["id"])
        managed = bool(body.get("requester_managed", eni.requester_managed))
        changed = replace(eni, type=str(body.get("type") or eni.type), requester_managed=managed)
        cloud.interfaces.put(eni.id, changed, cloud.now())
        return {"id": eni.id, "type": changed.type, "requester_managed": managed}

    async def _add_instance(self, request: web.Request) -> Body:
        body = await bodies.read(request)
        account = self._accounts.owning(bodies.text(body, "subnet"))
        cloud = account.cloud
        role = None
        if credentials := bodies.mapping(body, "credentials"):
            role = instances.Role(
                access_key=bodies.text(credentials, "access_key"), secret=bodies.text(credentials, "secret")
            )
        instance = instances.run(
            cloud,
            bodies.text(body, "type"),
            bodies.text(body, "subnet"),
            netns=str(body.get("netns") or ""),
            role=role,
            secondary_count=int(bodies.number(body, "secondary_count", 0)),
            ipv6_count=int(bodies.number(body, "ipv6_count", 0)),
        )
        _tag(cloud, instance.id, body)
        (eni,) = cloud.interfaces_of(instance.id)
        if not await account.fabric.plug(eni.id):
            error = account.fabric.errors[-1]["error"]
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
        account = self._accounts.owning(request.match_info["id"])
        gone = instances.terminate(account.cloud, request.match_info["id"])
        for interface in gone:
            await account.fabric.unplug(interface)
        kept = [id_ for id_ in gone if account.cloud.interfaces.get(id_) is not None]
        return {"deleted": [id_ for id_ in gone if id_ not in kept], "available": kept}

    async def _set_state(self, request: web.Request) -> Body:
        wanted = bodies.text(await bodies.read(request), "state")
        if wanted not in {"running", "stopped"}:
            raise Refused("InvalidParameterValue", f"state must be running or stopped, found {wanted!r}")
        id_ = request.match_info["id"]
        changed = instances.set_state(self._cloud(id_), id_, instances.InstanceState(wanted))
        return {"state": changed.state.value}

    def _cloud(self, id_: str) -> Cloud:
        return self._accounts.owning(id_).cloud


def _tag(cloud: Cloud, resource: str, body: Body) -> None:
    if wanted := bodies.mapping(body, "tags"):
        tags.create(cloud, [resource], wanted)
