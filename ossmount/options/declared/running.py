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
    "How much the daemon logs: to stderr in the foreground, else to a file that `ossmount status` names.",
)
