"""All servers and neighbours go through the drill, which writes a table: `build/e2e.md`."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from drill import drill
from neighbours import NEIGHBOURS
from servers import SERVERS
from support.folders import let_others_reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drill import Outcome
    from service import Case

TABLE = Path(__file__).resolve().parents[1] / "build" / "e2e.md"
HEAD = """\
| service | version | besides load | requests answered, of | counted | deaths |
| --- | --- | --- | --- | --- | --- |
"""


@pytest.fixture(scope="session")
def _table() -> Path:
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(HEAD)
    return TABLE


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Redis without a port; return the path of its socket."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.fail("Redis is not installed: `make e2e-all` installs it", pytrace=False)
    folder = tmp_path_factory.mktemp("redis")
    socket = folder / "socket"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--save", ""]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 20
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield str(socket)
        process.terminate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that workers of another user can reach."""
    return let_others_reach(tmp_path)


@pytest.fixture
def row(_table: Path) -> Callable[[Case, Outcome], None]:
    """Return a function that adds a row to the table of this run."""

    def add(case: Case, seen: Outcome) -> None:
        cells = (case.name, case.version, case.does, f"{seen.answered:,} of {seen.sent:,}")
        with _table.open("a") as table:
            table.write(f"| {' | '.join((*cells, f'{seen.counted:,}', str(seen.deaths)))} |\n")

    return add


def parameters(cases: list[Case]) -> list[object]:
    return [
        pytest.param(
            case,
            id=f"{case.name} {case.gunicorn}" if case.package == "gunicorn" else case.name,
            marks=[pytest.mark.quick] if case.quick else [],
        )
        for case in cases
    ]


@pytest.mark.parametrize("case", parameters([*SERVERS, *NEIGHBOURS]))
def test_service(
    case: Case, folder: Path, row: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    needs_redis = any("{redis}" in value for value in case.variables.values())
    redis = request.getfixturevalue("redis") if needs_redis else ""
    row(case, drill(case, folder, redis))
