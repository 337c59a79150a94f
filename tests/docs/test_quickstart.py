"""docs/quickstart.md is what a run of README's quick start left: python -m tests.ways.newcomer > docs/quickstart.md."""

from __future__ import annotations

import re

from tests.docs.markdown import ROOT
from tests.ways.newcomer import commands, normalised, quick_start, shortened, typed

DOCUMENT = ROOT / "docs" / "quickstart.md"


def test_its_commands_are_those_of_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    wanted = [command for _, block in quick_start(readme) for command in commands(block.text)]
    assert len(wanted) > 10
    assert typed(DOCUMENT.read_text("utf-8")) == wanted, "python -m tests.ways.newcomer > docs/quickstart.md"


def test_it_names_no_server_but_its_own() -> None:
    assert set(re.findall(r"https?://([^/:\s\")]+)", DOCUMENT.read_text("utf-8"))) == {"127.0.0.1"}


def test_commands_are_read_as_a_shell_reads_them() -> None:
    text = "one \\\n  more\n\ntwo - <<'END'\nimport x\n\nEND\nthree"
    assert commands(text) == ["one \\\n  more", "two - <<'END'\nimport x\n\nEND", "three"]


def test_an_output_is_made_the_same_everywhere_and_short() -> None:
    lines = normalised(
        "a  1%\ra 100%\nGet:1 http://deb.example.org x\nat http://127.0.0.1:1\n\nkernel 6.18.44-fc: all features\n"
    )
    assert lines == ["a 100%", "at http://127.0.0.1:1", "kernel 6.18: all features"]
    assert shortened([str(number) for number in range(100)])[1:4] == ["1", "[… 92 lines …]", "94"]
