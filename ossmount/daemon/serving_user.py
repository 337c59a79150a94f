"""`--user`: what root prepares, so that processes of an ordinary user can do the rest."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import ossmount
from ossmount.channel.mounting import check_mountpoint
from ossmount.children.environment import bare_environment
from ossmount.control.state import make_for_user
from ossmount.daemon.choice import STARTER, why_no_keeper
from ossmount.daemon.order import Order
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.options import declarations as options
from ossmount.options.settings import DEFAULT, Given, Settings, UsageError

_ROOTS_CACHE = Path("/var/cache/ossmount")
_LIMIT = 60.0  # seconds for a look at whether files can be read
_LOOK = """
import os, sys
for path in sys.argv[1:]:
    try:
        if not os.path.isdir(path): open(path).close()
        elif not os.access(path, os.W_OK | os.X_OK): sys.exit(f"{path}: it may not be written")
    except OSError as error: sys.exit(f"{path}: {error.strerror}")
"""


class ServingUser(NamedTuple):
    """An ordinary user."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The same with what belongs to this user instead of root."""
        kept = {name: value for name, value in environ.items() if not name.startswith("XDG_")}
        return {**kept, "HOME": self.home, "USER": self.name, "LOGNAME": self.name}


def find_user(settings: Settings) -> ServingUser | None:
    """Whom --user names; None without it. Raises UsageError."""
    name, origin = settings[options.USER], settings.origin(options.USER)
    if not name:
        return None
    try:
        found = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"{origin}: there is no user {name!r}; make one: useradd --system {name}") from None
    if not found.pw_uid:
        raise UsageError(f"{origin}: {name} is root; name an ordinary user")
    groups = tuple(os.getgrouplist(found.pw_name, found.pw_gid))
    return ServingUser(found.pw_name, found.pw_uid, found.pw_gid, groups, found.pw_dir)


def prepared(order: Order, user: ServingUser) -> Order:
    """The order for processes of this user, whose folders exist then. Raises UsageError, CommandError, MountError."""
    settings, origin = order.settings, order.settings.origin(options.USER)
    if os.geteuid() != 0:
        raise UsageError(f"{origin}: only root can mount for another user; leave it out, and the mount is your own")
    if why := why_no_keeper(settings):
        raise UsageError(f"{origin} needs a keeper, which mounts for the user, and there is none: {why}")
    if settings[options.FUSE_FD] is not None:
        raise UsageError(f"{origin} contradicts {settings.origin(options.FUSE_FD)}: whoever mounts can start us as that user")
    if os.environ.get(STARTER):
        raise UsageError(f"{origin}: daemons are started in another container ({STARTER}); run that container as the user")
    check_mountpoint(order.mountpoint)
    given = {
        "uid": Given(str(os.getuid()), origin),
        "gid": Given(str(os.getgid()), origin),
        **settings.given(),
    }
    if settings[options.METADATA] == "disk" and settings.origin(options.METADATA_DIR) == DEFAULT:
        given["metadata_dir"] = Given(str(_ROOTS_CACHE / f"uid-{user.uid}"), origin)
        _ROOTS_CACHE.mkdir(mode=0o711, parents=True, exist_ok=True)
        _ROOTS_CACHE.chmod(_ROOTS_CACHE.stat().st_mode | 0o011)
    settings = Settings(given)
    folders = [folder for folder in (settings[options.METADATA_DIR], *settings[options.CACHE_DIR]) if folder is not None]
    for folder in folders:
        _make_folder(folder, user)
    files = (Path(ossmount.__file__), settings[options.CREDENTIALS], settings[options.MANIFEST])
    _check_access((*files, *folders), user, origin)
    return replace(order, settings=settings, state=make_for_user(order.state, user.uid, user.gid))


def _make_folder(folder: Path, user: ServingUser) -> None:
    """Only one that is missing: who has one of somebody else's must decide that himself. By a descriptor, since the folder
    above may be the user's, and so what lies at the path by then."""
    try:
        folder.mkdir(mode=0o700)
        made = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchown(made, user.uid, user.gid)
        finally:
            os.close(made)
    except FileExistsError:
        return
    except OSError as error:
        raise CommandError(ExitCode.UNEXPECTED, f"{folder} cannot be made for {user.name}: {error.strerror}") from None


def _check_access(files: Sequence[Path | None], user: ServingUser, origin: str) -> None:
    """Whether files can be read, and folders written: asked as the user himself, since only the kernel knows."""
    words = [sys.executable, "-I", "-S", "-c", _LOOK, *[str(file) for file in files if file is not None]]
    try:
        done = subprocess.run(
            words,
            user=user.uid,
            group=user.gid,
            extra_groups=user.groups,
            cwd="/",
            env=bare_environment(),
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )
    except OSError as error:
        raise CommandError(ExitCode.USAGE, f"{origin}: {user.name} cannot run {sys.executable}: {error.strerror}") from None
    if done.returncode:
        advice = f"let {user.name} use it (chown -R {user.name} ..., chmod), or name another place"
        raise CommandError(ExitCode.USAGE, f"{origin}: {user.name} cannot use {done.stderr.strip()}; {advice}")
