"""`multiprom export`: a scrape as text, OpenMetrics or JSON, which changes nothing."""

from __future__ import annotations

import math
from pathlib import Path

from support.command_line import run, run_json
from support.files import Entry, counter, write, write_ours


def fill(directory: Path) -> None:
    for process in (1, 2):
        write(
            directory / f"counter_{process}.db",
            [counter(process, "http", path="/"), counter(10, "jobs")],
        )
    bucket = {"le": "1.0"}
    write(
        directory / "histogram_1.db",
        [
            Entry("seconds", "seconds_sum", {}, value=3.5),
            Entry("seconds", "seconds_bucket", bucket, value=2),
            Entry("seconds", "seconds_bucket", {"le": "+Inf"}, value=1),
        ],
    )


def names(text: str) -> list[str]:
    return [line.split("{")[0].split()[0] for line in text.splitlines() if line[0] != "#"]


def test_text(directory: Path) -> None:
    fill(directory)
    text = run("export", directory).stdout
    assert text.startswith(
        '# HELP http_total Help\n# TYPE http_total counter\nhttp_total{path="/"} 3'
    )
    assert "seconds_count 3.0\n" in text


def test_openmetrics(directory: Path) -> None:
    fill(directory)
    text = run("export", directory, "--format", "openmetrics").stdout
    assert "# TYPE http counter\n" in text
    assert text.endswith("\n# EOF\n")


def test_json(directory: Path) -> None:
    fill(directory)
    document = run_json("export", directory)
    assert document == run_json("export", directory, "--format", "json")
    assert (document["directory"], document["left_out"]) == (str(directory), [])
    http, jobs, seconds = document["families"]
    assert (http["name"], http["type"], http["help"]) == ("http", "counter", "Help")
    assert http["samples"] == [{"name": "http_total", "labels": {"path": "/"}, "value": 3.0}]
    assert jobs["samples"][0]["value"] == 20.0
    assert [sample["labels"] for sample in seconds["samples"]] == [
        {},
        {"le": "1.0"},
        {"le": "+Inf"},
        {},
    ]


def test_json_has_numbers_that_are_none_as_text(directory: Path) -> None:
    values = (math.nan, math.inf, -math.inf)
    write(
        directory / "gauge_max_1.db",
        [Entry(f"g{n}", f"g{n}", value=v) for n, v in enumerate(values)],
    )
    families = run_json("export", directory)["families"]
    assert [family["samples"][0]["value"] for family in families] == ["NaN", "+Inf", "-Inf"]


def test_names(directory: Path) -> None:
    fill(directory)
    for options, expected in (
        (["http"], ["http_total"]),
        (["jobs_total", "http_total"], ["http_total", "jobs_total"]),
        (["seconds"], ["seconds_sum", "seconds_bucket", "seconds_bucket", "seconds_count"]),
        (["seconds_c*"], ["seconds_count"]),
        (["*s"], ["jobs_total", "seconds_sum", *["seconds_bucket"] * 2, "seconds_count"]),
    ):
        flags = [word for name in options for word in ("--name", name)]
        assert sorted(names(run("export", directory, *flags).stdout)) == sorted(expected)
        assert len(run_json("export", directory, *flags)["families"]) >= 1


def test_a_name_that_nothing_has(directory: Path) -> None:
    fill(directory)
    for form in ("text", "openmetrics", "json"):
        done = run("export", directory, "--name", "no", "--name", "HTTP*", "--format", form, code=1)
        assert done.stderr == "multiprom: no metric is named no or HTTP*\n"


def test_an_empty_directory(directory: Path) -> None:
    assert run("export", directory).stdout == ""
    assert run("export", directory, "--format", "openmetrics").stdout == "# EOF\n"
    assert run_json("export", directory)["families"] == []


def test_damaged_and_foreign_files(directory: Path) -> None:
    fill(directory)
    (directory / "counter_3.db").write_bytes(b"\x10\x27\0\0\0\0\0\0")
    (directory / "cache.db").write_bytes(b"SQLite format 3\0")
    done = run("export", directory, code=1)
    assert "http_total" in done.stdout
    assert "counter_3.db" in done.stderr
    left_out = run_json("export", directory, code=1)["left_out"]
    assert [Path(item["path"]).name for item in left_out] == ["cache.db", "counter_3.db"]
    assert left_out[1]["offset"] == 8
    assert {*left_out[0]} == {"path", "offset", "reason", "entries"}


def test_files_of_other_programs_are_no_damage(directory: Path) -> None:
    fill(directory)
    (directory / "cache.db").write_bytes(b"SQLite format 3\0")
    (directory / "counter_3.db").mkdir()
    assert len(run_json("export", directory)["left_out"]) == 2
    assert "http_total" in run("export", directory).stdout


def test_only_files_that_cannot_be_read(directory: Path) -> None:
    write(directory / "counter_1.db", [counter(1)]).chmod(0o000)
    said = run("export", directory, code=3, privileges=False).stderr
    assert "counter_1.db" in said


def test_nothing_is_changed(directory: Path) -> None:
    for number in range(5):
        write_ours(directory / f"counter_{number}.db", counter(1))
    before = sorted(directory.iterdir())
    assert "requests_total 5.0" in run("export", directory).stdout
    run_json("export", directory)
    assert sorted(directory.iterdir()) == before
