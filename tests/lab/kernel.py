"""Brings a stock Debian kernel into the cache: downloaded with apt, unpacked with dpkg, never installed.

``python -m lab.kernel`` does it ahead of time.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from controlplane.build import cache_folder
from controlplane.progress import step

PACKAGE = re.compile(r"linux-image-(?P<release>6\.1\.0-(?P<build>\d+)-amd64)")
"""Debian 12's kernel in its plain flavour; "cloud" has fewer modules."""


class NoKernel(Exception):
    """No kernel could be had; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """``root`` holds what the package would install: ``boot`` and ``lib/modules``."""

    root: Path
    release: str

    @property
    def image(self) -> Path:
        return self.root / "boot" / f"vmlinuz-{self.release}"


def ensure() -> Kernel:
    """The newest kernel that apt offers, from the cache where it is there. Raises ``NoKernel``."""
    try:
        return _ensure()
    except NoKernel:
        with step("reading Debian's package lists"):  # there may be none yet, or they name a kernel that is withdrawn
            _run("apt-get", "--quiet", "update")
        return _ensure()


def _ensure() -> Kernel:
    package = newest(_run("apt-cache", "search", "--names-only", "^linux-image-6.1.0-.*-amd64$").splitlines())
    match = PACKAGE.fullmatch(package)
    if match is None:
        raise NoKernel("apt offers no linux-image-6.1.0-*-amd64, the kernel of Debian 12, for the kernel lab")
    folder = cache_folder() / "lab"
    kernel = Kernel(root=folder / package, release=match["release"])
    if not kernel.image.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with step(f"fetching {package} for the kernel lab (about 10 s)"):
            with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as unfinished:
                _fetch(package, kernel.release, Path(unfinished))
                if not kernel.root.exists():  # another run may have been quicker
                    (Path(unfinished) / "root").rename(kernel.root)
            _forget_others(folder, kernel)
    return kernel


def newest(lines: Iterable[str]) -> str:
    """The package with the highest build number among ``name - description`` lines; empty if there is none."""
    found = (PACKAGE.fullmatch(line.partition(" ")[0]) for line in lines)
    return max(((int(match["build"]), match[0]) for match in found if match), default=(0, ""))[1]


def _fetch(package: str, release: str, folder: Path) -> None:
    """Leaves the unpacked package in ``folder/root``, with the index that modprobe reads."""
    _run("apt-get", "--quiet", "download", package, folder=folder)
    (archive,) = folder.glob("*.deb")
    _run("dpkg", "--extract", str(archive), str(folder / "root"))
    _run("depmod", "--basedir", str(folder / "root"), release)


def _forget_others(folder: Path, kept: Kernel) -> None:
    """Older kernels take 400 MB each; one in use elsewhere keeps the files it has open."""
    for other in folder.glob("linux-image-*"):
        if other != kept.root:
            shutil.rmtree(other, ignore_errors=True)


def _run(*command: str, folder: Path | None = None) -> str:
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise NoKernel(
            f"{command[0]} is missing: the kernel lab needs a Debian system, and kmod installed"
        ) from missing
    if done.returncode:
        raise NoKernel(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    try:
        print(ensure().image)
    except NoKernel as problem:
        sys.exit(str(problem))
