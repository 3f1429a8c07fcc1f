"""The table that ends the demo: every address that pods may get, and who has it."""

from dataclasses import dataclass

from world import readings
from world.stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the final table; ``pod`` empty: an address that waits for one."""

    node: str
    interface: str
    pool: str
    address: str
    pod: str
    ping: str


async def rows(stage: Stage) -> list[Row]:
    """All addresses that pods may get, and who has them."""
    names = {eni.id: f"ens{5 + eni.device_index}" for eni in await readings.cloud(stage.world)}
    pools = sorted(await readings.pools(stage.world), key=lambda pool: (pool.node, names.get(pool.interface, "")))
    return [
        Row(
            node=pool.node,
            interface=names.get(pool.interface, pool.interface),
            pool=pool.name,
            address=str(address),
            pod=pool.held.get(address, ""),
            ping=("ok" if pool.held[address] in stage.answered else "no answer") if address in pool.held else "",
        )
        for pool in pools
        for address in sorted(pool.addresses)
    ]
