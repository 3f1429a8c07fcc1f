"""Tables that remember their recent past: a write is there at once, a read may look at an earlier moment."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Table(Generic[T]):
    """Records by id. Versions older than ``memory_seconds`` are forgotten, except the last of each record."""

    def __init__(self, memory_seconds: float) -> None:
        self._memory = memory_seconds
        self._versions: dict[str, list[tuple[float, T | None]]] = {}
        self._removed: deque[tuple[float, str]] = deque()

    def get(self, id_: str) -> T | None:
        """The truth."""
        versions = self._versions.get(id_)
        return versions[-1][1] if versions else None

    def items(self) -> Iterator[tuple[str, T]]:
        """The truth, oldest record first."""
        for id_, versions in self._versions.items():
            record = versions[-1][1]
            if record is not None:
                yield id_, record

    def values(self) -> Iterator[T]:
        return (record for _, record in self.items())

    def at(self, id_: str, moment: float) -> T | None:
        """The record as it was at ``moment``."""
        for written, record in reversed(self._versions.get(id_, ())):
            if written <= moment:
                return record
        return None

    def as_of(self, moment: float) -> Mapping[str, T]:
        """What was there at ``moment``."""
        seen = ((id_, self.at(id_, moment)) for id_ in self._versions)
        return {id_: record for id_, record in seen if record is not None}

    def put(self, id_: str, record: T, now: float) -> None:
        self._write(id_, record, now)

    def remove(self, id_: str, now: float) -> None:
        self._write(id_, None, now)
        self._removed.append((now, id_))

    def _write(self, id_: str, record: T | None, now: float) -> None:
        versions = self._versions.setdefault(id_, [])
        if versions and versions[-1][0] == now:
            versions[-1] = (now, record)
        else:
            versions.append((now, record))
        horizon = now - self._memory
        while len(versions) > 1 and versions[1][0] <= horizon:
            del versions[0]
        while self._removed and self._removed[0][0] <= horizon:
            _, gone = self._removed.popleft()
            if (old := self._versions.get(gone)) and old[-1][1] is None and old[-1][0] <= horizon:
                del self._versions[gone]
