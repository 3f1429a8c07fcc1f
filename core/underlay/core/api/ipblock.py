"""SpiderIPBlock: who holds which address of one window of the address space. Pure.

One object per aligned window of 64 addresses of shared and floating pools, named by the window and not by a pool, so
that overlapping, renamed or re-created pools cannot give an address twice. Agents and the operator write it by
compare-and-swap, whole: hence no status subresource, a claim is one write even when it makes the block.
"""

from ipaddress import IPv4Address

import msgspec

from underlay.core.addresses import IPAddress, window
from underlay.core.api.meta import API_VERSION, Natural, ObjectMeta, wire_name


class BlockEntry(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """One address. ``pod`` is ``namespace/name``, ``container`` the sandbox's id, times are RFC 3339.

    ``owner`` is the identity that keeps the address across pods (``StatefulSet/namespace/name-0``), or empty.
    ``cooling_since`` set: nobody holds it, and it is not given again before its cool-down.
    """

    pod: str
    uid: str
    container: str
    interface: str
    node: str
    owner: str = ""
    since: str
    cooling_since: str | None = None


class SpiderIPBlockSpec(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``window``: a /26 or a /122."""

    window: str


class SpiderIPBlockStatus(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``entries`` by address; ``held`` and ``cooling`` count them."""

    held: Natural = 0
    cooling: Natural = 0
    entries: dict[str, BlockEntry] = {}


class SpiderIPBlock(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Who holds which address of one window of 64 addresses."""

    metadata: ObjectMeta
    spec: SpiderIPBlockSpec
    status: SpiderIPBlockStatus = SpiderIPBlockStatus()
    api_version: str = API_VERSION
    kind: str = "SpiderIPBlock"


def block_name(address: IPAddress) -> str:
    """The name of the block that records ``address``: ``10.0.0.64``, ``2001-db8-0-0-0-0-0-40``."""
    first = window(address).network_address
    if isinstance(first, IPv4Address):
        return str(first)
    return "-".join(f"{int(group, 16):x}" for group in first.exploded.split(":"))


def block(address: IPAddress, entries: dict[str, BlockEntry], *, resource_version: str | None = None) -> SpiderIPBlock:
    """The block of ``address`` with exactly ``entries``; ``resource_version`` None creates it."""
    cooling = sum(entry.cooling_since is not None for entry in entries.values())
    return SpiderIPBlock(
        metadata=ObjectMeta(name=block_name(address), resource_version=resource_version),
        spec=SpiderIPBlockSpec(window=str(window(address))),
        status=SpiderIPBlockStatus(held=len(entries) - cooling, cooling=cooling, entries=entries),
    )
