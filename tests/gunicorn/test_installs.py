"""The application knows prometheus_client only, and yet it is multiprom that scrapes."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.gunicorn_server import CONFIGURATION, Server, each_version

# prometheus_client decides when it is imported how it counts: here, in memory.
LATE = """
from prometheus_client import values

assert not values.ValueClass._multiprocess
from multiprom.gunicorn import child_exit
"""


@each_version
@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_a_damaged_file_fails_no_scrape(version: str, preload: list[str], tmp_path: Path) -> None:
    with Server(version, tmp_path, *CONFIGURATION, *preload) as server:
        server.send(3)
        [private] = server.private_directories
        # prometheus_client answers this with struct.error, at each scrape from now on.
        (private / "counter_1.db").write_bytes(b"\x10\x00")
        assert server.scrape()["app_requests_total"] == 3
        assert "Traceback" not in server.log


@each_version
def test_prometheus_client_may_have_been_imported_before(version: str, tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(LATE + "workers = 2\n")
    with Server(version, tmp_path) as server:
        pids = server.send_until_answered_by(2)
        [private] = server.private_directories
        files = {path.name for path in private.glob("*.db")}
        assert {f"counter_{pid}.db" for pid in pids} <= files
        assert server.scrape()["app_requests_total"] == server.sent
