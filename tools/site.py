"""What MkDocs is told beside mkdocs.yml: the documents at the top level are pages too, and links between all of them work.

The sources are written for a reader of the repository, where docs/training.md links to ../SEMANTICS.md. In the site the
documents of both places lie side by side; other files that they link to (units, manifests) go with them as they are, and what
is no file of the site (folders, results of benchmarks) stays as text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
TOP = {path.name: "overview.md" if path.name == "README.md" else path.name for path in sorted(ROOT.glob("*.md"))}
_LINK = re.compile(r"\[((?:[^\]\\]|\\.)*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def slug(text: str, separator: str) -> str:
    """The anchor of a heading, as GitHub forms it: one source, the same links in both places."""
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", separator)


def on_config(config: Any) -> Any:
    """MkDocs: before anything is read."""
    config.mdx_configs["toc"] = {**config.mdx_configs.get("toc", {}), "slugify": slug}
    return config


def on_files(files: Files, config: Any) -> Files:
    """MkDocs: the documents of docs/ were found; those of the top level and what all of them link to are added."""
    sources = {name: ROOT / name for name in TOP}
    for file in list(files.documentation_pages()):
        sources[f"docs/{file.src_uri}"] = ROOT / "docs" / file.src_uri
    for name, page in TOP.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    linked = {_place(name, target) for name, path in sources.items() for _, target, _ in _LINK.findall(path.read_text("utf-8"))}
    for place in sorted(filter(None, linked)):
        if (ROOT / place).is_file() and not place.endswith(".md"):
            files.append(File.generated(config, f"files/{place}", content=(ROOT / place).read_bytes()))
    return files


def on_page_markdown(markdown: str, *, page: Any, files: Files, **_: Any) -> str:
    """MkDocs: a page is about to be rendered."""
    tops = {page: name for name, page in TOP.items()}
    source = tops.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def rewritten(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        place = _place(source, target)
        if place is None:
            return link[0]
        found = TOP.get(place, place.removeprefix("docs/")) if place.endswith(".md") else f"files/{place}"
        if files.get_file_from_path(found) is None:
            return text
        return f"[{text}]({os.path.relpath(found, os.path.dirname(page.file.src_uri) or '.')}{anchor})"

    return _LINK.sub(rewritten, markdown)


def _place(source: str, target: str) -> str | None:
    """Where a link of a document leads in the repository; None for one that leads elsewhere."""
    if re.match(r"[a-z]+:", target):
        return None
    return os.path.normpath(os.path.join(os.path.dirname(source), target))
