"""Every option is given to a real mount by some test: all that tests/mount writes is searched for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ossmount.options.declarations import OPTIONS


def texts(tree: ast.AST) -> Iterator[str]:
    """The words of command lines and names of variables that a test writes; what stands behind "-o" begins with -o."""
    for node in ast.walk(tree):
        before = ""
        for word in map(text_of, ast.iter_child_nodes(node)):
            yield f"-o{word}" if before == "-o" else word
            before = word


def text_of(node: ast.AST) -> str:
    """A text, with all that an f-string fills in left out; "" for what is none."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or "?" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.fixture(scope="module")
def written() -> str:
    """What all tests of mounts write, one text in a line."""
    modules = (Path(__file__).parents[2] / "mount").glob("*.py")
    return "\n".join(text.replace("\n", " ") for module in modules for text in texts(ast.parse(module.read_text("utf-8"))))


@pytest.mark.parametrize("name", [option.name for option in OPTIONS])
def test_some_test_mounts_with_it(written: str, name: str) -> None:
    (option,) = (option for option in OPTIONS if option.name == name)
    forms = rf"^{option.flag}(=|$)|^{option.variable}$|^-o(.*,)?{name}(=|,|$)|^([\w.]+(=[^,\n]*)?,)*{name}="
    assert re.search(forms, written, re.MULTILINE), f"no test in tests/mount gives {option.flag} to a mount"
