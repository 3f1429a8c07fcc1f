"""Which sandbox has a fixed address, told to its SpiderIPBlock: off the path of any call.

The operator's claim and the journal are what a pod's address rests on; this makes the block say the container too, and
is where an agent would learn that the claim is another pod's by now.
"""

from functools import partial
from ipaddress import ip_address

import structlog

from underlay.cni.book import Book
from underlay.cni.lull import Lull
from underlay.cni.metrics import Metrics
from underlay.cni.podqueue import PodQueue
from underlay.cni.state import State
from underlay.core.addresses import IPAddress
from underlay.core.api.ipblock import SpiderIPBlock, block_name
from underlay.core.identity import Attachment, PodRef
from underlay.core.ipam.blocks import Taken, use
from underlay.core.kube.client import KubeClient
from underlay.core.kube.errors import NotFound
from underlay.core.kube.optimistic import update

_NOBODY = Attachment(container_id="", ifname="")


def used(state: State, pod: PodRef) -> dict[IPAddress, Attachment]:
    """Fixed addresses that sandboxes of ``pod`` have."""
    return {
        item.address: claim.attachment
        for claim in state.ledger.claims.values()
        if claim.pod == pod
        for item in claim.addresses
        if item.fixed
    }


class BlockUse:
    """The writer."""

    def __init__(self, *, book: Book, client: KubeClient, metrics: Metrics, lull: Lull) -> None:
        self._book = book
        self._client = client
        self._queue = PodQueue(what="block", write=self._tell, metrics=metrics, lull=lull)
        self._told: dict[PodRef, dict[IPAddress, Attachment]] = {}
        self._log = structlog.get_logger()

    def touch(self, pod: PodRef) -> None:
        """The pod's addresses may have changed."""
        if pod in self._told or used(self._book.state, pod):
            self._queue.add(pod)

    async def run(self) -> None:
        """Until cancelled. What is in use already is told once more: an earlier agent may not have come to it."""
        for claim in self._book.state.ledger.claims.values():
            self.touch(claim.pod)
        await self._queue.run()

    async def _tell(self, pod: PodRef) -> None:
        now, before = used(self._book.state, pod), self._told.get(pod, {})
        for address in before.keys() | now.keys():
            attachment = now.get(address, _NOBODY)
            if before.get(address, _NOBODY) == attachment:
                continue
            try:
                await self._write(pod, address, attachment)
            except (Taken, NotFound) as lost:
                # A pod that is gone has nothing to say; one that runs with an address that is not its own has.
                if attachment != _NOBODY:
                    self._log.error("claim.not_in_block", pod=str(pod), address=str(address), reason=str(lost))
        if now:
            self._told[pod] = now
        else:
            self._told.pop(pod, None)

    async def _write(self, pod: PodRef, address: IPAddress, attachment: Attachment) -> None:
        change = partial(
            use,
            address=ip_address(str(address)),
            uid=pod.uid,
            container=attachment.container_id,
            interface=attachment.ifname,
        )
        await update(self._client, SpiderIPBlock, block_name(address), change)
