"""SpiderEndpoint: the addresses of one pod, named and namespaced as the pod. Pure. Spiderpool's fields.

It has no spec and no status subresource: its status is written by a plain update. An ownerReference to the pod lets
Kubernetes remove it, except for owners that keep their addresses.
"""

from typing import Annotated

import msgspec

from underlay.core.api.ippool import Route
from underlay.core.api.meta import API_VERSION, ObjectMeta, wire_name


class EndpointIP(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """One interface of the pod. ``ipv4`` and ``ipv6`` carry the mask of the pool's subnet.

    ``mac`` is there only when the provider gave the address its own.
    """

    interface: str
    ipv4: str | None = None
    ipv6: str | None = None
    ipv4_pool: str | None = None
    ipv6_pool: str | None = None
    vlan: Annotated[int, msgspec.Meta(ge=0, le=4094)] = 0
    ipv4_gateway: str | None = None
    ipv6_gateway: str | None = None
    clean_gateway: bool | None = None
    routes: list[Route] | None = None
    mac: str | None = None


class EndpointCurrent(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``uid`` is the pod's: an endpoint with another one belongs to an earlier pod of the same name."""

    uid: str
    node: str
    ips: list[EndpointIP]


class SpiderEndpointStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``owner_controller_type``, ``owner_controller_name``: kind and name of the topmost controller, or of the pod."""

    current: EndpointCurrent
    owner_controller_type: str
    owner_controller_name: str


class SpiderEndpoint(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """The addresses of one pod."""

    metadata: ObjectMeta
    status: SpiderEndpointStatus | None = None
    api_version: str = API_VERSION
    kind: str = "SpiderEndpoint"
