"""What the files look like."""

from __future__ import annotations

from ossmount.options import units
from ossmount.options.declared.option import VIEW, Option

ALLOW_OTHER: Option[bool] = Option(
    "allow_other",
    VIEW,
    units.BOOLEAN,
    False,
    "Let other users read the mount, as the mode bits say. An ordinary user may ask for it only where /etc/fuse.conf has "
    "user_allow_other.",
)

UID: Option[int | None] = Option(
    "uid", VIEW, units.optional_count("ID", 0, 2**32 - 2), None, "Owner of all files.", computed="the user who mounts"
)

GID: Option[int | None] = Option(
    "gid", VIEW, units.optional_count("ID", 0, 2**32 - 2), None, "Group of all files.", computed="the group of that user"
)

UMASK: Option[int] = Option(
    "umask", VIEW, units.UMASK, 0o022, "Permission bits taken away from 777 of directories and 666 of files."
)

NO_SYMLINK: Option[bool] = Option(
    "no_symlink", VIEW, units.BOOLEAN, False, "Show OSS symlinks as the files they point to instead of as symbolic links."
)
