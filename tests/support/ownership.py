"""Who has which address at every instant, told by whoever plays agents or kernels as it happens."""

import time
from collections.abc import Callable, Mapping


class Ownership:
    """``problems``: an address that was given while another pod had it, or before its cool-down had passed.

    ``owners``: address → UID of the pod. ``most`` pods had an address at once, ``given`` addresses were given in all.
    """

    def __init__(self, *, cooldown_seconds: float = 0, now: Callable[[], float] = time.monotonic) -> None:
        self._cooldown = cooldown_seconds
        self._now = now
        self._owners: dict[str, str] = {}
        self._freed: dict[str, tuple[float, str]] = {}
        self.problems: list[str] = []
        self.given = 0
        self.most = 0

    @property
    def owners(self) -> Mapping[str, str]:
        return self._owners

    def take(self, address: str, pod: str) -> None:
        """The pod with that UID has the address from now on."""
        owner = self._owners.get(address)
        if owner not in (None, pod):
            self.problems.append(f"{address} was given to {pod} while {owner} had it")
        at, before = self._freed.pop(address, (float("-inf"), pod))
        if (rested := self._now() - at) < self._cooldown and before != pod:
            self.problems.append(f"{address} of {before} was given to {pod} after {rested:.2f} s")
        self._owners[address] = pod
        self.given += owner is None
        self.most = max(self.most, len(self._owners))

    def free(self, address: str) -> None:
        """Nobody has it."""
        if (pod := self._owners.pop(address, None)) is not None:
            self._freed[address] = (self._now(), pod)
