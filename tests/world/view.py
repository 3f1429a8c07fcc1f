"""How the demo looks: a live list of scenes on a terminal, a line per scene elsewhere; a table at the end."""

import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from world.table import Row

_PLAIN_WIDTH = 120


class View:
    """Call ``begin`` and then ``end`` for each scene, within ``with view:``."""

    def __init__(self, titles: Sequence[str], console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = _PLAIN_WIDTH
        self._titles = titles
        self._outcomes: list[tuple[bool, str, float]] = []
        self._began = time.monotonic()
        self._note = ""
        self._running = False
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(console=self._console, get_renderable=self._draw, refresh_per_second=8, transient=False)

    def __enter__(self) -> None:
        if self._console.is_terminal:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        self._running = False
        if self._console.is_terminal:
            self._live.stop()

    def begin(self) -> None:
        """The next scene is being played."""
        self._began = time.monotonic()
        self._note = ""
        self._running = True
        if not self._console.is_terminal:
            self._console.print(f"... {self._titles[len(self._outcomes)]}")

    def say(self, note: str) -> None:
        """What the scene waits for now."""
        self._note = note

    def end(self, outcome: str, *, ok: bool) -> None:
        """The scene is over."""
        seconds = time.monotonic() - self._began
        if not self._console.is_terminal:
            mark = "ok " if ok else "NOT"
            self._console.print(
                f"{mark} {self._titles[len(self._outcomes)]}: {outcome} ({seconds:.1f} s)", soft_wrap=True
            )
        self._outcomes.append((ok, outcome, seconds))
        self._running = False

    def table(self, rows: Sequence[Row]) -> None:
        """Who has which address."""
        table = Table("node", "interface", "pool", "address", "pod", "ping", title="Addresses")
        node = ""
        for row in rows:
            if node and row.node != node:
                table.add_section()
            node = row.node
            style = "dim" if not row.pod else "" if row.ping == "ok" else "red"
            table.add_row(row.node, row.interface, row.pool, row.address, row.pod or "free", row.ping, style=style)
        self._console.print(table)

    def print(self, text: str, *, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)

    def _draw(self) -> RenderableType:
        lines: list[RenderableType] = []
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=1)
        grid.add_column()
        grid.add_column(justify="right")
        for number, title in enumerate(self._titles):
            if number < len(self._outcomes):
                ok, outcome, seconds = self._outcomes[number]
                mark = Text("✓", style="green") if ok else Text("✗", style="bold red")
                grid.add_row(mark, _two(title, outcome, "" if ok else "red"), Text(f"{seconds:.1f} s", style="dim"))
            elif number == len(self._outcomes) and self._running:
                seconds = time.monotonic() - self._began
                grid.add_row(self._spinner, _two(title, self._note, "cyan"), Text(f"{seconds:.0f} s", style="dim"))
            else:
                grid.add_row(Text("·", style="dim"), Text(title, style="dim"), Text(""))
        lines.append(grid)
        return Group(*lines)


def _two(title: str, below: str, style: str) -> Text:
    text = Text(title, style="bold")
    return text.append(f"\n{below}", style=style or "not bold") if below else text
