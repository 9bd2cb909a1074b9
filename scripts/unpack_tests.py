"""Unpack the tests, and nothing else, of a source distribution into a directory."""

from __future__ import annotations

import sys
import tarfile
from pathlib import PurePosixPath


def main(archive: str, directory: str) -> None:
    """Unpack `NAME-VERSION/tests` of the archive below the directory."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar if PurePosixPath(member.name).parts[1:2] == ("tests",)]
        # The filter is in the security releases of Python 3.10 and 3.11 and all later ones.
        if hasattr(tarfile, "data_filter"):
            tar.extractall(directory, members, filter="data")
        else:
            tar.extractall(directory, members)  # noqa: S202 -- pip has checked the hash


if __name__ == "__main__":
    main(*sys.argv[1:])
