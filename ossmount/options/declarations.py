"""The options of `ossmount mount`, each declared once (those of credentials in ossmount.options.credentials)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ossmount.options import units
from ossmount.options.credentials import CREDENTIAL_OPTIONS
from ossmount.options.option import Option
from ossmount.options.places import ObjectPlace

SOURCE = "Where the data lies"
VIEW = "What the files look like"
CACHING = "How long names and attributes are believed"
DATA = "Memory and transfers"
KERNEL = "How the kernel is spoken to"
RUNNING = "Running"

ENDPOINT: Option[str] = Option(
    "endpoint",
    SOURCE,
    units.TEXT,
    "",
    "Endpoint of the bucket: a region endpoint (oss-cn-hangzhou.aliyuncs.com, or its -internal form inside the region), a "
    "custom domain, an IP address or localhost with a port. https unless http:// is written.",
    computed="oss-REGION.aliyuncs.com when a region is given",
    variables=("OSS_ENDPOINT",),
)
REGION: Option[str] = Option(
    "region",
    SOURCE,
    units.TEXT,
    "",
    "Region of the bucket, such as cn-hangzhou. With a region requests are signed with V4, without one with V1.",
    computed="none",
    variables=("OSS_REGION",),
)
PATH_STYLE: Option[bool] = Option(
    "path_style",
    SOURCE,
    units.BOOLEAN,
    False,
    "Put the bucket into the path of the URL instead of the host name. Chosen by itself for IP addresses and localhost.",
)
PROXY: Option[str] = Option(
    "proxy",
    SOURCE,
    units.PROXY,
    "",
    "HTTP proxy for all requests to OSS.",
    computed="the variables http_proxy, https_proxy and no_proxy",
)
TIMEOUT: Option[float] = Option(
    "timeout", SOURCE, units.POSITIVE_SECONDS, 60.0, "How long one read may take, retries included, before it fails."
)
CONNECT_TIMEOUT: Option[float] = Option(
    "connect_timeout", SOURCE, units.POSITIVE_SECONDS, 5.0, "How long connecting to the endpoint may take."
)
MANIFEST: Option[Path | None] = Option(
    "manifest",
    SOURCE,
    units.PATH,
    None,
    "A list of keys; the mount shows these and nothing else. One for each line: KEY, oss://BUCKET/KEY, or a record with the "
    "field source, uri, url, key, object_key or path; or a CSV file with such a column. A list that names several buckets "
    "is shown with a folder for each of them.",
    computed="everything below the source",
)

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

MEMORY_LIMIT: Option[int | None] = Option(
    "memory_limit",
    DATA,
    units.SIZE_OR_COMPUTED,
    None,
    "Memory for file data on its way to the kernel (at least 16M).",
    computed="a quarter of the machine's or the container's memory, at most 1G",
    aliases=("fs.jindo.fuse.pod.mem.limit",),
)
READAHEAD_SIZE: Option[int] = Option(
    "readahead_size",
    DATA,
    units.SIZE,
    4 << 20,
    "Largest piece that is fetched ahead of a sequential reader in one request.",
    aliases=("fs.oss.read.readahead.buffer.size",),
)
READAHEAD_COUNT: Option[int] = Option(
    "readahead_count",
    DATA,
    units.count(0, 1024),
    32,
    "How many such pieces may be under way for one reader.",
    aliases=("fs.oss.read.readahead.buffer.count",),
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
    aliases=("fs.oss.download.thread.concurrency",),
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
FUSE_FD: Option[int | None] = Option(
    "fuse_fd",
    KERNEL,
    units.optional_count("N", 0, 2**20),
    None,
    "Serve this inherited descriptor of /dev/fuse, which somebody else has mounted, instead of mounting.",
    computed="mounts by itself",
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

OPTIONS: tuple[Option[Any], ...] = (
    ENDPOINT,
    REGION,
    PATH_STYLE,
    PROXY,
    TIMEOUT,
    CONNECT_TIMEOUT,
    MANIFEST,
    *CREDENTIAL_OPTIONS,
    ALLOW_OTHER,
    UID,
    GID,
    UMASK,
    NO_SYMLINK,
    ATTR_TIMEOUT,
    ENTRY_TIMEOUT,
    NEGATIVE_TIMEOUT,
    METADATA_TTL,
    NEGATIVE_TTL,
    METADATA_STALE,
    METADATA,
    METADATA_DIR,
    METADATA_SNAPSHOT,
    MEMORY_LIMIT,
    READAHEAD_SIZE,
    READAHEAD_COUNT,
    FETCH_WORKERS,
    CONNECTIONS,
    LIMIT_REQUESTS,
    LIMIT_BANDWIDTH,
    CACHE_DIR,
    CACHE_SIZE,
    CACHE_FREE_SPACE,
    CHANNEL,
    OPEN,
    CLOSE_TO_OPEN,
    DIRECT_IO,
    READ_AHEAD_KB,
    MAX_BACKGROUND,
    PASSTHROUGH,
    FUSE_FD,
    NO_KEEPER,
    LOG_LEVEL,
)
BY_NAME: dict[str, Option[Any]] = {option.name: option for option in OPTIONS}
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(option.group for option in OPTIONS))
