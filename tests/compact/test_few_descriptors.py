"""A process that may open few files compacts in small steps, and in the end all is folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support import files
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 40
FILES = 200
SCRIPT = """
import os, resource, sys
import multiprom
directory, limit, pids = sys.argv[1], int(sys.argv[2]), range(int(sys.argv[3]))
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
done = multiprom.compact(directory, pids=pids)
assert done.left_alone == (), done.left_alone
print(done.files_folded, *sorted(os.listdir(directory)))
"""


def test_all_is_folded(tmp_path: Path) -> None:
    for pid in range(FILES):
        files.write(tmp_path / f"counter_{pid}.db", [files.counter(1)])
    printed = run(SCRIPT, tmp_path, str(LIMIT), str(FILES))
    assert printed.split() == [str(FILES), ".multiprom.lock", "counter_compacted.db"]
