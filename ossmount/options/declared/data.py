"""Memory, transfers and the cache on disk."""

from __future__ import annotations

from pathlib import Path

from ossmount.options import units
from ossmount.options.declared.option import DATA, Option

MEMORY_LIMIT: Option[int | None] = Option(
    "memory_limit",
    DATA,
    units.SIZE_OR_COMPUTED,
    None,
    "Memory for file data on its way to the kernel (at least 16M).",
    computed="a quarter of the machine's or the container's memory, at most 1G",
)

READAHEAD_SIZE: Option[int] = Option(
    "readahead_size",
    DATA,
    units.SIZE,
    4 << 20,
    "Largest piece that is fetched ahead of a sequential reader in one request.",
)

READAHEAD_COUNT: Option[int] = Option(
    "readahead_count",
    DATA,
    units.count(0, 1024),
    32,
    "How many such pieces may be under way for one reader.",
)

FETCH_WORKERS: Option[int] = Option(
    "fetch_workers", DATA, units.count(0, 64), 0, "Processes that receive file data.", computed="by the number of cores"
)

CONNECTIONS: Option[int] = Option(
    "connections",
    DATA,
    units.count(1, 4096),
    128,
    "Connections for file data, of all these processes together.",
)

HEDGE_ABOVE: Option[float] = Option(
    "hedge_above",
    DATA,
    units.SECONDS,
    1.0,
    "A request that a reader waits for longer than this, and longer than 99 of 100 others took, is made a second time; the "
    "first answer counts. At most 3 of 100 requests are made twice. inf: none.",
)

LIMIT_REQUESTS: Option[int] = Option(
    "limit_requests",
    DATA,
    units.count(0, 1_000_000),
    0,
    "Requests a second that this mount may make of OSS, listings included. What readers wait for goes before what is fetched "
    "ahead of them. A limit delays; a read still fails when it was not done by the timeout.",
    computed="none",
)

LIMIT_BANDWIDTH: Option[int] = Option(
    "limit_bandwidth",
    DATA,
    units.BANDWIDTH,
    0,
    "Bytes a second that this mount may receive from OSS (at least 64K), in the same way.",
    computed="none",
)

CACHE_DIR: Option[tuple[Path, ...]] = Option(
    "cache_dir",
    DATA,
    units.PATHS,
    (),
    "Folders on local disks, one for each disk, where file data is kept for later epochs and mounts. Mounts and processes of "
    "one user may share them.",
    computed="none: no cache on disk",
)

CACHE_SIZE: Option[int | None] = Option(
    "cache_size",
    DATA,
    units.SIZE_OR_COMPUTED,
    None,
    "What the folders of cache_dir may hold together; what was not used for longest is dropped.",
    computed="as much as cache_free_space allows",
)

CACHE_FREE_SPACE: Option[int] = Option(
    "cache_free_space", DATA, units.PERCENT, 10, "Part of each disk of cache_dir that is left free."
)

VERIFY: Option[str] = Option(
    "verify",
    DATA,
    units.choice("off", "sampled", "full"),
    "sampled",
    "What is compared with the CRC-64 that OSS keeps of each object. sampled: all that are fetched whole (up to 1 MiB), before "
    "any byte of them is given out, and one in eight of the larger ones when its parts cover it, others at each mount. full: "
    "all larger ones, and no passthrough. off: none. ETag, length and range of each answer are looked at always.",
)
