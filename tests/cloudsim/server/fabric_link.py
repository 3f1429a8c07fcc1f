"""Tells the fabric what it must plug. Per interface one message at a time, always the newest truth.

The fabric gets PUT /interfaces/<id> and DELETE /interfaces/<id>. What it refuses is tried again and kept for
/_sim/table.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping

import aiohttp

from cloudsim.model import subnets
from cloudsim.model.attachments import AttachmentState
from cloudsim.model.cloud import Cloud

TRIES = 3
PAUSE_SECONDS = 0.2
TIMEOUT_SECONDS = 10.0


class FabricLink:
    """With an empty ``url`` every interface counts as plugged at once."""

    def __init__(self, cloud: Cloud, url: str, mtu: int, session: aiohttp.ClientSession) -> None:
        self.url = url.rstrip("/")
        self.errors: deque[Mapping[str, object]] = deque(maxlen=100)
        self._cloud = cloud
        self._mtu = mtu
        self._session = session
        self._plugged: set[str] = set()
        self._order: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def plug(self, interface: str) -> bool:
        """Make the link. True if it is there, or if the interface has no machine to be plugged into."""
        async with self._order[interface]:
            wanted = self._wanted(interface)
            if wanted is None:
                return True
            if not await self._put(interface, wanted):
                return False
            self._plugged.add(interface)
            return True

    async def refresh(self, interface: str) -> bool:
        """Bring a plugged interface up to date; one that is not plugged is left alone."""
        async with self._order[interface]:
            wanted = self._wanted(interface)
            if wanted is None or interface not in self._plugged:
                return True
            return await self._put(interface, wanted)

    async def unplug(self, interface: str) -> bool:
        async with self._order[interface]:
            if interface not in self._plugged:
                return True
            gone = await self._send("DELETE", interface, None)
            if gone:
                self._plugged.discard(interface)
            return gone

    async def _put(self, interface: str, body: Mapping[str, object]) -> bool:
        return await self._send("PUT", interface, body)

    def _wanted(self, interface: str) -> Mapping[str, object] | None:
        eni = self._cloud.interfaces.get(interface)
        if not self.url or eni is None or eni.attachment is None:
            return None
        machine = self._cloud.instances.get(eni.attachment.instance)
        if machine is None or not machine.netns or eni.attachment.state is AttachmentState.DETACHING:
            return None
        subnet = subnets.require(self._cloud, eni.subnet)
        return {
            "instance": machine.id,
            "netns": machine.netns,
            "device_index": eni.attachment.device_index,
            "mac": eni.mac,
            "subnet_cidr": str(subnet.cidr),
            "gateway": str(subnet.gateway),
            "addresses": list(map(str, eni.addresses)),
            "prefixes": list(map(str, eni.prefixes)),
            "subnet_cidr6": None if subnet.cidr6 is None else str(subnet.cidr6),
            "addresses6": list(map(str, eni.addresses6)),
            "prefixes6": list(map(str, eni.prefixes6)),
            "mtu": self._mtu,
        }

    async def _send(self, method: str, interface: str, body: Mapping[str, object] | None) -> bool:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        url = f"{self.url}/interfaces/{interface}"
        error = ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(PAUSE_SECONDS)
            try:
                async with self._session.request(method, url, json=body, timeout=timeout) as reply:
                    if reply.ok or (method == "DELETE" and reply.status == 404):
                        return True
                    error = f"{reply.status} {(await reply.text())[:500]}"
            except (aiohttp.ClientError, TimeoutError) as failure:
                error = f"{type(failure).__name__}: {failure}"
        self.errors.append({"at": self._cloud.now(), "interface": interface, "request": method, "error": error})
        return False
