"""What a changing operation leaves to be done after it has changed the model."""

from collections.abc import Mapping
from dataclasses import dataclass

from cloudsim.wire.xml import Node

TRUE: Mapping[str, Node] = {"return": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The answer, and what the network under the instances must still be told.

    ``changed``: interfaces to bring up to date before the answer is given. ``attaching``, ``detaching``: the attachment
    whose completion takes time.
    """

    body: Mapping[str, Node]
    changed: tuple[str, ...] = ()
    attaching: str | None = None
    detaching: str | None = None
