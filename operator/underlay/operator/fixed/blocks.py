"""SpiderIPBlocks as the operator knows them: never older than its own last write, looked up by node and by owner.

Every change is a pure function of ``core.ipam.blocks`` written by compare-and-swap; on a conflict the block is read
again and the change decided again.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import structlog

from underlay.core.addresses import IPAddress, parse_address
from underlay.core.api.ipblock import BlockEntry, SpiderIPBlock, block_name
from underlay.core.errors import InvalidInput
from underlay.core.ipam import blocks
from underlay.core.ipam.blocks import Claimant, holder
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.core.kube.reflector import Change, Reflector, Removed

_ATTEMPTS = 10


class Blocks:
    """``changed`` is called with the nodes that an entry named before or names now."""

    def __init__(self, client: KubeClient, view: Reflector[SpiderIPBlock], changed: Callable[[set[str]], None]) -> None:
        self._client = client
        self._changed = changed
        self._blocks: dict[str, SpiderIPBlock] = {}
        self._entries: dict[IPAddress, BlockEntry] = {}
        self._by_node: dict[str, set[IPAddress]] = {}
        self._by_owner: dict[str, set[IPAddress]] = {}
        self._log = structlog.get_logger()
        view.subscribe(self._seen)

    def entry(self, address: IPAddress) -> BlockEntry | None:
        """Who has it."""
        return self._entries.get(address)

    @property
    def all(self) -> Mapping[IPAddress, BlockEntry]:
        """Every entry. A view: copy it before awaiting anything."""
        return self._entries

    def on(self, node: str) -> dict[IPAddress, BlockEntry]:
        """Entries that name ``node``."""
        return {address: self._entries[address] for address in self._by_node.get(node, ())}

    def of(self, owner: str) -> list[tuple[IPAddress, BlockEntry]]:
        """What ``owner`` has, cooling ones included."""
        return [(address, self._entries[address]) for address in self._by_owner.get(owner, ())]

    async def claim(self, address: IPAddress, who: Claimant, *, now: str, cooldown_seconds: float) -> None:
        """Raises ``Taken``."""
        await self._write(
            address,
            lambda have: blocks.claim(have, address, who, now=now, cooldown_seconds=cooldown_seconds),
        )

    async def hand_over(self, address: IPAddress, who: Claimant, *, before: BlockEntry, now: str) -> None:
        """Raises ``Taken``."""
        await self._write(
            address, _present(address, lambda have: blocks.hand_over(have, address, who, before=before, now=now))
        )

    async def cool(self, address: IPAddress, *, before: BlockEntry, now: str) -> None:
        """Raises ``Taken``."""
        await self._write(address, _present(address, partial(blocks.cool, address=address, before=before, now=now)))

    async def forget(self, address: IPAddress, *, before: BlockEntry) -> None:
        """Raises ``Taken``."""
        await self._write(address, _present(address, partial(blocks.forget, address=address, before=before)))

    async def _write(self, address: IPAddress, change: Callable[[SpiderIPBlock | None], SpiderIPBlock]) -> None:
        name = block_name(address)
        have = self._blocks.get(name)
        for attempt in range(_ATTEMPTS):
            wanted = change(have)
            try:
                made = await (self._client.create(wanted) if have is None else self._client.replace(wanted))
            except (kube_errors.Conflict, kube_errors.AlreadyExists, kube_errors.NotFound):
                if attempt == _ATTEMPTS - 1:
                    raise
                have = await self._live(name)
            else:
                self._accept(made)
                return

    async def _live(self, name: str) -> SpiderIPBlock | None:
        try:
            return await self._client.get(SpiderIPBlock, name)
        except kube_errors.NotFound:
            return None

    def _seen(self, change: Change[SpiderIPBlock]) -> None:
        known = self._blocks.get(change.object.metadata.name)
        if known is not None and _version(known) > _version(change.object):
            return  # older than our own last write
        if isinstance(change, Removed):
            self._replace(change.object.metadata.name, None)
        else:
            self._accept(change.object)

    def _accept(self, block: SpiderIPBlock) -> None:
        self._replace(block.metadata.name, block)

    def _replace(self, name: str, block: SpiderIPBlock | None) -> None:
        before, after = dict(_entries(self._blocks.get(name))), dict(_entries(block))
        if block is None:
            self._blocks.pop(name, None)
        else:
            self._blocks[name] = block
        nodes: set[str] = set()
        for address in before.keys() | after.keys():
            old, new = before.get(address), after.get(address)
            if old == new:
                continue
            if old is not None:
                nodes.add(old.node)
                self._by_node[old.node].discard(address)
                self._by_owner[holder(old)].discard(address)
                if not self._by_owner[holder(old)]:
                    del self._by_owner[holder(old)]
                del self._entries[address]
            if new is not None:
                nodes.add(new.node)
                self._by_node.setdefault(new.node, set()).add(address)
                self._by_owner.setdefault(holder(new), set()).add(address)
                self._entries[address] = new
        if nodes:
            self._changed(nodes)


def _present(
    address: IPAddress, change: Callable[[SpiderIPBlock], SpiderIPBlock]
) -> Callable[[SpiderIPBlock | None], SpiderIPBlock]:
    def changed(have: SpiderIPBlock | None) -> SpiderIPBlock:
        if have is None:
            raise blocks.Taken(address, "nobody")
        return change(have)

    return changed


def _entries(block: SpiderIPBlock | None) -> Iterator[tuple[IPAddress, BlockEntry]]:
    """Keys that are no addresses are nobody's."""
    for text, entry in block.status.entries.items() if block else ():
        try:
            yield parse_address(text, "status.entries"), entry
        except InvalidInput as error:
            structlog.get_logger().warning("block.entry-ignored", reason=str(error))


def _version(block: SpiderIPBlock) -> int:
    return int(block.metadata.resource_version or 0)
