"""How the kernel is spoken to."""

from __future__ import annotations

from ossmount.options import units
from ossmount.options.declared.option import KERNEL, Option

CHANNEL: Option[str] = Option(
    "channel",
    KERNEL,
    units.choice("auto", "kernel", "pyfuse3"),
    "auto",
    "kernel speaks the kernel's own protocol and is the faster one; pyfuse3 goes through libfuse. auto takes kernel where the "
    "running kernel is new enough (5.4). `ossmount status` says which one it became and why.",
)

OPEN: Option[str] = Option(
    "open",
    KERNEL,
    units.choice("auto", "skip", "ask"),
    "auto",
    "skip lets the kernel open files without asking us, which makes warm files several times faster; ask revalidates at each "
    "open. auto skips unless close_to_open, direct_io or passthrough is set.",
)

CLOSE_TO_OPEN: Option[bool] = Option(
    "close_to_open", KERNEL, units.BOOLEAN, False, "Ask OSS at each open whether the object has changed."
)

DIRECT_IO: Option[bool] = Option(
    "direct_io", KERNEL, units.BOOLEAN, False, "Keep file data out of the kernel's page cache (no shared mmap then)."
)

# 1 MiB and a page. With 1,024 a read of 1 MiB that is not aligned has one page more than the kernel's readahead and is taken
# for the beginning of a sequential one: 3.05 bytes were fetched for each byte read, with 1,028 1.00. Twice as much (2,048)
# does no better there, and doubles what each random page fault of a mapping costs (1 MiB).
READ_AHEAD_KB: Option[int] = Option(
    "read_ahead_kb",
    KERNEL,
    units.count(0, 65536),
    1028,
    "The kernel's own readahead for this mount in KiB, set through sysfs when allowed; 0 leaves it alone.",
)

MAX_BACKGROUND: Option[int] = Option(
    "max_background", KERNEL, units.count(1, 65535), 128, "Requests that the kernel may have under way in the background."
)

PASSTHROUGH: Option[bool] = Option(
    "passthrough",
    KERNEL,
    units.BOOLEAN,
    False,
    "Let the kernel read large files that lie whole and verified in cache_dir by itself, at the speed of the local disk. Needs "
    "Linux 6.9 and CAP_SYS_ADMIN, and costs an OPEN request for each open(2). Where it cannot be, it is left away, and "
    "`ossmount status` says why.",
)

FUSE_FD: Option[int | None] = Option(
    "fuse_fd",
    KERNEL,
    units.optional_count("N", 0, 2**20),
    None,
    "Serve this inherited descriptor of /dev/fuse, which somebody else has mounted, instead of mounting.",
    computed="mounts by itself",
)
