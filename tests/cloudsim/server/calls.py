"""How often each operation was called and what came of it."""

from collections import Counter, defaultdict
from collections.abc import Mapping

OK = "OK"
LOST = "lost_reply"
HUNG = "hang"


class Calls:
    """Per operation and EC2 code; ``OK``, ``lost_reply`` and ``hang`` besides."""

    def __init__(self) -> None:
        self._count: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def count(self, operation: str, code: str) -> None:
        self._count[operation][code] += 1

    def clear(self) -> None:
        self._count.clear()

    def table(self) -> Mapping[str, Mapping[str, int]]:
        return {operation: dict(codes) for operation, codes in sorted(self._count.items())}
