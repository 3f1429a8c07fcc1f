"""The API server's raw paths, as a person with kubectl uses them: any kind, JSON in and out.

The product's client knows only the kinds and fields that the product reads; a world also makes Deployments and
Services, and plays the kubelet, which ends pods with grace period 0.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx2

from underlay.core.kube.connection import http_client

Json = dict[str, Any]


class ApiError(Exception):
    """The API server refused (``status``), or did not answer (0)."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(f"{status}: {text}" if status else text)


class Api:
    """One connection pool. Paths are the API's own: ``/api/v1/namespaces/default/pods``."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    @classmethod
    def connect(cls, kubeconfig: Path, *, user_agent: str) -> Self:
        return cls(http_client(kubeconfig, user_agent=user_agent, timeout_seconds=10))

    async def close(self) -> None:
        await self.http.aclose()

    async def get(self, path: str) -> Json:
        return await self._call("GET", path)

    async def items(self, path: str, *, labels: str = "") -> list[Json]:
        found: list[Json] = (await self._call("GET", path, params={"labelSelector": labels}))["items"]
        return found

    async def apply(self, manifest: Mapping[str, Any], *, namespace: str = "default", plural: str = "") -> Json:
        """Server-side apply, like ``kubectl apply --server-side``. ``plural`` where it is not the kind with an s."""
        meta = manifest["metadata"]
        where = manifest["apiVersion"]
        prefix = f"/apis/{where}" if "/" in where else f"/api/{where}"
        scope = "" if manifest["kind"] in CLUSTER_SCOPED else f"/namespaces/{meta.get('namespace', namespace)}"
        path = f"{prefix}{scope}/{plural or manifest['kind'].lower() + 's'}/{meta['name']}"
        params = {"fieldManager": "world", "force": "true"}
        return await self._call("PATCH", path, manifest, media="application/apply-patch+yaml", params=params)

    async def patch(self, path: str, body: Mapping[str, Any], *, media: str = "strategic-merge-patch+json") -> Json:
        return await self._call("PATCH", path, body, media=f"application/{media}")

    async def delete(self, path: str, body: Mapping[str, Any] | None = None) -> Json:
        return await self._call("DELETE", path, body)

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        media: str = "application/json",
        params: Mapping[str, str] | None = None,
    ) -> Json:
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": media}
        try:
            answer = await self.http.request(method, path, content=content, headers=headers, params=params)
        except httpx2.HTTPError as error:
            raise ApiError(0, f"{method} {path}: {type(error).__name__} {error}") from error
        if answer.status_code >= httpx2.codes.BAD_REQUEST:
            raise ApiError(answer.status_code, answer.text)
        found: Json = answer.json()
        return found


CLUSTER_SCOPED = frozenset({"Node", "Namespace", "SpiderNetworkProvider", "SpiderNodeNetwork", "SpiderIPPool"})
