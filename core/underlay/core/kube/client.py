"""The API's verbs over our Structs: ``get list watch create replace patch apply delete``.

Kinds are arguments: ``await client.get(Node, "a")`` returns a ``Node``. Fields a Struct does not have are ignored when
reading; therefore only kinds whose Struct is whole (our own) can be replaced, built-in kinds are merge-patched or
applied. A field that is None is left out of what is created, replaced or applied, and deletes the field in a merge
patch. No verb retries: what to do next is the caller's decision (see ``core.kube.errors``).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self
from urllib.parse import quote

import httpx2
import msgspec
from lightkube.core.exceptions import ConfigError

from underlay.core.kube import errors
from underlay.core.kube.codec import Body, Bookmark, Codec, ObjectEvent, WatchEvent, builtins, render
from underlay.core.kube.connection import http_client, time_bounds
from underlay.core.kube.resources import KubeObject, Resource, T, resource_of

__all__ = ["Bookmark", "KubeClient", "Listing", "ObjectEvent", "WatchEvent"]


# The library looks at each connection of its pool for each request, so that many cost more than they give; with so few
# none is closed for being one too many, and opened anew by the next.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """All objects selected, as of ``resource_version``: a watch from there misses nothing.

    ``unreadable`` names objects ``(namespace, name)`` that do not have the kind's shape, with what is wrong.
    """

    items: list[T]
    resource_version: str
    unreadable: Mapping[tuple[str, str], str]


class KubeClient:
    """One API server, one connection pool. Each call but ``watch`` ends within ``timeout_seconds``, the wait for one of
    sixteen turns included.
    """

    def __init__(self, http: httpx2.AsyncClient, *, timeout_seconds: float = 10.0) -> None:
        self._http = http
        self._timeout = timeout_seconds
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._codecs: dict[type[KubeObject], Codec[Any]] = {}

    @classmethod
    def connect(cls, kubeconfig: Path | None, *, user_agent: str, timeout_seconds: float = 10.0) -> Self:
        """A client for ``kubeconfig``, or the surroundings' when None. No connection is made yet.

        ``user_agent`` up to its first slash is also the field manager of writes that name none.
        Raises ``InvalidInput``.
        """
        http = http_client(kubeconfig, user_agent=user_agent, timeout_seconds=timeout_seconds)
        return cls(http, timeout_seconds=timeout_seconds)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def get(self, kind: type[T], name: str, namespace: str | None = None) -> T:
        """The object as of now (a consistent read). Raises ``NotFound``."""
        return self._codec(kind).one(await self._call("GET", _path(resource_of(kind), namespace, name)))

    async def list(
        self,
        kind: type[T],
        *,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
        page: int = 500,
        keep: Callable[[T], T] | None = None,
    ) -> Listing[T]:
        """Everything selected, as of one version, read in pages of ``page``. ``namespace`` None: all namespaces.

        ``labels`` and ``fields`` are selectors in the API's own syntax (``a=b,c!=d``). ``keep`` makes of each object
        what is kept of it, page by page, so that there are never more whole ones than a page has.
        When the server forgets the version between two pages, it is read again in one piece.
        """
        try:
            return await self._pages(kind, namespace, _selection(labels, fields), page, keep)
        except errors.Gone:
            return await self._pages(kind, namespace, _selection(labels, fields), 0, keep)

    async def watch(
        self,
        kind: type[T],
        *,
        resource_version: str,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
        timeout_seconds: int = 300,
        silence_seconds: float = 30.0,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """What happens after ``resource_version``; first comes a bookmark of that version: the server has accepted.

        Ends normally after ``timeout_seconds``, when the server has had enough. One that says nothing for
        ``silence_seconds`` longer is taken for dead. Leave it through ``contextlib.aclosing``, or the connection stays
        open until it is collected.
        Raises ``Gone`` (list again), ``Unavailable``, ``Unreadable``.
        """
        codec = self._codec(kind)
        params = _selection(labels, fields) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
        }
        request = self._http.build_request(
            "GET",
            _path(resource_of(kind), namespace),
            params=params,
            timeout=time_bounds(self._timeout, read_seconds=timeout_seconds + silence_seconds),
        )
        async with _translated("GET", request.url.path):
            async with asyncio.timeout(self._timeout):
                response = await self._http.send(request, stream=True)
            try:
                if response.status_code >= httpx2.codes.BAD_REQUEST:
                    raise errors.of_response(response.status_code, await response.aread())
                yield Bookmark(resource_version=resource_version)
                rest = b""
                async for chunk in response.aiter_raw():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield codec.event(line)
            finally:
                await response.aclose()

    async def create(self, obj: T) -> T:
        """Create ``obj``. Raises ``AlreadyExists``."""
        path = _path(resource_of(type(obj)), obj.metadata.namespace)
        return self._codec(type(obj)).one(await self._call("POST", path, render(obj)))

    async def replace(self, obj: T) -> T:
        """Write ``obj`` whole (its status only where the kind has no status subresource).

        Raises ``Conflict`` if
        ``metadata.resource_version`` is no longer the newest.

        Only for kinds of our own group: fields the Struct does not have would be lost, so others raise ``TypeError``.
        """
        return await self._replace(obj, None)

    async def replace_status(self, obj: T) -> T:
        """Write ``obj.status`` and nothing else; otherwise like ``replace``."""
        return await self._replace(obj, "status")

    async def merge_patch(
        self, kind: type[T], name: str, body: Body, *, namespace: str | None = None, subresource: str | None = None
    ) -> T:
        """JSON merge patch (RFC 7386): None deletes a field, a list replaces the whole list.

        With ``{"metadata": {"resourceVersion": …}}`` in ``body`` it is a compare-and-swap that raises ``Conflict``.
        """
        path = _path(resource_of(kind), namespace, name, subresource)
        return self._codec(kind).one(
            await self._call("PATCH", path, msgspec.json.encode(body), media="merge-patch+json")
        )

    async def apply(
        self,
        kind: type[T],
        name: str,
        body: Body,
        *,
        manager: str,
        namespace: str | None = None,
        subresource: str | None = None,
        force: bool = True,
        resource_version: str | None = None,
        uid: str | None = None,
    ) -> T:
        """Server-side apply: ``body`` is all that ``manager`` owns; what it owned before and is not there is removed.

        ``body`` has the object's top-level fields; apiVersion, kind and the name are added. With
        ``subresource="status"`` the status alone may be given. Without a subresource an absent object is created.
        ``resource_version`` and ``uid`` make it a compare-and-swap. Raises ``Conflict``; with ``force=False`` also
        when another manager owns a field.
        """
        resource = resource_of(kind)
        content = builtins(body)
        if subresource == "status" and "status" not in content:
            content = {"status": content}
        key = {"name": name, "namespace": namespace, "resourceVersion": resource_version, "uid": uid}
        content |= {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": content.get("metadata", {})
            | {field: value for field, value in key.items() if value is not None},
        }
        params = {"fieldManager": manager, "force": "true" if force else "false"}
        path = _path(resource, namespace, name, subresource)
        rendered = msgspec.json.encode(content)
        return self._codec(kind).one(await self._call("PATCH", path, rendered, media="apply-patch+yaml", params=params))

    async def delete(
        self,
        kind: type[KubeObject],
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        """Ask for deletion; finalizers may hold the object. Dependents are deleted in the background.

        Raises ``NotFound``, and ``Conflict`` when the object there has another ``uid`` or ``resource_version``.
        """
        wanted = {"uid": uid, "resourceVersion": resource_version}
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {field: value for field, value in wanted.items() if value is not None},
        }
        await self._call("DELETE", _path(resource_of(kind), namespace, name), msgspec.json.encode(options))

    async def _replace(self, obj: T, subresource: str | None) -> T:
        resource = resource_of(type(obj))
        if not resource.whole:
            raise TypeError(f"{resource.kind} is not modelled whole: merge_patch or apply it")
        path = _path(resource, obj.metadata.namespace, obj.metadata.name, subresource)
        return self._codec(type(obj)).one(await self._call("PUT", path, render(obj)))

    async def _pages(
        self,
        kind: type[T],
        namespace: str | None,
        params: dict[str, str],
        page: int,
        keep: Callable[[T], T] | None,
    ) -> Listing[T]:
        codec = self._codec(kind)
        path = _path(resource_of(kind), namespace)
        if page:
            params |= {"limit": str(page)}
        items: list[T] = []
        unreadable: dict[tuple[str, str], str] = {}
        while True:
            part = codec.page(await self._call("GET", path, params=params), unreadable)
            items += part.items or () if keep is None else map(keep, part.items or ())
            if not part.metadata.continue_:
                return Listing(items=items, resource_version=part.metadata.resource_version, unreadable=unreadable)
            params = params | {"continue": part.metadata.continue_}

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        media: str = "json",
        params: Mapping[str, str] | None = None,
    ) -> bytes:
        headers = None if body is None else {"Content-Type": f"application/{media}"}
        async with _translated(method, path), asyncio.timeout(self._timeout), self._turns:
            response = await self._http.request(method, path, content=body, params=params, headers=headers)
        if response.status_code >= httpx2.codes.BAD_REQUEST:
            retry_after = response.headers.get("Retry-After")
            raise errors.of_response(response.status_code, response.content, retry_after=retry_after)
        return response.content

    def _codec(self, kind: type[T]) -> Codec[T]:
        codec = self._codecs.get(kind)
        if codec is None:
            codec = self._codecs[kind] = Codec(kind)
        return codec


@asynccontextmanager
async def _translated(method: str, path: str) -> AsyncGenerator[None, None]:
    """What the HTTP library raises becomes ``Unavailable``."""
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        raise errors.Unavailable(0, "NoConnection", f"{method} {path}: {_say(error)}", maybe_done=False) from error
    except ConfigError as error:
        raise errors.Unavailable(0, "NoCredentials", f"{method} {path}: {error}", maybe_done=False) from error
    except (httpx2.HTTPError, TimeoutError) as error:
        raise errors.Unavailable(0, "NoAnswer", f"{method} {path}: {_say(error)}") from error


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _selection(labels: str | None, fields: str | None) -> dict[str, str]:
    wanted = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in wanted.items() if value}


def _path(resource: Resource, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
    parts = [resource.prefix]
    if resource.namespaced and namespace is not None:
        parts += ["namespaces", _segment(namespace)]
    parts.append(resource.plural)
    if name is not None:
        parts.append(_segment(name))
    if subresource is not None:
        parts.append(subresource)
    return "/".join(parts)


def _segment(name: str) -> str:
    """Names come from annotations too: what cannot be a name must not become another path."""
    if name in ("", ".", "..") or "/" in name or "%" in name:
        raise errors.Invalid(400, "BadRequest", f"{name!r} cannot be the name of an object")
    return quote(name, safe="")
