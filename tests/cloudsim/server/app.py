"""Wiring: settings in, a running simulator out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import aiohttp
from aiohttp import web

from cloudsim.clock import ManualClock, RealClock
from cloudsim.model.cloud import Cloud, Names
from cloudsim.server.accounts import Account, Accounts
from cloudsim.server.buckets import Buckets
from cloudsim.server.calls import Calls
from cloudsim.server.control import Control
from cloudsim.server.ec2 import Ec2
from cloudsim.server.effects import Effects
from cloudsim.server.fabric_link import FabricLink
from cloudsim.server.faults import FaultScript
from cloudsim.server.identities import Identities
from cloudsim.server.imds import Imds
from cloudsim.server.keyring import Keyring
from cloudsim.server.resources import Resources
from cloudsim.server.roles import Roles
from cloudsim.server.state import LagMode, State
from cloudsim.server.sts import Sts

MEMORY_SECONDS = 60.0
"""How far back reads may look; more than any sensible lag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``time_scale`` speeds up the refilling of the token buckets and nothing else.

    ``imds_lag_seconds`` None: the metadata service lags as reads do.
    """

    host: str = "127.0.0.1"
    port: int = 0
    region: str = "us-east-1"
    fabric: str = ""
    mtu: int = 1500
    attach_seconds: float = 0.5
    lag_seconds: float = 0.3
    imds_lag_seconds: float | None = None
    lag_mode: LagMode = LagMode.FIXED
    buckets: bool = False
    time_scale: float = 1.0
    manual_clock: bool = False
    seed: int = 0


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[str]:
    """Serve until the block ends. Yields the address, ``http://host:port``."""
    async with aiohttp.ClientSession() as session:
        state = _state(settings, session)
        # A caller that gives up does not stop what it asked for, as at EC2: handlers are not cancelled.
        runner = web.AppRunner(_application(state), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, settings.host, settings.port)
            await site.start()
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}"
        finally:
            state.closing.set()
            for account in state.accounts:
                await account.effects.close()
            await runner.cleanup()


def _state(settings: Settings, session: aiohttp.ClientSession) -> State:
    clock = ManualClock() if settings.manual_clock else RealClock()
    imds_lag_seconds = settings.lag_seconds if settings.imds_lag_seconds is None else settings.imds_lag_seconds
    names = Names(settings.seed)
    roles = Roles(settings.seed)

    def account(number: str) -> Account:
        cloud = Cloud(
            clock,
            region=settings.region,
            memory_seconds=MEMORY_SECONDS + max(settings.lag_seconds, imds_lag_seconds),
            account=number,
            names=names,
        )
        fabric = FabricLink(cloud, settings.fabric, settings.mtu, session)
        return Account(
            cloud=cloud,
            fabric=fabric,
            effects=Effects(cloud, fabric, settings.attach_seconds),
            buckets=Buckets(settings.time_scale) if settings.buckets else None,
        )

    return State(
        clock=clock,
        region=settings.region,
        accounts=Accounts(account),
        faults=FaultScript(),
        keyring=Keyring(roles),
        roles=roles,
        calls=Calls(),
        closing=asyncio.Event(),
        lag_seconds=settings.lag_seconds,
        imds_lag_seconds=imds_lag_seconds,
        lag_mode=settings.lag_mode,
        lag_chance=Random(settings.seed + 1),
    )


def _application(state: State) -> web.Application:
    app = web.Application()
    imds, sts = Imds(state), Sts(state)
    app.add_routes(
        [
            web.post("/", Ec2(state).handle),
            web.post("/sts", sts.handle),
            web.post("/sts/", sts.handle),
            web.get("/pod-identity/{role}", sts.pod_identity),
            web.put("/imds/{instance}/latest/api/token", imds.token),
            web.get("/imds/{instance}/{path:.*}", imds.read),
            *Control(state).routes(),
            *Resources(state).routes(),
            *Identities(state).routes(),
        ]
    )
    return app
