from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ossmount.cli import manual
from ossmount.cli.main import COMMANDS
from ossmount.exit_codes import MEANINGS
from ossmount.options.declarations import OPTIONS


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("man") / "man1"
    assert manual.main([str(directory)]) == 0
    return directory


def formatted(page: Path) -> str:
    done = subprocess.run(["mandoc", "-T", "utf8", page], capture_output=True, text=True, timeout=60, check=True)
    overstruck = done.stdout
    while "\b" in overstruck:
        at = overstruck.index("\b")
        overstruck = overstruck[: at - 1] + overstruck[at + 1 :]
    return " ".join(overstruck.split())


def test_there_is_a_page_for_each_command(pages: Path) -> None:
    assert {page.name for page in pages.iterdir()} == {"ossmount.1", *(f"ossmount-{name}.1" for name in COMMANDS)}


def test_mandoc_finds_nothing_wrong(pages: Path) -> None:
    for page in pages.iterdir():
        done = subprocess.run(
            ["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout == "" and done.returncode == 0


@pytest.mark.parametrize(
    "text", ["a\n\n\nb", "a:\n\n\n  x  \n'quoted\n.dot\nend \\ back", "\ta tab\nb", "  x\n\n  y", "a\n  b\n"]
)
def test_descriptions_of_all_forms_are_good_pages(text: str) -> None:
    lines = [".SH NAME", "x \\- y", ".SH DESCRIPTION", *manual._flowing(text)]
    page = manual._page("x", "2026-01-01", iter(lines))
    words = ["mandoc", "-T", "lint", "-W", "warning"]
    done = subprocess.run(words, input=page, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_pages_tell_every_command_option_and_exit_code(pages: Path) -> None:
    overview = formatted(pages / "ossmount.1")
    for name, (_, summary) in COMMANDS.items():
        assert f"ossmount-{name}(1) {summary[0].upper()}" in overview
    for meaning in MEANINGS.values():
        assert meaning[1:] in overview
    mount = formatted(pages / "ossmount-mount.1")
    for option in OPTIONS:
        assert option.flag in mount
    config = formatted(pages / "ossmount-config.1")
    for heading in ("CONFIG SHOW", "CONFIG CHECK", "CONFIG INIT", "CONFIG IMPORT"):
        assert heading in config


def test_a_line_that_roff_would_take_for_a_request_is_text() -> None:
    assert manual._text(".env holds --x and C:\\y") == "\\&.env holds \\-\\-x and C:\\ey"


def test_pages_of_one_state_are_the_same_everywhere() -> None:
    environ = {"SOURCE_DATE_EPOCH": "86400"}
    assert manual.pages(environ) == manual.pages(environ)
    assert '"1970-01-02"' in manual.pages(environ)["ossmount.1"]


def test_one_folder_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert manual.main([]) == 2
    assert "usage" in capsys.readouterr().err
