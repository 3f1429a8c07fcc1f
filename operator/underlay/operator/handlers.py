"""kopf handlers for SpiderNetworkProvider: they pass on what people wrote; nothing is decided here.

A provider that is deleted is held by a finalizer until ``Removal`` says that nothing of it is left.
"""

import asyncio

import kopf
import msgspec

from underlay.core.api.meta import GROUP, VERSION
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.operator.providers import Providers
from underlay.operator.removal import FINALIZER, Removal

_LOOK_SECONDS = 2.0


def registry(providers: Providers, removal: Removal, loop: asyncio.AbstractEventLoop) -> kopf.OperatorRegistry:
    """The handlers, bound to ``providers`` and ``removal``, which live in ``loop`` (kopf runs in another thread)."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.event(GROUP, VERSION, "spidernetworkproviders", registry=handlers)
    async def provider(event: kopf.RawEvent, **_: object) -> None:
        value = msgspec.convert(event["object"], SpiderNetworkProvider)
        gone = event["type"] == "DELETED"
        work = providers.remove(value.metadata.name) if gone else providers.put(value)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

    @kopf.on.delete(GROUP, VERSION, "spidernetworkproviders", registry=handlers)
    async def leaving(name: str, **_: object) -> None:
        if text := await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(removal.remaining(name), loop)):
            raise kopf.TemporaryError(text, delay=_LOOK_SECONDS)

    return handlers


def settings() -> kopf.OperatorSettings:
    """No peering, since our Lease decides who works; names of its own, since Spiderpool's belong to our reconcilers."""
    chosen = kopf.OperatorSettings()
    chosen.peering.standalone = True
    chosen.persistence.finalizer = FINALIZER
    chosen.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="underlay.spidernet.io")
    chosen.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix="underlay.spidernet.io")
    chosen.posting.enabled = False
    return chosen
