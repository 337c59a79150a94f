"""SEMANTICS.md names the tests that hold its statements: they exist, and no part of it goes without."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SEMANTICS.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
#: Sections in which each statement has its own test.
STATEMENTS = ("Versions", "Consistency", "Integrity")


@lru_cache
def found_in(file: str) -> frozenset[str]:
    path = ROOT / "tests" / file
    tree = ast.parse(path.read_text(encoding="utf-8") if path.exists() else "")
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return frozenset(name for name in functions if name.startswith("test_"))


def sections() -> dict[str, str]:
    """The text below each heading, up to the next heading of any level."""
    parts = re.split(r"^#{2,3} (.+)$", TEXT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(TEXT)
    assert len(named) > 80
    assert [f"{file}::{name}" for file, name in named if name not in found_in(file)] == []
    assert "::" not in NAMED.sub("", TEXT).replace("`FILE::TEST`", ""), "a test is named in another form"


def test_no_section_goes_without_a_test() -> None:
    assert [heading for heading, text in sections().items() if heading != "Tenets" and not NAMED.search(text)] == []


def test_each_statement_on_versions_consistency_and_integrity_has_its_test() -> None:
    checked = 0
    for heading, text in sections().items():
        if not heading.startswith(STATEMENTS):
            continue
        for table in re.findall(
            r"^\| a reader may rely on \| held by \|\n\|---\|---\|\n((?:\|.*\n)+)", text, flags=re.MULTILINE
        ):
            for row in table.splitlines():
                assert NAMED.search(row.rsplit("|", 2)[1]), f"nothing holds: {row}"
                checked += 1
    assert checked >= 25
