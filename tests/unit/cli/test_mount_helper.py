from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ossmount.cli import main as cli
from ossmount.cli import mount_helper
from ossmount.exit_codes import ExitCode


@pytest.mark.parametrize(
    ("text", "sloppy", "meant"),
    [
        ("rw,uid=1", False, "uid=1"),
        ("rw", False, ""),
        ("rw,uid=3,nofail,exec,suid,dev", False, "uid=3,nofail"),  # of a line with user=root
        ("rw,noexec,nosuid,nodev,user,relatime", False, "noexec,nosuid,nodev,relatime"),
        ("ro,noauto,x-systemd.automount", False, "ro,noauto,x-systemd.automount"),
        (r"credentials=/a\,rw,rw", False, r"credentials=/a\,rw"),
        ("uid=1,vers=3,ro", True, "uid=1,ro"),
        ("uid=1,vers=3", False, "uid=1,vers=3"),
    ],
)
def test_options_as_mount_8_hands_them_over(text: str, sloppy: bool, meant: str) -> None:
    assert mount_helper.options(text, sloppy=sloppy) == meant


def test_the_name_of_who_mounts_is_no_option_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mount_helper.options("user=alice,uid=1", sloppy=False) == "user=alice,uid=1"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert mount_helper.options("user=alice,uid=1", sloppy=False) == "uid=1"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["oss://bucket"], 1, "SOURCE and DIRECTORY are needed"),
        (["oss://bucket", "/nowhere", "-x"], 1, "-x"),
        (["oss://bucket", "/nowhere", "-N", "1"], 1, "nsenter"),
        (["oss://bucket", "/nowhere", "-o", "rw,alow_other"], 1, "did you mean allow_other?"),
        (["oss://bucket", "/nowhere", "-o", "remount,rw"], 1, "ossmount restart"),
        (["Bucket/x", "/nowhere", "-o", "rw"], 1, "is not a bucket name"),
        (["bucket/x", "/nowhere", "-o", "rw,region=r,anonymous,no_keeper"], 32, "/nowhere: no such directory"),
        (["oss://bucket", "/nowhere", "-f", "-o", "rw,uid=x"], 1, "-o uid: 'x' is not right"),
        (["oss://bucket", "/nowhere", "-sfnv", "-o", "rw,vers=3,uid=5"], 0, ""),
        (["-h"], 0, ""),
    ],
)
def test_what_mount_8_is_told(
    arguments: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("OSSMOUNT_STATE_DIR", str(tmp_path / "state"))
    assert mount_helper.main(arguments) == code
    assert said in capsys.readouterr().err


def test_the_helper_is_installed_and_taken_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["install-mount-helper", "--directory", str(tmp_path)]
    helper = tmp_path / "mount.ossmount"
    assert cli.main(words) == ExitCode.OK
    assert stat.S_IMODE(helper.stat().st_mode) == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["mount.ossmount"]
    assert cli.main(words) == ExitCode.OK  # once more, for one that has moved
    assert cli.main([*words, "--remove"]) == ExitCode.OK
    assert not helper.exists()
    helper.write_text("#!/bin/sh\n# somebody else's\n")
    assert cli.main(words) == cli.main([*words, "--remove"]) == ExitCode.USAGE
    assert "is something else" in capsys.readouterr().err
    assert helper.exists()
    assert cli.main(["install-mount-helper", "--directory", str(tmp_path / "none")]) == ExitCode.UNEXPECTED
