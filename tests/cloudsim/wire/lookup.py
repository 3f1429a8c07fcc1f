"""What all describes share: records by id as they were at a moment, their tags, and a truth value as text."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from cloudsim.model.cloud import Cloud
from cloudsim.model.errors import not_found
from cloudsim.model.table import Table
from cloudsim.model.tags import Tags
from cloudsim.wire.xml import Node

T = TypeVar("T")
Body = Mapping[str, Node]


class Identified(Protocol):
    @property
    def id(self) -> str: ...


def named(table: Table[T], moment: float, ids: tuple[str, ...], code: str, label: str) -> Iterable[T]:
    """All, or those with ``ids``: one that is not there fails the whole request."""
    if not ids:
        return table.as_of(moment).values()
    found = {id_: table.at(id_, moment) for id_ in ids}
    missing = [id_ for id_, record in found.items() if record is None]
    if missing:
        raise not_found(code, label, missing)
    return [record for record in found.values() if record is not None]


def tags_at(cloud: Cloud, moment: float) -> Callable[[Identified], Tags]:
    return lambda record: cloud.tags.at(record.id, moment) or {}


def truth(value: bool) -> str:  # noqa: FBT001 a value, not a switch
    return "true" if value else "false"
