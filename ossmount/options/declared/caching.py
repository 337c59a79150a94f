"""How long names and attributes are believed, and where they are kept."""

from __future__ import annotations

from pathlib import Path

from ossmount.options import units
from ossmount.options.declared.option import CACHING, Option
from ossmount.options.places import ObjectPlace

ATTR_TIMEOUT: Option[float] = Option(
    "attr_timeout", CACHING, units.SECONDS, 60.0, "How long attributes are believed; 0 asks OSS at every use, inf never again."
)

ENTRY_TIMEOUT: Option[float] = Option(
    "entry_timeout", CACHING, units.SECONDS, 60.0, "How long the names of a directory are believed."
)

NEGATIVE_TIMEOUT: Option[float] = Option(
    "negative_timeout", CACHING, units.SECONDS, 5.0, "How long it is believed that a name does not exist."
)

METADATA_TTL: Option[float | None] = Option(
    "metadata_ttl",
    CACHING,
    units.SECONDS_OR_COMPUTED,
    None,
    "How long our own store believes names and attributes, where that shall be longer (or shorter) than the kernel does: "
    "inf for a data set that never changes. The kernel is never told more than what is left of it.",
    computed="attr_timeout for attributes, entry_timeout for names",
)

NEGATIVE_TTL: Option[float | None] = Option(
    "negative_ttl",
    CACHING,
    units.SECONDS_OR_COMPUTED,
    None,
    "How long our own store believes that a name does not exist.",
    computed="negative_timeout",
)

METADATA_STALE: Option[float] = Option(
    "metadata_stale",
    CACHING,
    units.SECONDS,
    0.0,
    "For how long behind the metadata_ttl an answer is still given at once while OSS is asked again in the background.",
)

METADATA: Option[str] = Option(
    "metadata",
    CACHING,
    units.choice("disk", "memory"),
    "disk",
    "memory keeps names and attributes in a file below /dev/shm instead of in metadata_dir: nothing on disk, and a daemon that "
    "is started again still knows them, until the machine restarts.",
)

METADATA_DIR: Option[Path | None] = Option(
    "metadata_dir",
    CACHING,
    units.PATH,
    None,
    "Where names and attributes are kept between mounts. Mounts of the same source share them.",
    computed="/var/cache/ossmount for root, else $XDG_CACHE_HOME/ossmount or ~/.cache/ossmount",
)

METADATA_SNAPSHOT: Option[Path | ObjectPlace | None] = Option(
    "metadata_snapshot",
    CACHING,
    units.PLACE,
    None,
    "A file or object of `ossmount metadata export`: its names and attributes are taken over before the mount answers, and "
    "nothing that it holds is listed. They are believed for ever unless metadata_ttl says otherwise.",
    computed="none",
)
