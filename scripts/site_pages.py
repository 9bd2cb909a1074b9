"""Pages of the site that are not in docs/: README.md and CONTRIBUTING.md. mkdocs calls this."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, with their links as they are from inside docs/."""
    for source, target in PAGES.items():
        text = (ROOT / source).read_text()
        text = re.sub(r"\]\(docs/", "](", text)
        for page, name in PAGES.items():
            text = text.replace(f"]({page}", f"]({name}")
        # What else the repository has is no page of the site.
        text = re.sub(
            r"\]\(((?:examples/|SECURITY)[^)]*)\)", rf"]({config.repo_url}/blob/main/\1)", text
        )
        files.append(File.generated(config, target, content=text))
    return files
