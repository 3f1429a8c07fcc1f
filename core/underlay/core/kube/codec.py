"""Bytes of the API server ↔ our Structs. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec

from underlay.core.kube import errors
from underlay.core.kube.resources import KubeObject, T

I = TypeVar("I")  # noqa: E741 - an item
Body = msgspec.Struct | Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEvent(Generic[T]):
    """``object`` as it is now; for DELETED, as it last was."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: T
    resource_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """Everything up to ``resource_version`` has been seen."""

    resource_version: str
    type: Literal["BOOKMARK"] = "BOOKMARK"
    object: None = None


WatchEvent = ObjectEvent[T] | Bookmark


class _ListMeta(msgspec.Struct, frozen=True, rename={"continue_": "continue", "resource_version": "resourceVersion"}):
    resource_version: str = ""
    continue_: str = ""


class Page(msgspec.Struct, Generic[I], frozen=True):
    """A list, or a page of one."""

    metadata: _ListMeta
    items: list[I] | None = None


class _Line(msgspec.Struct, frozen=True):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


class _Key(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class _Keyed(msgspec.Struct, frozen=True):
    metadata: _Key = _Key()


class Codec(Generic[T]):
    """Decoders of one kind; making one costs more than many decodings."""

    def __init__(self, kind: type[T]) -> None:
        self._one = msgspec.json.Decoder(kind)
        self._page: msgspec.json.Decoder[Page[T]] = msgspec.json.Decoder(Page[kind])  # type: ignore[valid-type]
        self._raw_page = msgspec.json.Decoder(Page[msgspec.Raw])
        self._line = msgspec.json.Decoder(_Line)
        self._keyed = msgspec.json.Decoder(_Keyed)

    def one(self, content: bytes | msgspec.Raw) -> T:
        """An object. Raises ``Unreadable``."""
        try:
            return self._one.decode(content)
        except msgspec.DecodeError as error:
            raise errors.Unreadable(200, "Unreadable", f"{error} in {bytes(content)[:200]!r}") from error

    def page(self, content: bytes, unreadable: dict[tuple[str, str], str]) -> Page[T]:
        """A page; objects of another shape are left out and noted in ``unreadable`` by namespace and name."""
        try:
            return self._page.decode(content)
        except msgspec.ValidationError:
            pass  # one object of another shape must not hide all others: read them one by one
        except msgspec.DecodeError as error:
            raise errors.Unreadable(200, "Unreadable", f"{error} in {content[:200]!r}") from error
        raw = self._raw_page.decode(content)
        items: list[T] = []
        for item in raw.items or ():
            try:
                items.append(self._one.decode(item))
            except msgspec.ValidationError as error:
                key = self._keyed.decode(item).metadata
                unreadable[key.namespace, key.name] = str(error)
        return Page(raw.metadata, items)

    def event(self, content: bytes) -> WatchEvent[T]:
        """One line of a watch. Raises what an ERROR line says, ``Unreadable``, or ``Unavailable`` for half a line."""
        try:
            line = self._line.decode(content)
            if line.type == "ERROR":
                status = msgspec.json.decode(line.object, type=errors.Status)
                raise errors.of_status(status.code, status)
            if line.type == "BOOKMARK":  # has the kind's name and a version, but none of the kind's fields
                version = self._keyed.decode(line.object).metadata.resource_version
                return Bookmark(resource_version=version)
        except msgspec.DecodeError as error:
            raise errors.Unavailable(200, "BrokenWatch", f"{error} in {content[:200]!r}") from error
        obj = self.one(line.object)
        return ObjectEvent(type=line.type, object=obj, resource_version=obj.metadata.resource_version or "")


def render(obj: KubeObject) -> bytes:
    """JSON without the fields that are None."""
    rendered = msgspec.json.encode(obj)
    return rendered if b":null" not in rendered else msgspec.json.encode(_without_none(msgspec.json.decode(rendered)))


def builtins(body: Body) -> dict[str, Any]:
    """Plain JSON values without the fields that are None."""
    content = _without_none(msgspec.to_builtins(body))
    if not isinstance(content, dict):
        raise TypeError(f"{type(body).__name__} is not rendered as an object")
    return content


def _without_none(value: object) -> Any:  # noqa: ANN401 - plain JSON values of any shape
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value
