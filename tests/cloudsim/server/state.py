"""Everything one simulator process holds, handed to its handlers."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from cloudsim.clock import Clock
from cloudsim.server.accounts import Accounts
from cloudsim.server.calls import Calls
from cloudsim.server.faults import FaultScript
from cloudsim.server.keyring import Keyring
from cloudsim.server.roles import Roles


class LagMode(StrEnum):
    """``FIXED``: every read is as old as the lag. ``UNIFORM``: each has its own age, so that time seems to go back."""

    FIXED = "fixed"
    UNIFORM = "uniform"


@dataclass(slots=True, kw_only=True)
class State:
    clock: Clock
    region: str
    accounts: Accounts
    faults: FaultScript
    keyring: Keyring
    roles: Roles
    calls: Calls
    closing: asyncio.Event
    lag_seconds: float
    imds_lag_seconds: float
    lag_mode: LagMode
    lag_chance: Random

    def read_moment(self) -> float:
        """The moment that a read begun now shows."""
        return self._ago(self.lag_seconds)

    def metadata_moment(self) -> float:
        """The same for the metadata service."""
        return self._ago(self.imds_lag_seconds)

    def _ago(self, seconds: float) -> float:
        share = self.lag_chance.random() if self.lag_mode is LagMode.UNIFORM else 1.0
        return self.clock.now() - seconds * share
