"""Plain requests to the API server about our kinds: nothing of the product's client between a test and the wire."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import msgspec

from controlplane import access
from controlplane.cluster import ControlPlane
from underlay.core.api.kinds import definitions
from underlay.core.api.meta import API_VERSION

Json = dict[str, object]

KINDS = {definition.kind: definition for definition in definitions()}

MINIMAL: dict[str, Json] = {
    "SpiderIPPool": {"spec": {"subnet": "10.0.0.0/24"}},
    "SpiderSubnet": {"spec": {"subnet": "10.0.0.0/24"}},
    "SpiderEndpoint": {
        "status": {
            "current": {"uid": "u", "node": "n", "ips": [{"interface": "eth0"}]},
            "ownerControllerType": "Pod",
            "ownerControllerName": "a",
        }
    },
    "SpiderReservedIP": {"spec": {}},
    "SpiderMultusConfig": {
        "spec": {
            "macvlan": {"master": ["eth0"], "ippools": {}},
            "vlan": {"master": ["eth0"]},
            "sriov": {"resourceName": "a/b"},
            "ibsriov": {"resourceName": "a/b"},
            "coordinator": {},
        }
    },
    "SpiderCoordinator": {"spec": {}},
    "SpiderNetworkProvider": {"spec": {"driver": "static"}},
    "SpiderNodeNetwork": {"spec": {"provider": "p", "nodeUID": "u", "providerID": "aws:///a/i-1"}},
    "SpiderIPBlock": {"spec": {"window": "10.0.0.0/26"}, "status": {}},
}
"""The shortest body of each kind that is accepted, without metadata."""


class RawApi:
    """The administrator's requests; namespaced kinds go to ``default``."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def create(self, kind: str, name: str, body: Json) -> httpx2.Response:
        """With strict validation, as kubectl does by default."""
        document = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, **body}
        return self._http.post(_path(kind), content=msgspec.json.encode(document), params={"fieldValidation": "Strict"})

    def replace_status(self, kind: str, name: str, document: bytes) -> httpx2.Response:
        return self._http.put(f"{_path(kind)}/{name}/status", content=document)

    def read(self, kind: str, name: str) -> bytes:
        return self._http.get(f"{_path(kind)}/{name}").raise_for_status().content

    def apply(self, kind: str, name: str, body: Json, *, manager: str, status: bool = False) -> bytes:
        """A server-side apply; the object as it is afterwards."""
        document = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, **body}
        answer = self._http.patch(
            f"{_path(kind)}/{name}{'/status' if status else ''}",
            content=msgspec.json.encode(document),
            params={"fieldManager": manager, "force": "true"},
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        return answer.raise_for_status().content


@contextmanager
def connect(plane: ControlPlane) -> Iterator[RawApi]:
    """One connection, checked against the API server's certificate."""
    with httpx2.Client(
        base_url=plane.url,
        verify=ssl.create_default_context(cadata=plane.certificates),
        headers={"Authorization": f"Bearer {plane.token_of(access.ADMIN)}", "Content-Type": "application/json"},
        trust_env=False,
        timeout=30,
    ) as http:
        yield RawApi(http)


def _path(kind: str) -> str:
    definition = KINDS[kind]
    namespace = "/namespaces/default" if definition.scope == "Namespaced" else ""
    return f"/apis/{API_VERSION}{namespace}/{definition.plural}"
