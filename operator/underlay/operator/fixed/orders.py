"""What an agent is told of fixed addresses in its SpiderNodeNetwork: who has none and why, what it shall give up."""

from collections.abc import Callable, Collection
from ipaddress import ip_address
from secrets import token_hex

from msgspec import structs

from underlay.core.api.ipblock import BlockEntry
from underlay.core.api.nodenetwork import FixedVerdict, Recall
from underlay.core.ipam.blocks import holder
from underlay.core.runtime.checkpoints import Checkpoint
from underlay.operator.fixed.blocks import Blocks
from underlay.operator.fixed.standing import Standings
from underlay.operator.nodework import NodeWork
from underlay.operator.records import Records
from underlay.operator.steps import FixedStep


class FixedOrders:
    """``owners_gone``: owners that are gone for good, whose addresses are to be given up."""

    def __init__(
        self,
        *,
        records: Records,
        blocks: Blocks,
        standings: Standings,
        owners_gone: Callable[[], set[str]],
        checkpoint: Checkpoint,
    ) -> None:
        self._records = records
        self._blocks = blocks
        self._standings = standings
        self._owners_gone = owners_gone
        self._step = checkpoint

    async def write(self, work: NodeWork, verdicts: Collection[FixedVerdict], *, stable: bool) -> None:
        """``stable``: pods of stable owners wait for the word about their address."""
        spec = work.memory.network.spec
        wanted = structs.replace(
            spec,
            fixed_address=work.provider.value.spec.fixed_address if stable else "",
            fixed=sorted(verdicts, key=lambda verdict: verdict.pod_uid),
            recall=self._recalls(work),
        )
        if wanted != spec:
            self._step(FixedStep.SAYING)
            work.memory.network = await self._records.write_spec(work.memory.network, wanted)
            self._step(FixedStep.SAID)

    def _recalls(self, work: NodeWork) -> list[Recall]:
        """Addresses that shall leave this node, until they are listed for nobody here."""
        status = work.memory.network.status
        listed = {
            item.address
            for interface in (status.interfaces if status else [])
            for item in interface.floating
            if item.pod_uid and not item.arriving
        }
        have = {item.address: item for item in work.memory.network.spec.recall}
        kept = [item for text, item in have.items() if text in listed and self._is_leaving(work, text)]
        asked = [
            have.get(str(address)) or Recall(id=token_hex(8), address=str(address))
            for address, entry in sorted(self._blocks.on(work.name).items())
            if self._is_wanted_elsewhere(work, entry)
        ]
        return list({item.address: item for item in (*kept, *asked)}.values())

    def _is_leaving(self, work: NodeWork, text: str) -> bool:
        entry = self._blocks.entry(ip_address(text))
        return entry is None or entry.node != work.name or entry.cooling_since is not None

    def _is_wanted_elsewhere(self, work: NodeWork, entry: BlockEntry) -> bool:
        if entry.cooling_since is not None or self._standings.alive(entry.uid):
            return False
        owner = holder(entry)
        return work.retiring or owner in self._owners_gone() or self._standings.lives_elsewhere(owner, work.name)
