"""Everything one simulator process holds, handed to its handlers."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from cloudsim.model.cloud import Cloud
from cloudsim.server.buckets import Buckets
from cloudsim.server.calls import Calls
from cloudsim.server.effects import Effects
from cloudsim.server.fabric_link import FabricLink
from cloudsim.server.faults import FaultScript
from cloudsim.server.keyring import Keyring


class LagMode(StrEnum):
    """``FIXED``: every read is as old as the lag. ``UNIFORM``: each has its own age, so that time seems to go back."""

    FIXED = "fixed"
    UNIFORM = "uniform"


@dataclass(slots=True, kw_only=True)
class State:
    cloud: Cloud
    fabric: FabricLink
    effects: Effects
    faults: FaultScript
    keyring: Keyring
    calls: Calls
    buckets: Buckets | None
    closing: asyncio.Event
    lag_seconds: float
    lag_mode: LagMode
    lag_chance: Random

    def read_moment(self) -> float:
        """The moment that a read begun now shows."""
        share = self.lag_chance.random() if self.lag_mode is LagMode.UNIFORM else 1.0
        return self.cloud.now() - self.lag_seconds * share
