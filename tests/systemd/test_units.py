"""The units are what systemd takes, and what they call is what ossmount has. (tests/ways/machine.py runs them.)"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ossmount.cli.main import COMMANDS
from ossmount.options.declarations import OPTIONS

UNITS = Path(__file__).parents[2] / "systemd"
INSTANCE = "ossmount@mnt-imagenet.service"
LIMIT = 60.0  # seconds, against hanging only
EXPOSURE = 50  # tenths; what is left is what a mount that all see has to be able to do


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A copy in which the template has an instance."""
    for unit in UNITS.iterdir():
        shutil.copy(unit, tmp_path / (INSTANCE if unit.name == "ossmount@.service" else unit.name))
    return tmp_path


def analyze(units: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *words]
    return subprocess.run(command, cwd=units, capture_output=True, text=True, timeout=LIMIT, check=False)


def options_of(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name)
    return parser


def test_systemd_finds_no_fault(units: Path) -> None:
    done = analyze(units, "verify", "--man=no", f"./{INSTANCE}", "./mnt-imagenet.automount", "./mnt-imagenet.mount")
    said = [line for line in done.stderr.splitlines() if "mnt-imagenet" in line]
    assert done.returncode == 0 and not said, done.stderr


def test_how_much_of_the_machine_it_can_reach(units: Path) -> None:
    done = analyze(units, "security", "--offline=true", f"--threshold={EXPOSURE}", f"./{INSTANCE}")
    assert done.returncode == 0, done.stdout[-300:]


def test_nothing_gives_it_a_mount_namespace_of_its_own() -> None:
    """A mount made in one would not be seen by the machine. Source: systemd.exec(5), under "Sandboxing"."""
    kinds = r"Private(Tmp|Devices|Mounts)|Protect(System|Home|Kernel\w+|ControlGroups|Proc)|DynamicUser|MountFlags"
    places = "ReadOnlyPaths|InaccessiblePaths|BindPaths|TemporaryFileSystem|RootDirectory"
    hidden = re.compile(f"^({kinds}|{places})=", re.MULTILINE)
    assert not hidden.search((UNITS / "ossmount@.service").read_text())


@pytest.mark.parametrize("key", ["ExecStart", "ExecReload", "ExecStopPost"])
def test_it_calls_commands_and_options_that_there_are(key: str) -> None:
    words = shlex.split(options_of("ossmount@.service")["Service"][key].lstrip("-"))
    assert words[:2] == ["/usr/bin/env", "ossmount"] and words[2] in COMMANDS
    flags = {option.flag for option in OPTIONS} | {"--foreground", "--lazy"}
    assert {word for word in words if word.startswith("--")} <= flags


def test_the_mount_unit_names_options_that_there_are() -> None:
    options = dict(word.partition("=")[::2] for word in options_of("mnt-imagenet.mount")["Mount"]["Options"].split(","))
    assert set(options) - {"ro", "_netdev"} <= {option.name for option in OPTIONS}


def test_the_folders_are_made_for_root_alone(tmp_path: Path) -> None:
    words = ["systemd-tmpfiles", "--create", f"--root={tmp_path}", str(UNITS / "ossmount.tmpfiles.conf")]
    subprocess.run(words, check=True, timeout=LIMIT)
    for folder in ("run/ossmount", "var/cache/ossmount"):
        assert os.stat(tmp_path / folder).st_mode & 0o777 == 0o700
