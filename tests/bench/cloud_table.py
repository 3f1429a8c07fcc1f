"""What a person reads of the cloud benchmark."""

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

from bench.cloud import Supply

NOTES = """\
over_floor: seconds until the last node has its addresses, by the least time EC2's buckets allow; - where they let all \
through at once. Nothing is scaled. The simulator's own share of a processor is simulator_cpu_share.
scale: the pods are synthetic (a stand-in answers their lists and watches; all else is a real API server), agents' \
statuses are written by the bench, machines have their addresses from the start.
reaction: from the API server's answer to the binding to the pool's event, no address in reserve, attached interface.
machine_load is the load average of the machine that ran all of it."""

_TITLES = {
    "reaction_": "reaction, one pod after the other",
    "scale_": "a large cluster",
}


def show(console: Console, figures: Mapping[str, float], supplies: Iterable[Supply], sizes: Iterable[int]) -> None:
    """One table for each part that was measured; a column per number of nodes."""
    chosen = list(dict.fromkeys(sizes))
    for supply in supplies:
        _sizes(console, figures, supply, chosen)
    for start, title in _TITLES.items():
        rows = {key.removeprefix(start): value for key, value in figures.items() if key.startswith(start)}
        if rows:
            table = Table(title=title, title_justify="left", show_header=False)
            table.add_column("")
            table.add_column("", justify="right")
            for key, value in rows.items():
                table.add_row(key, f"{value:.2f}")
            console.print(table)
    console.print(NOTES)


def _sizes(console: Console, figures: Mapping[str, float], supply: Supply, sizes: list[int]) -> None:
    rows: dict[str, dict[int, float]] = {}
    for size in sizes:
        start = f"nodes_{size}_{supply.name}_"
        for key, value in figures.items():
            if key.startswith(start):
                rows.setdefault(key.removeprefix(start), {})[size] = value
    if not rows:
        return
    table = Table(title=f"one new {supply.name} per node, EC2's buckets", title_justify="left")
    table.add_column("")
    for size in sizes:
        table.add_column(f"{size} nodes", justify="right")
    for label, row in rows.items():
        table.add_row(label, *(f"{row[size]:.2f}" if size in row else "-" for size in sizes))
    console.print(table)
