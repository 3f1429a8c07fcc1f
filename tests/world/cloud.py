"""The simulator's control interface, and the fabric's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A machine at the simulated cloud and its first interface."""

    id: str
    private_ip: str
    eni: str
    mac: str
    provider_id: str
    zone: str


class Http:
    """JSON over HTTP to one of the world's own servers. ``CloudRefused`` carries the answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx2.AsyncClient(base_url=url, timeout=20, trust_env=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        answer = await self._http.request(method, path, json=body)
        if answer.status_code >= httpx2.codes.BAD_REQUEST:
            raise CloudRefused(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None


class CloudRefused(Exception):
    """Simulator or fabric answered with an error."""


class Simulator(Http):
    """The cloud as its owner sees it: machines are bought here, and here is the truth about interfaces."""

    async def network(self, *, cidr: str, zone: str) -> str:
        """A VPC with one subnet that fills it; the subnet's id."""
        vpc = await self.call("POST", "/_sim/vpcs", {"cidr": cidr})
        subnet = await self.call("POST", "/_sim/subnets", {"vpc": vpc["id"], "cidr": cidr, "zone": zone})
        return str(subnet["id"])

    async def instance(self, *, type_: str, subnet: str, netns: str) -> Instance:
        """A running machine whose interfaces appear in ``netns`` (a path)."""
        made = await self.call("POST", "/_sim/instances", {"type": type_, "subnet": subnet, "netns": netns})
        return Instance(
            id=made["id"],
            private_ip=made["private_ip"],
            eni=made["eni"],
            mac=made["mac"],
            provider_id=made["providerID"],
            zone=made["zone"],
        )

    async def credentials(self, *, access_key: str, secret: str) -> None:
        """From now on this key is known."""
        await self.call("POST", "/_sim/credentials", {"access_key": access_key, "secret": secret})

    async def interfaces(self) -> list[Json]:
        """Every interface with its attachment, primary and secondary addresses, as the cloud's owner knows it."""
        found: list[Json] = (await self.call("GET", "/_sim/table"))["interfaces"]
        return found


class Fabric(Http):
    """The simulated VPC."""

    async def drops(self) -> dict[str, dict[str, int]]:
        """Frames dropped per interface and reason."""
        found: dict[str, dict[str, int]] = await self.call("GET", "/drops")
        return found

    async def interfaces(self) -> dict[str, Json]:
        """What is plugged."""
        found: dict[str, Json] = await self.call("GET", "/interfaces")
        return found

    async def patch_macs(self, macs: Mapping[str, str | None]) -> None:
        """MACs of addresses whose pods have one of their own (macvlan); None: no longer."""
        await self.call("PATCH", "/macs", macs)
