"""Builds the control plane's programs from their Go modules, once, into a cache folder outside the tree.

``python -m controlplane.build`` builds what is missing and prints where each program is. A program found in the folder
that ``KUBEBUILDER_ASSETS`` names is used as it is. The cache is ``$UNDERLAY_CACHE``, by default ``~/.cache/underlay``;
its subfolder is named by a hash of the modules' go.mod and go.sum, so that a change of version is another folder.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controlplane import toolchain
from controlplane.progress import Note, step
from controlplane.toolchain import Go

MODULES = Path(__file__).parent / "go"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    name: str
    module: str
    """Folder under ``go/``."""
    package: str
    takes: str
    """What to tell a person who waits, measured on two cores with nothing built before."""


PROGRAMS: tuple[Program, ...] = (
    Program(name="cnitool", module="cni", package="github.com/containernetworking/cni/cnitool", takes="10 s"),
    Program(name="etcd", module="etcd", package="go.etcd.io/etcd/server/v3", takes="20 s"),
    Program(name="kube-apiserver", module="kubernetes", package="k8s.io/kubernetes/cmd/kube-apiserver", takes="6 min"),
    Program(
        name="kube-controller-manager",
        module="kubernetes",
        package="k8s.io/kubernetes/cmd/kube-controller-manager",
        takes="1 min",
    ),
    Program(name="kube-scheduler", module="kubernetes", package="k8s.io/kubernetes/cmd/kube-scheduler", takes="20 s"),
    Program(name="kube-proxy", module="kubernetes", package="k8s.io/kubernetes/cmd/kube-proxy", takes="15 s"),
    Program(name="kubectl", module="kubernetes", package="k8s.io/kubernetes/cmd/kubectl", takes="25 s"),
)

EVERYTHING: tuple[str, ...] = tuple(program.name for program in PROGRAMS)


class BuildFailed(Exception):
    """A program could not be built; the text ends with what the compiler said last."""


def cache_folder() -> Path:
    """Where everything that was fetched or built for this project is kept."""
    named = os.environ.get("UNDERLAY_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "underlay"


def ensure(names: Collection[str] = EVERYTHING) -> Mapping[str, Path]:
    """The programs' paths by name, after building those that are missing.

    Raises ``BuildFailed``, or ``toolchain.NoGo`` when there is no compiler to build with.
    """
    wanted = [program for program in PROGRAMS if program.name in names]
    unknown = set(names).difference(EVERYTHING)
    if unknown:
        raise BuildFailed(f"unknown programs {sorted(unknown)}; known are {', '.join(EVERYTHING)}")
    cache = cache_folder()
    folder = cache / "controlplane" / _version_hash()
    if any(_find(program, folder) is None for program in wanted):
        with _sole_builder(folder):
            missing = [program for program in wanted if _find(program, folder) is None]
            if missing:
                go = toolchain.find(cache)
                for program in missing:
                    _build(go, program, folder)
    return {program.name: _find(program, folder) or folder / program.name for program in wanted}


def main() -> int:
    """Builds everything and lists it."""
    try:
        for name, path in ensure().items():
            print(f"{name:24} {path}")
    except (BuildFailed, toolchain.NoGo, OSError) as problem:
        print(f"The control plane's programs could not be built: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; what was built so far is kept.", file=sys.stderr)
        return 130
    return 0


def _version_hash() -> str:
    content = hashlib.sha256()
    for file in sorted(MODULES.glob("*/go.*")):
        content.update(file.read_bytes())
    return content.hexdigest()[:16]


def _find(program: Program, folder: Path) -> Path | None:
    given = os.environ.get("KUBEBUILDER_ASSETS")
    for place in (Path(given), folder) if given else (folder,):
        if os.access(place / program.name, os.X_OK):
            return place / program.name
    return None


@contextmanager
def _sole_builder(folder: Path) -> Iterator[None]:
    """Two builds of the same thing at once would only slow each other down; the lock dies with its holder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("waiting for another build of the same programs"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(go: Go, program: Program, folder: Path) -> None:
    """Compiled under another name and renamed: a program that is there is whole."""
    unfinished = folder / f".{program.name}.unfinished"
    command = [
        str(go.program),
        "build",
        "-v",
        "-buildvcs=false",
        "-ldflags=-s -w",
        "-o",
        str(unfinished),
        program.package,
    ]
    with step(f"building {program.name} (about {program.takes})") as note:
        compiler = subprocess.Popen(
            command,
            cwd=MODULES / program.module,
            env=go.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with compiler:
            try:
                said = _follow(compiler, note)
            except BaseException:
                compiler.kill()
                raise
        if compiler.returncode:
            raise BuildFailed(f"go build {program.package} failed:\n" + "\n".join(said[-20:]))
        unfinished.replace(folder / program.name)


def _follow(compiler: subprocess.Popen[str], note: Note) -> list[str]:
    """What the compiler says that is not progress; ``go build -v`` names each package when it is compiled."""
    said = []
    packages = fetched = 0
    for line in compiler.stderr or ():
        text = line.rstrip()
        if text.startswith("go: downloading "):
            fetched += 1
            note(f"{fetched} modules fetched")
        elif " " in text or not text:
            said.append(text)
        else:
            packages += 1
            note(f"{packages} packages compiled")
    return said


if __name__ == "__main__":
    sys.exit(main())
