"""The scripts are run by the shells themselves, as far as these let themselves be asked."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ossmount.cli import main as cli
from ossmount.cli.describe import commands, first_sentence
from ossmount.options.declarations import OPTIONS


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert cli.main(["completion", request.param]) == 0
    path = tmp_path / "script"
    path.write_text(capsys.readouterr().out)
    return path


def ask(*words: str, text: str = "") -> list[str]:
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


CASES = [
    ("mo", ["mount"]),
    ("mount --chan", ["--channel"]),
    ("mount --channel ", ["auto", "kernel", "pyfuse3"]),
    ("mount --profile tr", ["training"]),
    ("config ", ["show", "check", "init", "import"]),
    ("config show --give", ["--given"]),
    ("config show --profile s", ["shared"]),
    ("config check --giv", []),
    ("cache us", ["usage"]),
    ("completion ", ["bash", "zsh", "fish"]),
    ("mount --endpoint ", []),
]


@pytest.mark.parametrize("script", ["bash"], indirect=True)
@pytest.mark.parametrize(("written", "offered"), CASES)
def test_bash(script: Path, written: str, offered: list[str]) -> None:
    words = ["ossmount", *written.split(" ")]
    asking = f"""source {script}
COMP_WORDS=({" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}; _ossmount
printf '%s\\n' "${{COMPREPLY[@]}}" """
    assert sorted(filter(None, ask("bash", "--norc", "-c", asking))) == sorted(offered)


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish(script: Path) -> None:
    asking = "; ".join([f"source {script}", *(f"complete -C 'ossmount {written}'; echo @" for written, _ in CASES)])
    *answers, _ = "\n".join(ask("fish", "--no-config", "-c", asking)).split("@")
    for (written, offered), answer in zip(CASES, answers, strict=True):
        found = [line.split("\t")[0] for line in answer.split("\n") if line]
        assert sorted(found) == sorted(offered), written


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("ossmount ''", "mount:mount a bucket, or a folder of it, as a folder"),
        ("ossmount config ''", "check:name everything that is wrong in a configuration file"),
        (
            "ossmount mount --metadata ''",
            "*--metadata=[memory keeps names and attributes in a file below /dev/shm instead of in metadata_dir]"
            ":disk|memory:(disk memory)",
        ),
        ("ossmount config show ''", "*--given[only what is not a default]"),
        ("ossmount umount ''", "1:MOUNTPOINT:_ossmount_mounts"),
    ],
)
def test_zsh(script: Path, words: str, shown: str) -> None:
    """What it hands to zsh's own functions: these run only below an editor of lines."""
    asking = f"""_arguments() {{ print -lr -- "$@" }}
_describe() {{ print -lr -- $found }}
words=({words}); CURRENT=${{#words}}
source {script}"""
    assert shown in ask("zsh", "-f", "-c", asking)


def test_every_option_of_mount_is_described() -> None:
    (mount,) = (one for one in commands() if one.words == ("mount",))
    flags = {name: flag for flag in mount.flags for name in flag.names}
    for option in OPTIONS:
        flag = flags[option.flag]
        assert flag.value == ("" if option.is_switch else option.unit.metavar)
        assert flag.choices == option.unit.choices
        assert "%" not in flag.help or "%%" not in flag.help


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("one. two.", "one"),
        ("one; two", "one"),
        ("at oss-cn-hangzhou.aliyuncs.com (default: none)", "at oss-cn-hangzhou.aliyuncs.com"),
        ("all.", "all"),
    ],
)
def test_what_a_menu_shows(text: str, short: str) -> None:
    assert first_sentence(text) == short
