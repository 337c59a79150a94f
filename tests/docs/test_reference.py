"""The documents beside the guides name commands, options, chapters and tests that exist, and README shows every command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ossmount.cli.describe import commands
from ossmount.cli.main import COMMANDS
from tests.docs.markdown import ROOT, blocks, prose
from tests.mount import posix_differences

CHAPTERS = sorted((ROOT / "docs" / "architecture").glob("*.md"))
DOCUMENTS = [ROOT / name for name in ("README.md", "SEMANTICS.md", "CHANGELOG.md", "SECURITY.md", "ARCHITECTURE.md")] + CHAPTERS


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8").replace("\\|", "|")


def said(path: Path) -> list[str]:
    """What stands between backquotes in a line, and the commands in blocks, with lines that go on joined."""
    text = text_of(path)
    lines = [line for block in blocks(text) for line in block.text.replace("\\\n", " ").splitlines()]
    return re.findall(r"`([^`]+)`", prose(text)) + [line.removeprefix("$ ") for line in lines]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_and_option_that_is_named_exists(path: Path) -> None:
    flags = {name for command in commands() for flag in command.flags for name in flag.names} | {"--help", "--version"}
    for one in said(path):
        words = one.split("#")[0].split()
        if words[:1] == ["ossmount"] and words[1:] and re.fullmatch(r"[a-z][a-z-]+", words[1]):
            assert words[1] in COMMANDS, one
        if words[:1] == ["ossmount"] or one.startswith("--"):
            assert [word for word in re.findall(r"(?<![\w-])--[a-z][a-z-]*", one.split("#")[0]) if word not in flags] == [], one


def test_readme_shows_every_command() -> None:
    table = text_of(ROOT / "README.md").split("## Commands")[1].split("\n## ")[0]
    assert [name for name in COMMANDS if f"| `ossmount {name}" not in table] == []


def test_every_chapter_is_on_the_map() -> None:
    found = set(re.findall(r"\]\((docs/architecture/[\w-]+\.md)\)", text_of(ROOT / "ARCHITECTURE.md")))
    assert found == {str(chapter.relative_to(ROOT)) for chapter in CHAPTERS}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_of_tests_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"\btests/[\w/]+\.py\b", text_of(path)))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_semantics_shows_the_differences_from_ext4_that_are_expected() -> None:
    assert posix_differences.table() in (ROOT / "SEMANTICS.md").read_text("utf-8"), "python -m tests.mount.posix_differences"
