"""prometheus_client's file was removed or replaced before install(): what it held is not lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import os, shutil, sys, warnings
import multiprom
from support.scripts import finish, scrape
from prometheus_client import Counter, Gauge
directory = os.environ["PROMETHEUS_MULTIPROC_DIR"]
counter = Counter("n", "Help", ["label"])
gauge = Gauge("g", "Help", multiprocess_mode="sum")
child = counter.labels("a")
child.inc(3)
gauge.set(5)
"""

# What happens to each file.
EVENTS = {
    "nothing": "",
    "removed": "os.unlink(path)",
    "replaced by an empty one": "os.unlink(path); open(path, 'x').close()",
    "replaced by a copy": "shutil.copy(path, other); os.replace(other, path)",
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_what_was_held(event: str, directory: Path) -> None:
    script = f"""
for name in [name for name in os.listdir(directory) if name[0] != "."]:
    path, other = os.path.join(directory, name), os.path.join(directory, "other")
    {event or "pass"}
child.inc(2)
multiprom.install()
child.inc(1)
gauge.inc(1)
print(scrape(), child._value.get())
finish()
"""
    printed = run(SCRIPT + script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "{'n_total': 6.0, 'g': 6.0} 6.0\n"


@pytest.mark.parametrize("place", ["removed", "another"])
def test_a_child_that_was_made_anew(place: str, directory: Path) -> None:
    """It goes on from what the first one had counted: prometheus_client keeps both values."""
    script = f"""
# That the file keeps it.
warnings.simplefilter("ignore", UserWarning)
counter.remove("a")
counter.labels("a").inc(2)
if {place!r} == "removed":
    for name in [name for name in os.listdir(directory) if name[0] != "."]:
        os.unlink(os.path.join(directory, name))
    multiprom.install()
else:
    multiprom.install(directory + "/another")
counter.labels("a").inc(1)
print(scrape())
finish()
"""
    printed = run(SCRIPT + script, PROMETHEUS_MULTIPROC_DIR=directory)
    assert printed == "{'n_total': 6.0, 'g': 5.0}\n"
