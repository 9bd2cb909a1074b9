"""Install the built wheels into empty environments, one for each CPython here, and use them.

The environments have no cargo on PATH, so pip cannot build anything.

Usage: try_wheels.py FOLDER_OF_WHEELS FOLDER_FOR_ENVIRONMENTS
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

TRY_INSTALLED = Path(__file__).resolve().parent / "try_installed.py"

OLDEST = (3, 10)
NEWEST = (3, 15)
LARGEST_WHEEL = 1 << 20
# The processor time that `import multiprom` may take after prometheus_client is imported.
SLOWEST_IMPORT_MS = 10.0
# The fastest of so many imports counts, since other work on a machine only ever makes one slower.
IMPORTS = 10

IDENTIFY = """
import json, platform, sys, sysconfig
print(json.dumps([
    platform.python_implementation(),
    sys.version_info[:2],
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
]))
"""
TIME_IMPORT = """
import time
import prometheus_client
import prometheus_client.multiprocess

start = time.process_time()
import multiprom

imported = time.process_time()
multiprom.install()
print((imported - start) * 1e3, (time.process_time() - start) * 1e3)
"""


def output(*command: str | Path, **variables: str) -> str:
    """Return what a command prints, and raise if it fails."""
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def candidates() -> list[Path]:
    """Return all programs that may be a CPython that multiprom supports: on PATH and in pyenv."""
    found = [Path(sys.executable)]
    for minor in range(OLDEST[1], NEWEST[1] + 1):
        for suffix in ("", "t"):
            name = f"python3.{minor}{suffix}"
            on_path = shutil.which(name)
            if on_path:
                found.append(Path(on_path))
    pyenv = shutil.which("pyenv")
    if pyenv:
        versions = Path(output(pyenv, "root").strip()) / "versions"
        found += sorted(versions.glob("*/bin/python3"))
    return found


def interpreters() -> dict[str, Path]:
    """Return one interpreter for each version of CPython that is here, with and without a GIL."""
    found: dict[str, Path] = {}
    for program in candidates():
        # A shim of pyenv is there for versions that are not, and fails.
        told = subprocess.run(
            [program, "-I", "-c", IDENTIFY], capture_output=True, text=True, check=False
        )
        if told.returncode:
            continue
        implementation, version, free_threaded = json.loads(told.stdout)
        if implementation == "CPython" and OLDEST <= tuple(version) <= NEWEST:
            name = f"3.{version[1]}" + ("t" if free_threaded else "")
            found.setdefault(name, program)
    return dict(sorted(found.items(), key=lambda item: (int(item[0][2:].rstrip("t")), item[0])))


def without_cargo(environment: Path) -> str:
    """Return a PATH that has this environment's programs, and no cargo."""
    folders = [
        folder
        for folder in os.environ["PATH"].split(os.pathsep)
        if not (Path(folder) / "cargo").exists()
    ]
    return os.pathsep.join([str(environment / "bin"), *folders])


def import_times(python: Path, directory: Path) -> tuple[float, float]:
    """Return the ms of the fastest `import multiprom`, and of the fastest with `install()`."""
    directory.mkdir(exist_ok=True)
    times = [
        output(python, "-I", "-c", TIME_IMPORT, PROMETHEUS_MULTIPROC_DIR=str(directory)).split()
        for _ in range(IMPORTS)
    ]
    return min(float(time[0]) for time in times), min(float(time[1]) for time in times)


def main(wheels: str, folder: str) -> None:
    """Check the sizes, and install and use a wheel with each interpreter."""
    for wheel in sorted(Path(wheels).glob("*.whl")):
        size = wheel.stat().st_size
        print(f"{wheel.name}: {size / 1024:.0f} KiB")
        if size > LARGEST_WHEEL:
            raise SystemExit(f"{wheel.name} is larger than {LARGEST_WHEEL} bytes")
    slow = []
    for name, program in interpreters().items():
        environment = Path(folder) / f"python{name}"
        python = environment / "bin" / "python"
        path = without_cargo(environment)
        output(program, "-m", "venv", "--clear", environment)
        if shutil.which("cargo", path=path):
            raise SystemExit(f"cargo is still on {path}")
        pip = (python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:")
        output(*pip, "prometheus_client", PATH=path)
        output(*pip, "--no-index", "--no-deps", "--find-links", wheels, "multiprom", PATH=path)
        output(python, "-I", TRY_INSTALLED, PATH=path)
        imported, installed = import_times(python, environment / "metrics")
        print(f"Python {name}: works; import {imported:.1f} ms, with install() {installed:.1f} ms")
        if imported > SLOWEST_IMPORT_MS:
            slow.append(name)
    if slow:
        raise SystemExit(f"importing takes more than {SLOWEST_IMPORT_MS} ms on {', '.join(slow)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
