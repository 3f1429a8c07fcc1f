"""Keeps a pool for each block that a provider reserves for fixed addresses."""

import contextlib
from collections.abc import Callable

import msgspec
import structlog

from underlay.core.api.ippool import SpiderIPPool
from underlay.core.api.nodenetwork import OPERATOR_MANAGER
from underlay.core.errors import InvalidInput
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.core.kube.reflector import Reflector
from underlay.operator.providers import Provider, Providers
from underlay.operator.reconcile import reservedpools as decide


class ReservedPools:
    """Looked at in each sweep of the upkeep. ``is_held``: somebody has an address of the pool."""

    def __init__(
        self,
        *,
        client: KubeClient,
        view: Reflector[SpiderIPPool],
        providers: Providers,
        is_held: Callable[[SpiderIPPool], bool],
    ) -> None:
        self._client = client
        self._is_held = is_held
        self._view = view
        self._providers = providers
        self._log = structlog.get_logger()

    async def settle(self) -> None:
        """Makes what is lacking; deletes a pool whose block is no more asked for once nobody has an address of it."""
        for provider in self._providers.all():
            if provider.value.metadata.deletion_timestamp is None:
                await self._settle(provider)

    async def _settle(self, provider: Provider) -> None:
        try:
            wanted = decide.wanted(provider.value, provider.subnets.by_id)
        except InvalidInput:
            return  # condition Reserved tells
        todo = decide.changes(provider.value, wanted, list(self._view.store.items()))
        for pool in todo.apply:
            name = pool.metadata.name
            if (seen := self._view.store.get(None, name)) is not None and decide.RETIRING in seen.metadata.annotations:
                back = {"metadata": {"annotations": {decide.RETIRING: None}}, "spec": {"disable": False}}
                await self._client.merge_patch(SpiderIPPool, name, back)
            body = {"metadata": msgspec.to_builtins(pool.metadata), "spec": _said(pool)}
            await self._client.apply(SpiderIPPool, name, body, manager=OPERATOR_MANAGER)
            self._log.info("fixed-pool.made", provider=provider.name, pool=name)
        for pool in todo.retire:
            await self._retire(pool)

    async def _retire(self, pool: SpiderIPPool) -> None:
        name = pool.metadata.name
        with contextlib.suppress(kube_errors.NotFound, kube_errors.Conflict):
            if self._is_held(pool):
                if decide.RETIRING not in pool.metadata.annotations:
                    body = {"metadata": {"annotations": {decide.RETIRING: "true"}}, "spec": {"disable": True}}
                    await self._client.merge_patch(SpiderIPPool, name, body)
            else:
                await self._client.delete(SpiderIPPool, name, uid=pool.metadata.uid)


def _said(pool: SpiderIPPool) -> dict[str, object]:
    """What is not said is not owned."""
    spec: dict[str, object] = msgspec.to_builtins(pool.spec)
    return {key: value for key, value in spec.items() if value is not None and key != "disable"}
