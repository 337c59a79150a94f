"""The daemon and its log."""

from __future__ import annotations

from ossmount.options import units
from ossmount.options.declared.option import RUNNING, Option

NO_KEEPER: Option[bool] = Option(
    "no_keeper",
    RUNNING,
    units.BOOLEAN,
    False,
    "Do without the keeper, the small process that holds the mount and starts a new daemon when one dies or hangs, or for "
    "`ossmount restart`: the mount then breaks when its daemon dies. With channel pyfuse3 it is always so.",
)

LOG_LEVEL: Option[str] = Option(
    "log_level",
    RUNNING,
    units.choice("debug", "info", "warning", "error"),
    "info",
    "How much the daemon logs: to stderr in the foreground, else to a file that `ossmount status` names. debug: also each LIST "
    "and HEAD, with its answer (`ossmount trace` shows what the kernel asks).",
)

USER: Option[str] = Option(
    "user",
    RUNNING,
    units.TEXT,
    "",
    "An ordinary user, by name or number, to whom all processes of the mount belong from their start; for root only. "
    "A small process beside them (ossmount-guard) mounts, and keeps CAP_SYS_ADMIN for that and for passthrough; nobody else "
    "has a privilege. For readers nothing changes. The user must be able to read the credentials file and to write the folders "
    "of metadata and cache; missing ones are made for him.",
    computed="the user who mounts",
)
