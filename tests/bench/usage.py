"""CPU time and memory of processes, from /proc."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from controlplane.process import Process

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_MIB = 1024  # /proc says kB


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """Seconds since the start, to the kernel's tick (normally 10 ms)."""

    user: float
    system: float

    def __sub__(self, earlier: "Cpu") -> "Cpu":
        return Cpu(user=self.user - earlier.user, system=self.system - earlier.system)

    @property
    def total(self) -> float:
        return self.user + self.system


def cpu(processes: Iterable[Process]) -> Cpu:
    """What ``processes`` used together; their children are not counted."""
    user = system = 0
    for process in processes:
        # proc_pid_stat(5): fields 14 and 15, counted from field 3, the first one after the program's name
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        user += int(fields[11])
        system += int(fields[12])
    return Cpu(user=user * _TICK_SECONDS, system=system * _TICK_SECONDS)


def rss_mib(process: Process) -> float:
    """Resident memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / _MIB
