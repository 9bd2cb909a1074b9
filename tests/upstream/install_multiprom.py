"""A pytest plugin: prometheus_client's own tests, run with multiprom in its place.

`make test-upstream` loads it with `-p`, before any test module imports prometheus_client. The
tests themselves are not touched. A run in which one of them was skipped, or not found, proves
less than it seems to, so anything but the full number fails.
"""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import multiprom
import prometheus_client
import pytest

# prometheus_client 0.26.0.
EXPECTED = {"passed": 320}
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


def pytest_configure(config: pytest.Config) -> None:
    """Stop if the tests would run against a copy of prometheus_client beside them."""
    package = Path(prometheus_client.__file__)
    if package.is_relative_to(config.rootpath):
        raise pytest.UsageError(f"prometheus_client must be the installed one, not {package}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run unless every test ran and passed."""
    counts = _counts(session.config)
    if counts != EXPECTED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say why the run failed, if its number of tests is the reason."""
    counts = _counts(config)
    if counts != EXPECTED:
        terminalreporter.write_line(f"expected {EXPECTED}, got {counts}", red=True)


def _counts(config: pytest.Config) -> dict[str, int]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return {}
    counts = {outcome: len(reporter.stats.get(outcome, [])) for outcome in _OUTCOMES}
    return {outcome: count for outcome, count in counts.items() if count}
