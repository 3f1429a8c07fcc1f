"""The metadata service as an instance sees it, version 2 only: a token first, then GET with it.

Base address of an instance: /imds/<instance id>/. What it shows lags as reads do. A missing leaf is 404.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from aiohttp import web

from cloudsim.model.attachments import AttachmentState
from cloudsim.model.cloud import Cloud
from cloudsim.model.instances import Instance
from cloudsim.model.instances import Role as LastingRole
from cloudsim.model.interfaces import NetworkInterface
from cloudsim.server.roles import Role
from cloudsim.server.state import State

Leaves = Mapping[str, "Leaves | str"]

_LONGEST_TTL = 21600
_TOKEN = "simulated-metadata-token-"  # noqa: S105 not a secret
_ROLE = "node"
_LASTING_SECONDS = 6 * 3600


class Imds:
    def __init__(self, state: State) -> None:
        self._state = state
        self._issued: dict[str, str] = {}

    async def token(self, request: web.Request) -> web.Response:
        ttl = request.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not ttl.isdecimal() or not 1 <= int(ttl) <= _LONGEST_TTL:
            return web.Response(status=400, text="Bad Request")
        token = _TOKEN + request.match_info["instance"]
        return web.Response(text=token, headers={"X-aws-ec2-metadata-token-ttl-seconds": ttl})

    async def read(self, request: web.Request) -> web.Response:
        instance = request.match_info["instance"]
        if request.headers.get("X-aws-ec2-metadata-token") != _TOKEN + instance:
            return web.Response(status=401, text="Unauthorized")
        node = self._tree(instance)
        for name in request.match_info["path"].split("/"):
            if name and node is not None:
                node = node.get(name) if isinstance(node, Mapping) else None
        if node is None:
            return web.Response(status=404, text="Not Found")
        if isinstance(node, str):
            return web.Response(text=node)
        return web.Response(text="\n".join(f"{key}/" if isinstance(node[key], Mapping) else key for key in node))

    def _tree(self, id_: str) -> "Leaves | str | None":
        cloud = self._state.accounts.owning(id_).cloud
        moment = self._state.metadata_moment()
        instance = cloud.instances.as_of(moment).get(id_)
        attached = [
            eni
            for eni in cloud.interfaces.as_of(moment).values()
            if eni.attachment and eni.attachment.instance == id_ and eni.attachment.state is AttachmentState.ATTACHED
        ]
        primary = next((eni for eni in attached if eni.attachment and eni.attachment.device_index == 0), None)
        if instance is None or primary is None:
            return None
        meta: dict[str, Leaves | str] = {
            "instance-id": instance.id,
            "instance-type": instance.type,
            "local-ipv4": str(primary.primary),
            "local-hostname": f"ip-{str(primary.primary).replace('.', '-')}.ec2.internal",
            "mac": primary.mac,
            "network": {"interfaces": {"macs": {eni.mac: _interface(cloud, eni) for eni in attached}}},
            "placement": {"availability-zone": instance.zone, "region": cloud.region},
        }
        if primary.addresses6:
            meta["ipv6"] = str(primary.addresses6[0])
        if role := self._state.roles.get(instance.profile):
            meta["iam"] = {"security-credentials": {role.name: self._session(instance, role)}}
        elif instance.role is not None:
            meta["iam"] = {"security-credentials": {_ROLE: self._lasting(instance.role)}}
        document = {
            "accountId": cloud.account,
            "availabilityZone": instance.zone,
            "instanceId": instance.id,
            "instanceType": instance.type,
            "privateIp": instance.private_ip,
            "region": cloud.region,
        }
        return {
            "latest": {
                "meta-data": meta,
                "dynamic": {"instance-identity": {"document": json.dumps(document, indent=2)}},
            }
        }

    def _lasting(self, role: LastingRole) -> str:
        now = self._state.clock.now()
        return _credentials(role.access_key, role.secret, "simulated-session-token", now, now + _LASTING_SECONDS)

    def _session(self, instance: Instance, role: Role) -> str:
        """The same keys until half their time is over or they were ended."""
        now = self._state.clock.now()
        session = self._state.roles.session(self._issued.get(instance.id, ""))
        if session is None or session.role != role.arn or now > (session.issued + session.expires) / 2:
            session = self._state.roles.issue(role, instance.id, now)
            self._issued[instance.id] = session.access_key
        return _credentials(session.access_key, session.secret, session.token, session.issued, session.expires)


def _credentials(access_key: str, secret: str, token: str, issued: float, expires: float) -> str:
    return json.dumps(
        {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": access_key,
            "SecretAccessKey": secret,
            "Token": token,
            "LastUpdated": f"{datetime.fromtimestamp(issued, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "Expiration": f"{datetime.fromtimestamp(expires, UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
    )


def _interface(cloud: Cloud, eni: NetworkInterface) -> Leaves:
    subnet = cloud.subnets.get(eni.subnet)
    vpc = cloud.vpcs.get(eni.vpc)
    optional = {
        "ipv4-prefix": "\n".join(map(str, eni.prefixes)),
        "ipv6s": "\n".join(map(str, eni.addresses6)),
        "ipv6-prefix": "\n".join(map(str, eni.prefixes6)),
        "subnet-ipv6-cidr-blocks": str((subnet and subnet.cidr6) or ""),
        "vpc-ipv6-cidr-blocks": str((vpc and vpc.cidr6) or ""),
    }
    return {
        **{name: text for name, text in optional.items() if text},
        "device-number": str(eni.attachment.device_index if eni.attachment else ""),
        "interface-id": eni.id,
        "local-ipv4s": "\n".join(str(address) for address in eni.addresses),
        "mac": eni.mac,
        "network-card": str(eni.attachment.network_card if eni.attachment else ""),
        "owner-id": cloud.account,
        "security-group-ids": "\n".join(eni.groups),
        "subnet-id": eni.subnet,
        "subnet-ipv4-cidr-block": str(subnet.cidr) if subnet else "",
        "vpc-id": eni.vpc,
        "vpc-ipv4-cidr-block": str(vpc.cidr) if vpc else "",
        "vpc-ipv4-cidr-blocks": str(vpc.cidr) if vpc else "",
    }
