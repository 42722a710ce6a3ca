"""A hook of MkDocs: pages that lie outside `docs/` become part of the site, and links to them lead there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
OUTSIDE: Final = ("CONTRIBUTING.md", "CHANGELOG.md", "slipway/miniature/checkpoint/README.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, by their paths in the checkout."""
    for path in OUTSIDE:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs's signature
    """Links as they are right in the site: it has the folder `docs` for its root."""
    if page.file.src_uri in OUTSIDE:
        return markdown.replace("](docs/", "](")
    for path in OUTSIDE:
        markdown = markdown.replace(f"](../{path}", f"]({path}")
    return markdown
