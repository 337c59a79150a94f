"""What the documents name exists: files and headings that they link to, commands, options, metrics; and the site builds."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ossmount.cli.describe import commands
from ossmount.cli.main import COMMANDS, parser_of
from ossmount.metrics import METRICS, PREFIX, UP
from ossmount.options.declarations import OPTIONS
from tests.docs.markdown import ROOT, anchors, blocks, documents, links, prose
from tools import migration

GUIDES = sorted((ROOT / "docs").glob("*.md"))
OWN = [path for path in GUIDES if path.name not in ("ERRORS.md", "migration.md")]  # migration.md names the options of others
#: Options of other programs that the guides name.
FOREIGN = {"--delete", "--device", "--cap-add", "--rm", "--now", "--path"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_every_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in links(document.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (document.parent / place).resolve() if place else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


def test_links_and_anchors_are_found() -> None:
    text = "# A `b` (c)\n[one](x.md#a)\n```\n[no](y)\n# no\n```\n`[no](z)` [two](w)\n## A b c\n"
    assert links(text) == ["x.md#a", "w"]
    assert anchors(text) == {"a-b-c", "a-b-c-1"}


def test_migration_is_what_the_tables_say() -> None:
    document = ROOT / "docs" / "migration.md"
    assert document.read_text(encoding="utf-8") == migration.markdown(), "python -m tools.migration > docs/migration.md"


def test_rclone_has_the_options_that_are_translated() -> None:
    rclone = Path(sys.executable).with_name("rclone")
    texts = [subprocess.run([rclone, *words], capture_output=True, text=True, check=True) for words in (
        ["mount", "--help"], ["help", "flags"])]  # fmt: skip
    known = set(re.findall(r"--[a-z0-9-]+", "".join(done.stdout for done in texts)))
    named = {name for row in migration.RCLONE.rows for name in row.names.split()}
    assert named - known == set()


@pytest.mark.parametrize("guide", OWN, ids=name_of)
def test_every_command_that_is_shown_is_read_by_its_parser(guide: Path) -> None:
    for block in blocks(guide.read_text(encoding="utf-8")):
        if block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                for found in re.finditer(r"(?:^|[|&(] ?)ossmount (.+?)(?:$| \||\|\||\)| &)", line.strip()):
                    words = shlex.split(found[1])
                    assert words[0] in COMMANDS, line
                    parser_of(words[0])[0].parse_or_exit(words[1:])  # a wrong one ends the test with its message


@pytest.mark.parametrize("guide", OWN, ids=name_of)
def test_every_option_command_and_metric_that_is_named_exists(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    known = {name for command in commands() for flag in command.flags for name in flag.names}
    code = " ".join(re.findall(r"`([^`]+)`", prose(text)))
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", code))
    assert options - known - FOREIGN == set()
    assert set(re.findall(r"`ossmount ([a-z-]+)", text)) - COMMANDS.keys() == set()
    metrics = {PREFIX + metric.name for metric in (*METRICS, UP)}
    assert set(re.findall(rf"\b{PREFIX}\w+", text)) - metrics == set()
    variables = {variable for option in OPTIONS for variable in (option.variable, *option.variables)}
    others = {"OSSMOUNT_SOURCE", "OSSMOUNT_STATE_DIR", "OSSMOUNT_MOUNTPOINT", "OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET"}
    assert set(re.findall(r"\bOSS(?:MOUNT)?_[A-Z_]+", text)) - variables - others == set()


def test_the_options_that_the_tables_of_migration_advise_exist() -> None:
    known = {name for command in commands() for flag in command.flags for name in flag.names}
    texts = [row.note for system in migration.SYSTEMS for row in system.rows]
    for text in [*texts, migration.HEAD]:
        assert set(re.findall(r"`(?:ossmount [a-z ]+)?(--[a-z-]+)", text)) - known == set(), text


def test_everything_that_explain_says_is_explained() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    said = [title for path in (ROOT / "ossmount" / "insight").glob("*.py") for title in _titles(path)]
    assert len(said) >= 17
    assert [title for title in said if f"| {title} |" not in text] == []


def _titles(path: Path) -> Iterator[str]:
    """Of all findings that a module makes; of one that depends on something, all of them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
            title = node.args[1]
            choices = [title.body, title.orelse] if isinstance(title, ast.IfExp) else [title]
            yield from (ast.literal_eval(choice) for choice in choices)


@pytest.mark.parametrize("guide", GUIDES, ids=name_of)
def test_examples_in_python_and_yaml_can_be_parsed(guide: Path) -> None:
    for block in blocks(guide.read_text(encoding="utf-8")):
        if block.language == "python":
            ast.parse(block.text)
        if block.language == "yaml":
            assert yaml.safe_load(block.text)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "training.html").exists()
    page = (tmp_path / "site" / "operations.html").read_text(encoding="utf-8")
    assert 'href="CONFIGURATION.html#exit-codes"' in page  # which lies elsewhere in the repository
    assert 'href="files/systemd/mnt-imagenet.mount"' in page  # which is no page
    assert (tmp_path / "site" / "files" / "systemd" / "mnt-imagenet.mount").exists()
