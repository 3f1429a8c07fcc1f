"""Named points at which a crash is worth testing.

A shell with durable or external effects takes ``checkpoint: Checkpoint = passing`` and calls it with a label of a
``StrEnum`` in its own module, before and after each effect. Tests pass a function that raises or kills the process at
one label.
"""

from collections.abc import Callable

Checkpoint = Callable[[str], None]


def passing(label: str) -> None:
    """The checkpoint of production: nothing happens at ``label``."""
