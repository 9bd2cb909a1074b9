"""What is in the package."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import multiprom
import pytest
from support.interpreters import run

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(multiprom.__file__).parent


def test_one_version() -> None:
    manifest = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert manifest is not None
    assert multiprom.__version__ == manifest[1]
    # Packages write a pre-release in another way than crates do.
    assert importlib.metadata.version("multiprom") == manifest[1].replace("-rc.", "rc")


@pytest.mark.parametrize("name", ["py.typed", "_core.pyi", "__init__.py"])
def test_ships(name: str) -> None:
    assert (PACKAGE / name).is_file()


def test_all_names_are_there() -> None:
    assert {name for name in multiprom.__all__ if not hasattr(multiprom, name)} == set()
    assert set(multiprom.__all__) <= set(dir(multiprom))


def test_unknown_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'unheard_of'"):
        multiprom.unheard_of  # noqa: B018


def test_names_stay_what_they_are() -> None:
    """A submodule named like a function takes the function's place once it is imported."""
    for _ in range(2):
        for name in ("install", "uninstall", "left_out", "generate_latest", "mark_process_dead"):
            assert callable(getattr(multiprom, name)), name


def test_on_windows_the_import_says_why() -> None:
    printed = run("""
        import sys
        sys.platform = "win32"
        try:
            import multiprom
        except ImportError as error:
            print(error)
    """)
    assert "Windows" in printed
    assert "Linux" in printed


def test_needs_prometheus_client() -> None:
    requirements = importlib.metadata.requires("multiprom")
    assert requirements is not None
    assert any(re.match(r"prometheus[_-]client>=0\.20\.0", name) for name in requirements)
