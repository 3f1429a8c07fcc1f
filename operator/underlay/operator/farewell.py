"""What is left of a machine that has gone."""

import contextlib

import structlog

from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.cloud.errors import CloudError, NotFound
from underlay.core.cloud.model import InstanceState
from underlay.core.errors import InvalidInput
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.core.runtime.checkpoints import Checkpoint
from underlay.operator.nodepools import NodePools
from underlay.operator.providers import Provider, Providers
from underlay.operator.reconcile.advice import advise
from underlay.operator.steps import WarmStep


class Farewells:
    """``settle_seconds``: how often a machine whose Node is gone is looked at."""

    def __init__(
        self,
        *,
        client: KubeClient,
        providers: Providers,
        pools: NodePools,
        settle_seconds: float,
        checkpoint: Checkpoint,
    ) -> None:
        self._client = client
        self._providers = providers
        self._pools = pools
        self._settle = settle_seconds
        self._step = checkpoint
        self._log = structlog.get_logger()

    async def bury(self, network: SpiderNodeNetwork) -> float | None:
        """Once a machine is gone from the cloud its addresses are nobody's: its pools and its SpiderNodeNetwork go.

        None when that is done, else the seconds until it is worth another look. Without its provider there is nobody
        to ask, and nobody who would serve it.
        """
        name = network.metadata.name
        provider = self._providers.get(network.spec.provider)
        if provider is not None:
            try:
                gone = await _is_gone(provider, network.spec.provider_id)
            except CloudError as error:
                self._log.warning("node.farewell-delayed", node=name, error=str(error))
                return advise(error).retry_seconds
            if not gone:
                return self._settle
        await self.erase(network)
        return None

    async def erase(self, network: SpiderNodeNetwork) -> None:
        """The node's pools and its SpiderNodeNetwork go."""
        name = network.metadata.name
        for pool in self._pools.of(name):
            await self._pools.delete(pool)
        self._step(WarmStep.FAREWELL_POOLS_DELETED)
        with contextlib.suppress(kube_errors.NotFound):
            await self._client.delete(SpiderNodeNetwork, name, uid=network.metadata.uid)
        self._step(WarmStep.FAREWELL_DONE)


async def _is_gone(provider: Provider, provider_id: str) -> bool:
    """A machine that is not the cloud's never was there."""
    if provider.driver is None:
        return False
    try:
        instance = await provider.driver.instance(provider.driver.instance_id(provider_id))
    except (NotFound, InvalidInput):
        return True
    return instance.state is InstanceState.GONE
