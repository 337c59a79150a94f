"""What a mount shows of itself while it runs."""

from __future__ import annotations

from pathlib import Path

from ossmount.options import units
from ossmount.options.declared.option import RUNNING, Option

METRICS: Option[str] = Option(
    "metrics",
    RUNNING,
    units.ADDRESS,
    "",
    "Show numbers for Prometheus at http://ADDRESS:PORT/metrics; a PORT alone is on the loopback interface. Nobody is asked "
    "for a password: at another address everybody who reaches it sees them.",
    computed="none",
)
METRICS_FILE: Option[Path | None] = Option(
    "metrics_file",
    RUNNING,
    units.PATH,
    None,
    "Write the same numbers to this file every 15 seconds, for the textfile collector of node_exporter (its name must end in "
    ".prom there).",
    computed="none",
)
SLOW_LOG: Option[Path | None] = Option(
    "slow_log",
    RUNNING,
    units.PATH,
    None,
    "Write a line of JSON for each operation that takes slow_threshold or longer: what was asked, how long it took, and where "
    "the time went. Moved to FILE.1 at 16 MiB; only the user of the mount can read it.",
    computed="none",
)
SLOW_THRESHOLD: Option[float] = Option(
    "slow_threshold", RUNNING, units.POSITIVE_SECONDS, 0.1, "From when an operation is slow, for slow_log."
)
