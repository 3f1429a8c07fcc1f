"""Where packages may not begin: four folders are roots of one namespace, and ``operator`` is a standard module too."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE_ROOTS = ("core", "providers", "cni", "operator")
FORBIDDEN = (
    *SOURCE_ROOTS,
    *(f"{root}/underlay" for root in SOURCE_ROOTS),
    "tests",
    *(f"tests/{root}" for root in SOURCE_ROOTS),
)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_folder_is_not_a_regular_package(folder: str) -> None:
    """An ``__init__.py`` there would hide the other source roots, or the standard library's ``operator``."""
    assert (ROOT / folder).is_dir()

    assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_package_says_it_is_typed(root: str) -> None:
    """PEP 561: type checkers read a package's annotations only where it carries ``py.typed``."""
    assert (ROOT / root / "underlay" / root / "py.typed").is_file()
