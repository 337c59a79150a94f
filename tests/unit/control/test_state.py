import os
from pathlib import Path

import pytest

from ossmount.control.state import log_directory, make_for_user, make_private, state_directory
from ossmount.exit_codes import CommandError


def test_where_the_state_lies() -> None:
    assert state_directory({}, 0) == Path("/run/ossmount")
    assert state_directory({"XDG_RUNTIME_DIR": "/run/user/7"}, 0) == Path("/run/ossmount")
    assert state_directory({"XDG_RUNTIME_DIR": "/run/user/7"}, 7) == Path("/run/user/7/ossmount")
    assert state_directory({}, 7) == Path("/tmp/ossmount-7")
    assert state_directory({"OSSMOUNT_STATE_DIR": "/x"}, 0) == Path("/x")


def test_it_is_made_private(tmp_path: Path) -> None:
    new, old = tmp_path / "a" / "b", tmp_path / "old"
    old.mkdir(mode=0o755)
    for directory in (new, old):
        make_private(directory)
        assert directory.stat().st_mode & 0o777 == 0o700


def test_one_that_somebody_else_made_is_not_trusted(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(CommandError, match="not a directory of your own"):
        make_private(link)


def test_one_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="OSSMOUNT_STATE_DIR"):
        make_private(tmp_path / "file" / "state")


def test_one_of_another_user_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(CommandError, match="not a directory of your own"):
        make_private(tmp_path)


def test_another_users_part_lets_nobody_else_in(tmp_path: Path) -> None:
    state = tmp_path / "state"
    make_private(state)
    part = make_for_user(state, os.getuid(), os.getgid())
    assert part == state / f"uid-{os.getuid()}" and log_directory(part) == state == log_directory(state)
    assert part.stat().st_mode & 0o777 == 0o700
    for _ in range(2):
        assert state.stat().st_mode & 0o777 == 0o711  # its user passes through it
        make_private(state)
    assert make_for_user(state, os.getuid(), os.getgid()) == part
