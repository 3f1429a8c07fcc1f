"""Where a test run of the lab keeps its logs and what the guest must see: the guest's /tmp is its own."""

import os
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""


def new(root: Path = ROOT) -> Path:
    """An empty folder below ``build/lab``; those of runs that are over are removed, so that the newest can be read."""
    folder = root / "build" / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if not Path("/proc", old.name.partition("-")[0]).exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=folder))
