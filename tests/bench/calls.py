"""What goes to the driver and comes back, one JSON object per line. Pure."""

from typing import Literal

import msgspec

Verb = Literal["ADD", "DEL"]


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """A program of a plugin list, and its configuration as JSON without ``prevResult``."""

    program: str
    config: str


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin list and the environment it is executed with, beside what CNI prescribes."""

    name: str
    plugins: tuple[Plugin, ...]
    environment: dict[str, str]


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """One sandbox: container id, path of the network namespace, CNI_ARGS."""

    container: str
    netns: str
    arguments: str = ""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """``verb`` for every pod, ``width`` of them at any time."""

    subject: Subject
    verb: Verb
    width: int
    pods: tuple[Pod, ...]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One list carried out, from the first program's start to the last one's end. ``error`` empty: it succeeded."""

    seconds: float
    error: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A batch carried out. User and system time are those of the programs executed."""

    calls: tuple[Call, ...]
    wall_seconds: float
    user_seconds: float
    system_seconds: float
