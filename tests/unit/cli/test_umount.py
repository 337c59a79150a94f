import os
from pathlib import Path

import pytest

from ossmount.channel.mounting import Mount, MountError, Reason
from ossmount.cli import main as cli
from ossmount.cli import umount
from ossmount.control.registry import Record, Registry
from ossmount.exit_codes import ExitCode


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("OSSMOUNT_STATE_DIR", str(tmp_path / "state"))
    return Registry(tmp_path / "state")


def test_what_is_not_mounted(registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["umount", str(tmp_path)]) == ExitCode.NOT_MOUNTED
    assert "nothing is mounted here" in capsys.readouterr().err


def test_the_record_of_a_mount_that_is_gone_goes_too(registry: Registry, tmp_path: Path) -> None:
    registry.write(Record(str(tmp_path), "oss://bucket", 1, 1, 0.0, str(tmp_path / "s"), ""))
    assert cli.main(["umount", str(tmp_path)]) == ExitCode.NOT_MOUNTED
    assert registry.find(str(tmp_path)) is None


def test_other_file_systems_are_left_alone(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["umount", "/proc"]) == ExitCode.NOT_MOUNTED
    assert "a mount of proc, not one of ossmount" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.BUSY, ExitCode.BUSY),
        (Reason.NO_FUSERMOUNT, ExitCode.NO_FUSE),
        (Reason.NOT_PERMITTED, ExitCode.UNEXPECTED),
        (Reason.NOT_MOUNTED, ExitCode.NOT_MOUNTED),
    ],
)
def test_why_it_cannot_be_unmounted(
    reason: Reason,
    code: ExitCode,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(mountpoint: str, *, lazy: bool) -> None:
        raise MountError(reason, "because")

    monkeypatch.setattr(umount, "unmount", fail)
    monkeypatch.setattr(umount, "find_mount", lambda path: Mount(path, "0:1", "fuse.ossmount", "oss://bucket"))
    assert cli.main(["umount", str(tmp_path)]) == code
    message = capsys.readouterr().err
    assert ("--lazy" in message and "--force" in message) if reason is Reason.BUSY else "because" in message


def test_users_of_a_folder_are_named(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w"):
        assert any(str(os.getpid()) in user for user in umount._users(str(tmp_path)))
    assert umount._users(str(tmp_path)) == []
