"""Which tests prove that an option has its effect: those with @pytest.mark.option("name", ...)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def proofs() -> dict[str, list[str]]:
    """By option, the tests that are marked with it, as pytest names them."""
    found: dict[str, list[str]] = {}
    for module in sorted((ROOT / "tests").rglob("test_*.py")):
        for function in ast.parse(module.read_text("utf-8")).body:
            if isinstance(function, ast.FunctionDef):
                for name in _marked(function):
                    found.setdefault(name, []).append(f"{module.relative_to(ROOT)}::{function.name}")
    return found


def _marked(function: ast.FunctionDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.option":
            yield from (str(ast.literal_eval(argument)) for argument in decorator.args)
