"""File times of whole seconds, as ext4 has them with inodes of 128 bytes.

A compaction that was killed leaves the journal that names the files that it has deleted, by name,
inode and time. ext4 gives a new file the inode of the one just deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.disks import private_mounts
from support.interpreters import run

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import os, struct, subprocess, sys, time
from pathlib import Path
import multiprom
place, is_private = Path(sys.argv[1]), sys.argv[2]
if is_private and os.getuid() == 0:
    image = place.with_suffix(".ext4")
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-I", "128", str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    assert place.stat().st_mtime_ns % 1_000_000_000 == 0

def worker(directory, amount):
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    if os.fork() == 0:
        value_class = multiprom.MultiProcessValue(lambda: "w")
        value = value_class("counter", "c", "c_total", (), (), "Help")
        value.inc(amount)
        os._exit(0)
    assert os.wait()[1] == 0
    return (directory / "counter_w.db").stat()

def total(directory):
    metrics = multiprom.MultiProcessCollector(None, str(directory)).collect()
    return sum(sample.value for metric in metrics for sample in metric.samples)

os.environ["MULTIPROM_COMPACTION"] = "off"
marks = []
for number in range(3):
    directory = place / str(number)
    directory.mkdir()
    time.sleep(-time.time() % 1)
    first = worker(directory, 100)
    assert multiprom.compact(directory).files_folded == 1
    # As if the compaction had been killed before its last step.
    with (directory / "counter_compacted.db").open("r+b") as archive:
        [used] = struct.unpack("i", archive.read(4))
        archive.seek(used)
        archive.write(b"MPjourn1")
    second = worker(directory, 23)
    assert total(directory) == 123, (number, total(directory), first, second)
    multiprom.compact(directory)
    assert total(directory) == 123, (number, total(directory), first, second)
    assert first.st_ino != second.st_ino
print("all")
"""


def test_a_new_file_is_never_taken_for_a_spent_one(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    within = private_mounts()
    assert run(SCRIPT, place, "1" if within else "", within=within) == "all\n"
