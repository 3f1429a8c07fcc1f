"""Control plane, simulated cloud and fabric of one run, and the removal of whatever they leave in the machine."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from cloudsim.threaded import Simulator
from controlplane import build
from controlplane.cluster import ControlPlane
from controlplane.process import Process, spawn
from support import leftovers
from support.operator_site import LAG_SECONDS, REGION
from world import node as nodes
from world import record
from world.api import Api
from world.commands import run
from world.names import Names
from world.record import Record
from world.world import LAUNCHER, MANAGEMENT, ROOT

_START_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """``kind`` is what pods' interfaces are: ipvlan, or macvlan where the kernel has no ipvlan."""

    names: Names
    record: Record
    folder: Path
    plane: ControlPlane
    management: IPv4Network
    sim: Simulator
    api: Api
    kind: str
    cni_path: Path
    cnitool: Path

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def spawn(self, name: str, command: Sequence[str]) -> Process:
        """It ends with this process at the latest."""
        return self.record.remember(spawn(command, name=name, log=self.logs / f"{name}.log", environment=os.environ))


@asynccontextmanager
async def staged(folder: Path, *, seed: int) -> AsyncIterator[Stage]:
    """All of it, gone at the end."""
    names = Names(world=f"k{os.getpid() % 10**7}")
    kept = Record(world=names.world, folder=str(folder))
    await record.remove(names)
    for made in (folder, folder / "logs"):
        made.mkdir(parents=True, exist_ok=True)
    kept.save()
    try:
        programs = await asyncio.to_thread(build.ensure)
        management = await nodes.free_network(MANAGEMENT)
        await nodes.make_bridge(names, management)
        kind = await nodes.ipvlan_or_macvlan(names)
        cni_path = folder / "cni-bin"
        await run("make", "-s", "-C", str(LAUNCHER), "install", f"CNI_BIN={cni_path}")
        plane = await asyncio.to_thread(ControlPlane.start, kept.controlplane, bind=str(management[1]))
        api = Api.connect(plane.kubeconfig, user_agent="soak-readings/1")
        try:
            await asyncio.to_thread(plane.install_crds, ROOT / "charts" / "underlay" / "crds")
            url = await _cloud(kept, folder, names, seed)
            yield Stage(
                names=names,
                record=kept,
                folder=folder,
                plane=plane,
                management=management,
                sim=Simulator(url=url),
                api=api,
                kind=kind,
                cni_path=cni_path,
                cnitool=programs["cnitool"],
            )
        finally:
            await api.close()
            leftovers.collect()
            await asyncio.to_thread(plane.stop)
    finally:
        await record.remove(names, keep_logs=True)


async def _cloud(kept: Record, folder: Path, names: Names, seed: int) -> str:
    fabric = await _server(kept, folder, "fabric", "cloudsim.fabric", "--name", names.world)
    timing = ("--attach-seconds", "0.05", "--lag-seconds", str(LAG_SECONDS), "--seed", str(seed))
    return await _server(kept, folder, "cloudsim", "cloudsim", "--region", REGION, "--fabric", fabric, *timing)


async def _server(kept: Record, folder: Path, name: str, module: str, *flags: str) -> str:
    """Its URL, from the ready file."""
    ready = folder / f"{name}.ready"
    command = [sys.executable, "-m", module, "--ready-file", str(ready), *flags]
    process = kept.remember(spawn(command, name=name, log=folder / "logs" / f"{name}.log"))
    async with asyncio.timeout(_START_SECONDS):
        while not ready.exists():
            assert process.alive(), process.last_words()
            await asyncio.sleep(0.05)
    return str(json.loads(ready.read_text())["url"])
