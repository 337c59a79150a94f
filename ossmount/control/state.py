"""The state directory: what the commands know of running mounts."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ossmount.exit_codes import CommandError, ExitCode


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
    if status.st_mode & 0o077:
        directory.chmod(0o700)
