"""What a reflector has seen: objects by namespace and name, and by whatever its users ask for. Pure."""

from collections.abc import Callable, Collection, Hashable, Iterable, KeysView
from typing import Generic

from underlay.core.kube.resources import T

Key = tuple[str, str]


def key_of(namespace: str | None, name: str) -> Key:
    """Cluster-scoped objects have the namespace ``""``."""
    return (namespace or "", name)


class Store(Generic[T]):
    """Objects of one kind. Only the reflector writes; readers get the objects themselves, which are frozen."""

    def __init__(self) -> None:
        self._objects: dict[Key, T] = {}
        self._indexes: dict[str, _Index[T]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, namespace: str | None, name: str) -> T | None:
        """The object, or None when it was not there when the server was last heard."""
        return self._objects.get(key_of(namespace, name))

    def items(self) -> Collection[T]:
        """All objects, in no order. A view: copy it before awaiting anything."""
        return self._objects.values()

    def keys(self) -> KeysView[Key]:
        """All keys ``(namespace, name)``. A view."""
        return self._objects.keys()

    def index(self, name: str, keys: Callable[[T], Iterable[Hashable]]) -> None:
        """Let ``by(name, key)`` find the objects for which ``keys`` gives ``key``, among others. One text counts as
        one key.
        """
        index = self._indexes[name] = _Index(keys)
        for key, obj in self._objects.items():
            index.add(key, obj)

    def by(self, name: str, key: Hashable) -> Collection[T]:
        """Objects that have ``key`` in index ``name``, in no order; a view. ``KeyError`` without such an index."""
        return self._indexes[name].found(key)

    def put(self, obj: T) -> T | None:
        """Add or overwrite; returns what was there."""
        key = key_of(obj.metadata.namespace, obj.metadata.name)
        old = self.remove(*key)
        self._objects[key] = obj
        for index in self._indexes.values():
            index.add(key, obj)
        return old

    def remove(self, namespace: str | None, name: str) -> T | None:
        """Forget; returns what was there."""
        key = key_of(namespace, name)
        old = self._objects.pop(key, None)
        if old is not None:
            for index in self._indexes.values():
                index.discard(key, old)
        return old


class _Index(Generic[T]):
    def __init__(self, keys: Callable[[T], Iterable[Hashable]]) -> None:
        self._keys = keys
        self._objects: dict[Hashable, dict[Key, T]] = {}

    def add(self, key: Key, obj: T) -> None:
        for value in self._values(obj):
            self._objects.setdefault(value, {})[key] = obj

    def discard(self, key: Key, obj: T) -> None:
        for value in self._values(obj):
            same = self._objects[value]
            del same[key]
            if not same:
                del self._objects[value]

    def found(self, value: Hashable) -> Collection[T]:
        return self._objects.get(value, {}).values()

    def _values(self, obj: T) -> Iterable[Hashable]:
        values = self._keys(obj)
        return (values,) if isinstance(values, str) else frozenset(values)
