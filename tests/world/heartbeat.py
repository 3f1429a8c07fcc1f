"""A node's registration and its sign of life."""

import asyncio
from datetime import UTC, datetime

import structlog

from world import statuses
from world.api import Api, ApiError
from world.node import NodeSpec

_EVERY_SECONDS = 10.0
_RETRY_SECONDS = 1.0


async def beat(node: NodeSpec, api: Api, *, pods: int) -> None:
    """Registers the node with room for ``pods``, then renews its Lease. Never returns."""
    log = structlog.get_logger()
    registered = False
    while True:
        try:
            if not registered:
                body = statuses.node(node, pods=pods, now=now())
                await api.apply({key: body[key] for key in body if key != "status"})
                await api.patch(f"/api/v1/nodes/{node.name}/status", {"status": body["status"]})
                registered = True
            await api.apply(statuses.lease(node.name, now=now(micro=True)), namespace="kube-node-lease")
        except ApiError as error:
            log.warning("heartbeat.failed", node=node.name, error=str(error))
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            await asyncio.sleep(_EVERY_SECONDS)


def now(*, micro: bool = False) -> str:
    """As metav1.Time, or metav1.MicroTime."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")
