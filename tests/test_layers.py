"""The order of the rooms: imports, also of modules named by strings, point down only.

Also what keeps a file easy to carry: none is long, and no test imports another.
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[1]

# The rooms of src/, the lowest first; those of one line do not know each other.
ROOMS = (
    ("error", "kind", "float", "mark", "order"),
    ("sys", "format"),
    ("store",),
    ("scrape", "count"),
    ("text", "compact"),
    ("inspect",),
    ("python",),
)
# The modules of python/multiprom/, likewise. `_core` is below them, `__init__` above.
MODULES = (
    ("reports",),
    ("environment",),
    ("stock",),
    ("values", "compaction"),
    ("moving",),
    ("collector",),
    ("registries",),
    ("exposition",),
    ("installation",),
    ("private",),
    ("cli",),
    ("gunicorn",),
    ("__main__",),
)
# Rust knows the package by its own name and that of its logger; it calls nothing in it.
OWN_NAMES = ("multiprom", "multiprom._core")
LINES_MAX = 400

# Tests that need a room above or beside their own, and that room: they count with compaction beside
# them, and compare what a scrape shows before and after.
UPWARD = {("src/count/tests.rs", "compact"), ("src/compact/tests/support.rs", "text")}


def rank(order: Iterable[tuple[str, ...]], name: str) -> int | None:
    """Give the place of a room or module in its order."""
    return next((place for place, names in enumerate(order) if name in names), None)


def without_comments(rust: str) -> str:
    """Take the comments out of Rust code, which may speak of any room."""
    return re.sub(r"(?m)(^|\s)//.*$", "", rust)


def rooms_named(path: Path, source: Path) -> Iterator[str]:
    """Give the room of each path that a Rust file imports or names inline."""
    rust = without_comments(path.read_text())
    for match in re.finditer(r"\bcrate::(\w+|\{)", rust):
        if match[1] == "{":
            yield from re.findall(r"(?:^|,)\s*(\w+)", flat_group(rust, match.end()))
        else:
            yield match[1]
    # From a file `room/module.rs` two steps up lead out of the room, three from a module inside.
    place = path.relative_to(source)
    depth = len(place.parts) - (place.name in ("mod.rs", "lib.rs"))
    for match in re.finditer(r"\b((?:super::)+)(\w+)", rust):
        if match[1].count("super::") >= depth and rank(ROOMS, match[2]) is not None:
            yield match[2]


def flat_group(rust: str, start: int) -> str:
    """Give what stands in a group of imports that begins at `start`, without the groups in it."""
    depth, found = 1, ""
    for character in rust[start:]:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            break
        if depth == 1:
            found += character
    return found


def modules_named(path: Path) -> Iterator[str]:
    """Give each module of multiprom that a Python file imports or names in a string."""
    tree = ast.parse(path.read_text())
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = "multiprom" if node.level else ""
            home = ".".join(filter(None, (package, node.module)))
            yield home
            if home == "multiprom":
                yield from (f"multiprom.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_module = re.fullmatch(r"multiprom(\.\w+)+", node.value)
            if is_module and id(node) not in texts:
                yield node.value


def upward_in_rust(root: Path) -> Iterator[tuple[str, str]]:
    """Give each Rust file that names a room above or beside its own, and that room."""
    source = root / "src"
    for path in sorted(source.rglob("*.rs")):
        own = path.relative_to(source).parts[0].removesuffix(".rs")
        if own == "lib":
            continue
        name = str(path.relative_to(root))
        place = rank(ROOMS, own)
        if place is None:
            yield name, "no room"
            continue
        for room in rooms_named(path, source):
            other = rank(ROOMS, room)
            if room != own and (other is None or other >= place):
                yield name, room
        for text in re.findall(r'"(multiprom\b[\w.]*)"', without_comments(path.read_text())):
            if text not in OWN_NAMES:
                yield name, text


def upward_in_python(root: Path) -> Iterator[tuple[str, str]]:
    """Give each module of the package that names one above or beside it, and that one."""
    package_root = root / "python" / "multiprom"
    for path in sorted(package_root.rglob("*.py")):
        # The modules of a package inside have its place.
        own = path.relative_to(package_root).parts[0].removesuffix(".py")
        name = str(path.relative_to(root))
        place = rank(MODULES, own)
        if own == "__init__":
            continue
        if place is None:
            yield name, "no place"
            continue
        for module in modules_named(path):
            package, _, other = module.partition(".")
            other = other.partition(".")[0]
            if package != "multiprom" or other in ("", "_core", own) or not is_module(root, other):
                continue
            above = rank(MODULES, other)
            if above is None or above >= place:
                yield name, other


def is_module(root: Path, name: str) -> bool:
    """Say whether it is a module, and not a name that the package gives."""
    path = root / "python" / "multiprom" / name
    return path.with_suffix(".py").exists() or path.is_dir()


def long_files(root: Path) -> Iterator[tuple[str, int]]:
    """Give each file of code that is too long, and its lines."""
    python = ("python", "tests", "examples")
    for folder, pattern in (("src", "*.rs"), *((folder, "*.py") for folder in python)):
        for path in sorted((root / folder).rglob(pattern)):
            lines = len(path.read_text().splitlines())
            if lines > LINES_MAX:
                yield str(path.relative_to(root)), lines


def imports_of_tests(root: Path) -> Iterator[tuple[str, str]]:
    """Give each test file that imports another, and which."""
    tests = {path.stem for path in (root / "tests").rglob("test_*.py")}
    for path in sorted((root / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(alias.name for alias in node.names)]
            for name in names:
                if name.rpartition(".")[2] in tests:
                    yield str(path.relative_to(root)), name


def test_rust_imports_point_down() -> None:
    assert set(upward_in_rust(ROOT)) == UPWARD


def test_python_imports_point_down() -> None:
    assert list(upward_in_python(ROOT)) == []


def test_the_package_names_modules_that_are_there() -> None:
    tree = ast.parse((ROOT / "python/multiprom/__init__.py").read_text())
    [homes] = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_NAMES"
    ]
    paths = [home.removeprefix("multiprom.").replace(".", "/") for home in homes]
    assert [path for path in paths if not is_module(ROOT, path)] == []


def test_no_file_is_long() -> None:
    assert list(long_files(ROOT)) == []


def test_no_test_imports_another() -> None:
    assert list(imports_of_tests(ROOT)) == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a small tree in which everything is wrong that can be, beside what is right."""
    files = {
        "src/lib.rs": "pub mod store;\nuse crate::python::anything;",
        "src/kind.rs": "use crate::error::Error;",
        "src/cellar/mod.rs": "",
        "src/sys/mod.rs": "mod gate;\nuse super::store::Reader;\nuse super::error::Error;",
        "src/sys/gate.rs": "use crate::{error::{Error, Result}, kind, format::{Entry}};",
        "src/store/mod.rs": "//! [`crate::python`]\nmod reader; // crate::text\nuse crate::sys;",
        "src/store/reader.rs": """
            use crate::store::Reader;
            use super::super::format::Entry;
            fn read() { let _ = crate::scrape::merge(); }
            mod tests { use super::super::text; }
        """,
        "src/python/mod.rs": """
            use crate::text;
            fn log() { import("multiprom._core"); import("multiprom.values"); logger("multiprom") }
        """,
        "python/multiprom/__init__.py": "from multiprom.gunicorn import child_exit",
        "python/multiprom/attic.py": "",
        "python/multiprom/environment.py": '''
            """Read by `multiprom.gunicorn`."""
            from multiprom import _core, reports
            if TYPE_CHECKING:
                from multiprom.stock import original
        ''',
        "python/multiprom/reports.py": "def log():\n    from . import environment",
        "python/multiprom/values.py": 'import multiprom.stock\nload("multiprom.gunicorn")',
        "python/multiprom/stock.py": 'from multiprom import compact\nname = "multiprom.compact"',
        "python/multiprom/gunicorn.py": "import multiprom\nimport multiprom.__main__",
        "python/multiprom/cli/page.py": "import multiprom.gunicorn\nimport multiprom.cli.other",
        "python/multiprom/cli/other.py": "import multiprom.__main__",
        "python/multiprom/__main__.py": "from multiprom.cli import other",
        "tests/count/test_one.py": "from count.test_two import helper",
        "tests/count/test_two.py": "from support import files\n" * (LINES_MAX + 1),
        "tests/support/files.py": "import count.test_one",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content))
    return tmp_path


def test_the_checks_can_fail(tree: Path) -> None:
    assert sorted(upward_in_rust(tree)) == [
        ("src/cellar/mod.rs", "no room"),
        ("src/kind.rs", "error"),
        ("src/python/mod.rs", "multiprom.values"),
        ("src/store/reader.rs", "scrape"),
        ("src/store/reader.rs", "text"),
        ("src/sys/gate.rs", "format"),
        ("src/sys/mod.rs", "store"),
    ]
    assert sorted(upward_in_python(tree)) == [
        ("python/multiprom/attic.py", "no place"),
        ("python/multiprom/cli/other.py", "__main__"),
        ("python/multiprom/cli/page.py", "gunicorn"),
        ("python/multiprom/environment.py", "stock"),
        ("python/multiprom/gunicorn.py", "__main__"),
        ("python/multiprom/reports.py", "environment"),
        ("python/multiprom/values.py", "gunicorn"),
    ]
    assert list(long_files(tree)) == [("tests/count/test_two.py", LINES_MAX + 1)]
    assert list(imports_of_tests(tree)) == [
        ("tests/count/test_one.py", "count.test_two"),
        ("tests/support/files.py", "count.test_one"),
    ]
