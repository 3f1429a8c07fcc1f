"""What the documentation says, for tests that hold it against what is there."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next one of any level."""
    text = (DOCS / page).read_text(encoding="utf-8")
    _, _, below = text.partition(f"# {heading}\n")
    assert below, f"docs/{page} has no heading {heading!r}"
    return re.split(r"^#", below, maxsplit=1, flags=re.MULTILINE)[0]


def table(text: str, first: str) -> Sequence[Mapping[str, str]]:
    """The rows of the table whose first column is headed so, each by column."""
    lines = [line.strip() for line in text.splitlines()]
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    head, _, *rows = lines[start : next((n for n in range(start, len(lines)) if not lines[n]), len(lines))]
    return [dict(zip(_cells(head), _cells(row), strict=True)) for row in rows]


def code(text: str) -> list[str]:
    """All that is set in backquotes."""
    return re.findall(r"`([^`]+)`", text)


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))]
