"""Hold the crates that multiprom is built, tested and fuzzed with to deny.toml, without a network.

cargo-deny does more (advisories, crates that were yanked), but has to be built, and to fetch its
database; CI runs it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = ("Cargo.toml", "fuzz/Cargo.toml")
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def is_allowed(expression: str, licences: set[str]) -> bool:
    """Say whether an SPDX expression can be met by these licences."""
    # `A/B` is how older crates write `A OR B`.
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def alternatives() -> bool:
        result = together()
        while words and words[0] == "OR":
            words.pop(0)
            other = together()
            result = result or other
        return result

    def together() -> bool:
        result = licence()
        while words and words[0] == "AND":
            words.pop(0)
            other = licence()
            result = result and other
        return result

    def licence() -> bool:
        word = words.pop(0)
        if word == "(":
            result = alternatives()
            words.pop(0)
            return result
        if words and words[0] == "WITH":
            words.pop(0)
            word = f"{word} WITH {words.pop(0)}"
        return word in licences

    return alternatives()


def main() -> None:
    """Print what is not allowed, and fail if there is any."""
    configuration = tomllib.loads((ROOT / "deny.toml").read_text())
    licences = set(configuration["licenses"]["allow"])
    wrong = set()
    for manifest in MANIFESTS:
        told = subprocess.run(
            ["cargo", "metadata", "--format-version=1", "--manifest-path", ROOT / manifest],  # noqa: S607
            check=True,
            stdout=subprocess.PIPE,
        )
        for package in json.loads(told.stdout)["packages"]:
            name = f"{package['name']} {package['version']}"
            if package["source"] not in (None, CRATES_IO):
                wrong.add(f"{name}: comes from {package['source']}")
            # Crates of this project that are not published have the project's licence.
            if package["source"] and not is_allowed(package["license"] or "none", licences):
                wrong.add(f"{name}: its licence is {package['license']}")
    for line in sorted(wrong):
        print(line)
    if wrong:
        raise SystemExit("deny.toml does not allow these crates")


if __name__ == "__main__":
    main()
