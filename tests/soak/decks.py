"""For each operation a shuffled deck of faults, one waiting at the simulator at a time; struck ones are counted."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random

from cloudsim.threaded import Simulator

_LOOK_SECONDS = 0.15
_GAP = (2, 5)
"""The n-th next call is struck: never so many that the breaker must take the operation for broken."""
_RARE_GAP = (1, 2)
_RARE = frozenset(
    {
        "CreateSubnetCidrReservation",
        "CreateTags",
        "DeleteSubnetCidrReservation",
        "DescribeInstanceTypes",
        "UnassignIpv6Addresses",
    }
)
"""Called seldom, DescribeInstanceTypes once for each type by each operator."""

ANY: Mapping[str, Mapping[str, object]] = {
    "Throttled": {"kind": "error", "code": "RequestLimitExceeded"},
    "Busy": {"kind": "error", "code": "IncorrectState"},
    "Unavailable": {"kind": "error", "code": "ServiceUnavailable"},
    "NotFound": {"kind": "error", "code": "InvalidNetworkInterfaceID.NotFound"},
    "Denied": {"kind": "error", "code": "UnauthorizedOperation"},
    "Credentials": {"kind": "error", "code": "AuthFailure", "message": "could not validate the provided credentials"},
    "Rejected": {"kind": "error", "code": "InvalidParameterCombination"},
    "ServerError": {"kind": "error", "code": "InternalError"},
    "LostReply": {"kind": "lost_reply"},
    "Hang": {"kind": "hang"},
    "Delay": {"kind": "delay", "seconds": 0.4},
}
"""What may happen to every operation."""
READS: Mapping[str, Mapping[str, object]] = {"Partial": {"kind": "partial"}}
ALLOCATING: Mapping[str, Mapping[str, object]] = {
    "Exhausted": {"kind": "error", "code": "InsufficientFreeAddressesInSubnet"},
    "NoPrefix": {"kind": "error", "code": "InsufficientCidrBlocks"},
    "AddressLimit": {"kind": "error", "code": "PrivateIpAddressLimitExceeded"},
}
PARTICULAR: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "AttachNetworkInterface": {"InstanceLimit": {"kind": "error", "code": "AttachmentLimitExceeded"}},
    "CreateNetworkInterface": {"AccountLimit": {"kind": "error", "code": "NetworkInterfaceLimitExceeded"}},
}


def faults_of(operation: str) -> Mapping[str, Mapping[str, object]]:
    """Class → fault: all that EC2 could do to the operation."""
    found = {**ANY, **PARTICULAR.get(operation, {})}
    if operation.startswith(("Describe", "Get")):
        return {**found, **READS}
    allocates = operation.startswith("Assign") or operation == "CreateNetworkInterface"
    return {**found, **ALLOCATING} if allocates else found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    operation: str
    fault: str


class Decks:
    """``struck`` counts (operation, class) of faults that struck."""

    def __init__(self, sim: Simulator, chance: Random, operations: Iterable[str]) -> None:
        self._sim = sim
        # One stream of chance for each, so that one operation's calls do not shift another's faults.
        self._chance = {operation: Random(chance.random()) for operation in sorted(operations)}
        self._decks: dict[str, list[str]] = {operation: [] for operation in self._chance}
        self._waiting: dict[str, _Waiting] = {}
        self.struck: Counter[tuple[str, str]] = Counter()

    async def run(self) -> None:
        """Deals until cancelled."""
        while True:
            await asyncio.to_thread(self._deal)
            await asyncio.sleep(_LOOK_SECONDS)

    def clear(self) -> None:
        """Nothing strikes any more; what still waits has not struck."""
        self._count()
        self._sim.control("DELETE", "/faults")
        self._waiting.clear()

    @property
    def missing(self) -> list[str]:
        """Classes that have not struck an operation yet."""
        wanted = {(operation, fault) for operation in self._decks for fault in faults_of(operation)}
        return [f"{operation} {fault}" for operation, fault in sorted(wanted - self.struck.keys())]

    def _deal(self) -> None:
        self._count()
        for operation, chance in self._chance.items():
            if operation in self._waiting:
                continue
            deck = self._decks[operation]
            if not deck:
                deck += chance.sample(sorted(faults_of(operation)), k=len(faults_of(operation)))
            fault = deck.pop()
            gap = _RARE_GAP if operation in _RARE else _GAP
            body = {"operation": operation, "nth": chance.randint(*gap), **faults_of(operation)[fault]}
            self._sim.control("POST", "/faults", body)
            self._waiting[operation] = _Waiting(operation=operation, fault=fault)

    def _count(self) -> None:
        pending = {fault["operation"] for fault in self._sim.control("GET", "/faults")["faults"]}
        for operation in [operation for operation in self._waiting if operation not in pending]:
            self.struck[operation, self._waiting.pop(operation).fault] += 1
