"""What the tests of documents look at in Markdown: fenced blocks, links, and the anchors of headings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

NOT_OURS = {"site", "build", "dist"}  # what is built
RUN, SHOWS = "<!-- run -->", "<!-- shows -->"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\s*$")
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$")
_LINK = re.compile(r"\[(?:[^\]\\]|\\.)*\]\(([^)\s]+)(?: \"[^\"]*\")?\)")
_CODE = re.compile(r"`+[^`]*`+")


class Block(NamedTuple):
    """A fenced block. `mark` is the comment on the line above it, "" where there is none."""

    language: str
    text: str
    line: int  # of its first line, from 1
    mark: str


def documents() -> list[Path]:
    """Every Markdown file of the repository."""
    found = []
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if not name.startswith(".") and name not in NOT_OURS]
        found += [Path(folder, name) for name in names if name.endswith(".md")]
    return sorted(found)


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a document, without their indentation."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        at += 1
        if fence is None:
            continue
        end = next(number for number in range(at, len(lines)) if lines[number].strip() == "```")
        indent = len(fence["indent"])
        mark = lines[at - 2].strip() if at >= 2 else ""
        inside = "\n".join(line[indent:] for line in lines[at:end])
        yield Block(fence["language"], inside, at + 1, mark if mark.startswith("<!--") else "")
        at = end + 1


def prose(text: str) -> str:
    """The document without fenced blocks: as many lines, those of the blocks empty."""
    inside, kept = False, []
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        kept.append("" if inside or fence else line)
        inside ^= fence
    return "\n".join(kept)


def links(text: str) -> list[str]:
    """The targets of all links."""
    return _LINK.findall(_CODE.sub("", prose(text)))


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as GitHub and MkDocs form them (the second of two equal ones is numbered)."""
    found: set[str] = set()
    for line in prose(text).splitlines():
        heading = _HEADING.match(line)
        if heading:
            words = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            anchor = re.sub(r" ", "-", re.sub(r"[^\w\- ]", "", words))
            number = 0
            while (numbered := f"{anchor}-{number}" if number else anchor) in found:
                number += 1
            found.add(numbered)
    return found
