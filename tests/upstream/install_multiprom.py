"""A pytest plugin: prometheus_client's own tests, run with multiprom in its place.

`make test-upstream` loads it with `-p`, before any test module imports prometheus_client. The
tests themselves are not touched. A run in which one of them was skipped, or not found, proves
less than it seems to, so anything but the full number fails.

With `--in-files` all metrics count in files, each test in a directory of its own: most tests have
values in memory otherwise, which the native methods leave to prometheus_client. Two tests cannot
pass so with prometheus_client either.
"""

from __future__ import annotations

import ssl
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import multiprom
import prometheus_client
import pytest
from multiprom import _core
from prometheus_client import Counter, values

if TYPE_CHECKING:
    from collections.abc import Iterator

# prometheus_client 0.26.0.
EXPECTED = {"passed": 320}
LEFT_OUT_IN_FILES = {
    # They say themselves what is in the environment.
    "test_deprecation_warning",
    "test_unset_syncdir_env",
    # It expects a warning that series in files cannot be removed. With multiprom they can.
    "test_remove_clear_warning",
}
EXPECTED_IN_FILES = {"passed": 317, "deselected": 3}
_OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed", "deselected")

multiprom.install()

_do_handshake = ssl.SSLSocket.do_handshake


def _do_handshake_without_race(self: ssl.SSLSocket, block: bool = False) -> None:
    # test_mtls_untrusted_client_cert_raises fails with stock too on a busy machine: a server
    # that refuses a certificate closes at once, and a client still at its request then sees a
    # broken pipe in place of the TLS alert that the test waits for. Close a little later.
    try:
        _do_handshake(self, block)
    except ssl.SSLError:
        if self.server_side:
            time.sleep(0.5)
        raise


ssl.SSLSocket.do_handshake = _do_handshake_without_race  # type: ignore[method-assign]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--in-files`."""
    parser.addoption("--in-files", action="store_true", help="count in files, not in memory")


@pytest.fixture(autouse=True)
def _files(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    if not request.config.getoption("in_files"):
        yield
        return
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())
    assert not hasattr(Counter.inc, "__code__"), "inc is not native"
    yield


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot pass where all metrics count in files."""
    if config.getoption("in_files"):
        left_out = [item for item in items if item.name in LEFT_OUT_IN_FILES]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_configure(config: pytest.Config) -> None:
    """Stop if the tests would run against a copy of prometheus_client beside them."""
    if config.getoption("in_files"):
        directory = tempfile.TemporaryDirectory(prefix="multiprom-upstream-")
        config.add_cleanup(directory.cleanup)
        multiprom.install(directory.name)
        # A test lists what is in its directory: no lock file that says who counts there.
        _core.announce(False)
    package = Path(prometheus_client.__file__)
    if package.is_relative_to(config.rootpath):
        raise pytest.UsageError(f"prometheus_client must be the installed one, not {package}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run unless every test ran and passed."""
    if _counts(session.config) != _expected(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say why the run failed, if its number of tests is the reason."""
    counts, expected = _counts(config), _expected(config)
    if counts != expected:
        terminalreporter.write_line(f"expected {expected}, got {counts}", red=True)


def _expected(config: pytest.Config) -> dict[str, int]:
    return EXPECTED_IN_FILES if config.getoption("in_files") else EXPECTED


def _counts(config: pytest.Config) -> dict[str, int]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return {}
    counts = {outcome: len(reporter.stats.get(outcome, [])) for outcome in _OUTCOMES}
    return {outcome: count for outcome, count in counts.items() if count}
