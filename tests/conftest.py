"""What every test starts from: no directory configured, nothing installed, nothing held open."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

# prometheus_client picks its value class when it is imported. The tests decide themselves when it
# writes files, so a variable of the caller's environment must not decide for them.
for _variable in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
    os.environ.pop(_variable, None)

from prometheus_client import values  # noqa: E402, only now

if TYPE_CHECKING:
    from collections.abc import Iterator

# Writing a directory of files is slow for hypothesis, not for us. The quick profile finds the same
# examples on each run, so that a change is blamed for what it broke; `thorough` looks for new ones.
settings.register_profile(
    "quick",
    deadline=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "thorough",
    deadline=None,
    max_examples=3000,
    suppress_health_check=[HealthCheck.too_slow],
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")
settings.load_profile(PROFILE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give hypothesis the time to make a failure small, which takes it up to five minutes."""
    seconds = 600 if PROFILE == "quick" else 24 * 60 * 60
    for item in items:
        if item.path.parent.name == "properties":
            item.add_marker(pytest.mark.timeout(seconds))


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave neither a configured directory, nor an installed multiprom, nor an open file behind."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    monkeypatch.delenv("prometheus_multiproc_dir", raising=False)
    # Tests look at the files of dead processes; those of automatic compaction turn it on.
    monkeypatch.setenv("MULTIPROM_COMPACTION", "off")
    # Most tests compare all of a scrape, or all files, with what the application counts.
    monkeypatch.setenv("MULTIPROM_WORKER_METRICS", "0")
    yield
    # Only a test that imported multiprom can have installed it.
    if "multiprom" in sys.modules:
        import multiprom

        multiprom.uninstall()
    # prometheus_client before 0.26 has no way to close its files.
    close = getattr(values, "close_all_multiprocess_files", None)
    if close is not None:
        close()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty directory that PROMETHEUS_MULTIPROC_DIR names."""
    path = tmp_path / "metrics"
    path.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(path))
    return path


@pytest.fixture
def installed(directory: Path) -> None:
    """Let metrics count in the directory until the end of the test."""
    import multiprom

    multiprom.install(directory)


@pytest.fixture
def automatic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let compaction happen by itself, and at each occasion, however short ago the last was."""
    from multiprom import _core

    monkeypatch.delenv("MULTIPROM_COMPACTION")
    _core.reset_compaction(sweep_seconds=0)
    yield
    _core.reset_compaction()


@pytest.fixture
def hooks(directory: Path) -> Any:
    """Return the module of gunicorn's hooks, with a directory named."""
    assert directory.is_dir()
    return importlib.import_module("multiprom.gunicorn")


@pytest.fixture
def made(directory: Path) -> Iterator[Any]:
    """Make a value class under the name `w`, in the directory that the variable names."""
    from support import ours

    assert directory.is_dir()
    with ours.value_class(lambda: "w") as found:
        yield found
