"""The state directory: what the commands know of running mounts."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ossmount.exit_codes import CommandError, ExitCode

USERS = "uid-"  # the beginning of the names of other users' parts of root's state directory


def state_directory(environ: Mapping[str, str], uid: int) -> Path:
    """Where the state lies (CONFIGURATION.md, State), without touching it."""
    if environ.get("OSSMOUNT_STATE_DIR"):
        return Path(environ["OSSMOUNT_STATE_DIR"]).absolute()
    if uid == 0:
        return Path("/run/ossmount")
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "ossmount"
    return Path(f"/tmp/ossmount-{uid}")


def make_private(directory: Path) -> None:
    """Creates the directory with mode 0700, or checks that it is ours alone; raises CommandError.

    /tmp is open to everybody: a directory (or a symbolic link) that another user put there first must not be trusted.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.lstat(directory)
    except OSError as error:
        raise CommandError(
            ExitCode.UNEXPECTED,
            f"cannot create the state directory {directory}: {error.strerror}; set OSSMOUNT_STATE_DIR to another place",
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise CommandError(
            ExitCode.UNEXPECTED,
            f"{directory} is not a directory of your own; remove it or set OSSMOUNT_STATE_DIR to another place",
        )
    if status.st_mode & 0o066:
        directory.chmod(0o700)


def make_for_user(directory: Path, uid: int, gid: int) -> Path:
    """root's: the part of the state directory in which the processes of an ordinary user keep theirs. Raises CommandError.

    The directory itself stays root's; others may pass through it, and see none of its names.
    """
    folder = directory / f"{USERS}{uid}"
    try:
        directory.chmod(0o711)
        folder.mkdir(mode=0o700, exist_ok=True)
        os.chown(folder, uid, gid, follow_symlinks=False)
    except OSError as error:
        message = f"cannot create {folder}: {error.strerror}; set OSSMOUNT_STATE_DIR to another place"
        raise CommandError(ExitCode.UNEXPECTED, message) from error
    return folder


def log_directory(state: Path) -> Path:
    """Where logs lie, which root opens: never in a folder in which another user could lay a link."""
    return state.parent if state.name.startswith(USERS) else state
