"""Options that bring other options along."""

from __future__ import annotations

from pathlib import Path

from ossmount.options import units
from ossmount.options.declared.option import WHENCE, Option

CONFIG: Option[Path | None] = Option(
    "config",
    WHENCE,
    units.CONFIG,
    None,
    "A TOML file with options, and with the source and the mountpoint where the command line names none. NAME alone is "
    "/etc/ossmount/NAME.toml.",
    computed="none",
)

PROFILE: Option[str] = Option(
    "profile",
    WHENCE,
    units.choice("training", "shared", "fresh", "inference"),
    "",
    "Sets several options for one way of use, where nothing else sets them: training (nobody changes the data), shared "
    "(others write it), fresh (no name or attribute is believed) or inference (a few large files).",
    computed="none",
)
