"""Follows all pools in the API server's own order and says when an address is in two, or two pods have one.

A watch tells every version of every object, so nothing between two looks is missed. Independent of the product: raw
JSON over the API.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from support.agreement import INTERFACE, SPIDERPOOL, Json, allocations
from support.ranges import NONE, Ranges, overlap, ranges, text
from world.api import Api

_PATH = f"{SPIDERPOOL}/spiderippools"
_GONE = 410


class Vigil:
    """``seen`` versions of pools were looked at; ``problems`` is what must never be.

    ``dead``: interfaces that were taken away behind the operator's back. What they had may go to others before anybody
    hears of it.
    """

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self._listed: dict[str, Ranges] = {}
        self._holders: dict[str, dict[str, str]] = {}
        self._interfaces: dict[str, str] = {}
        self.dead: set[str] = set()
        self.seen = 0
        self.problems: list[str] = []
        self.watching = asyncio.Event()

    def bury(self, interfaces: Iterable[Json], machine: str) -> None:
        """That machine ends now; ``interfaces`` as the simulator's table has them."""
        attached = (row for row in interfaces if row["attachment"] and row["attachment"]["instance"] == machine)
        self.dead |= {row["id"] for row in attached}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            version = await self._list()
            self.watching.set()
            while version:
                try:
                    version = await self._watch(version)
                except httpx2.HTTPError:
                    await asyncio.sleep(0.2)

    async def _list(self) -> str:
        answer = await self._http.get(_PATH)
        answer.raise_for_status()
        body = answer.json()
        self._listed, self._holders, self._interfaces = {}, {}, {}
        for pool in body["items"]:
            self._look(pool)
        return str(body["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> str:
        """The version reached; empty: too old, list again."""
        asked = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": "240"}
        async with self._http.stream("GET", _PATH, params=asked, timeout=300) as answer:
            if answer.status_code == _GONE:
                return ""
            async for line in answer.aiter_lines():
                event: dict[str, Any] = json.loads(line)
                if event["type"] == "ERROR":
                    return ""
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    self._drop(event["object"]["metadata"]["name"])
                elif event["type"] != "BOOKMARK":
                    self._look(event["object"])
        return version

    def _look(self, pool: Json) -> None:
        name = pool["metadata"]["name"]
        interface = pool["metadata"].get("annotations", {}).get(INTERFACE, "")
        mine = ranges(pool["spec"].get("ips") or [])
        held = {address: entry["podUid"] for address, entry in allocations(pool).items()}
        self.seen += 1
        for other, its in self._listed.items():
            if other == name or {self._interfaces[other], interface} & self.dead:
                continue
            if mine != self._listed.get(name, NONE) and overlap(mine, its):
                self.problems.append(f"{name} ({text(mine)}) and {other} ({text(its)}) list one address")
            for address in held.keys() & self._holders[other].keys():
                if held[address] != self._holders[other][address]:
                    self.problems.append(f"{address} is held in {name} and in {other} by different pods")
        self._listed[name], self._holders[name], self._interfaces[name] = mine, held, interface

    def _drop(self, name: str) -> None:
        for known in (self._listed, self._holders, self._interfaces):
            known.pop(name, None)


@asynccontextmanager
async def keeping_vigil(api: Api) -> AsyncIterator[Vigil]:
    """While the block runs; at its end nothing may have been found."""
    vigil = Vigil(api.http)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(vigil.run())
        await vigil.watching.wait()
        try:
            yield vigil
        finally:
            task.cancel()
    assert vigil.problems == []
