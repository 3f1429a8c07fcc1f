"""SpiderReservedIP: addresses no pool may give, whatever the pools say. Pure. Spiderpool's fields."""

from typing import Literal

import msgspec

from underlay.core.api.meta import API_VERSION, ObjectMeta, wire_name


class SpiderReservedIPSpec(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``ips`` holds single addresses or inclusive ``start-end`` ranges of one family."""

    ip_version: Literal[4, 6] | None = None
    ips: list[str] | None = None


class SpiderReservedIP(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Addresses that no pool may give."""

    metadata: ObjectMeta
    spec: SpiderReservedIPSpec = SpiderReservedIPSpec()
    api_version: str = API_VERSION
    kind: str = "SpiderReservedIP"
