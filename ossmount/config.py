"""What each component is told at its start: one immutable value for each, made by ossmount.options from the user's options.

Seconds are floats, sizes are bytes. No component reads the environment or another component's configuration. Named tuples:
nine dataclasses cost 6 ms, and the module behind them 9, at the start of the daemon and of each fetch process.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class Credentials(NamedTuple):
    """What requests are signed with. repr() and str() never show the secret or the token."""

    access_key_id: str = ""
    access_key_secret: str = ""
    security_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials(access_key_id={self.access_key_id!r})"

    @property
    def anonymous(self) -> bool:
        return not self.access_key_id


class CredentialsConfig(NamedTuple):
    """Where credentials are looked for. Empty values were not given."""

    source: str = "auto"  # the one source to take, or auto: the first that has some
    file: Path | None = None
    process: tuple[str, ...] = ()  # program and arguments
    profile: str = ""
    ram_role_name: str = ""  # of the ECS instance
    ram_role_arn: str = ""  # to be assumed with what was found
    role_session_name: str = ""
    sts_endpoint: str = "https://sts.aliyuncs.com"
    metadata_endpoint: str = "http://100.100.100.200"
    proxy: str = ""
    environ: Mapping[str, str] = {}

    def __repr__(self) -> str:
        shown = {name: value for name, value in self._asdict().items() if name != "environ"}  # it may hold secrets
        return f"CredentialsConfig({shown})"


async def no_others(refused: Credentials | None) -> bool:
    """Of credentials that nobody renews."""
    return False


class SourceConfig(NamedTuple):
    """Where the data lies and how it is asked for."""

    bucket: str
    prefix: bytes = b""  # b"" or ending in "/"
    endpoint: str = ""  # with its scheme, as the user wrote it or https:// before it
    region: str = ""  # "" signs with V1, else with V4
    path_style: bool = False
    credentials: Callable[[], Credentials] = Credentials  # asked for each signature; cheap. Raises CredentialsRefused
    #: Waits until there are others than those that OSS has refused (None: than none); False when none are to be expected.
    renew: Callable[[Credentials | None], Awaitable[bool]] = no_others
    connect_timeout: float = 5.0
    timeout: float = 60.0  # seconds that one read(2) may take
    proxy: str = ""


class MetadataConfig(NamedTuple):
    """How long names and attributes are believed, and where they are kept."""

    directory: Path  # of the LMDB store
    attr_ttl: float = 60.0
    entry_ttl: float = 60.0
    negative_ttl: float = 5.0
    stale: float = 0.0  # seconds behind these for which an answer is still given, while it is asked again
    symlinks: bool = True  # False: OSS symlinks are shown as what they point to (no_symlink)
    ram_entries: int = 200_000


class DataConfig(NamedTuple):
    """The page cache in RAM and readahead."""

    memory_limit: int = 1 << 30  # bytes of the slab
    readahead_size: int = 4 << 20  # bytes of one window at most
    readahead_count: int = 32  # windows in flight for one stream
    timeout: float = 60.0  # seconds that one read(2) may take
    kernel_keeps: bool = True  # what was delivered lies in the kernel's page cache (not so with direct I/O)


class DiskConfig(NamedTuple):
    """The page cache on local disks."""

    directories: tuple[Path, ...]  # at least one
    store: str  # endpoint and bucket: with key, ETag and size the identity of what is cached
    size: int = 0  # bytes of all directories together; 0: as much as free_space leaves
    free_space: int = 10  # percent of each disk that are left free
    touch_after: float = 3600.0  # seconds; how exactly the last use of an object is known
    slow_after: float = 10.0  # seconds that one read or write may take before its directory is switched off
    end_within: float = 5.0  # seconds that writing what waits for it may take at the end
    copies: bool = False  # whether whole copies of large objects are handed out, to be read without us


class FetchConfig(NamedTuple):
    """The processes that receive bodies."""

    workers: int = 0  # 0: by cores
    connections: int = 128  # of all workers together
    slow_after: float = math.inf  # seconds from which a fetch is told of as slow
    hedge_above: float = math.inf  # seconds that a reader waits at least before its request is made a second time
    verify: bool = True  # whole objects are compared with their CRC-64


class FilesystemConfig(NamedTuple):
    """What attributes look like and how long the kernel may keep them."""

    uid: int = 0
    gid: int = 0
    umask: int = 0o022
    attr_timeout: float = 60.0
    entry_timeout: float = 60.0
    negative_timeout: float = 5.0
    close_to_open: bool = False  # every open(2) asks OSS whether the version is still the current one


class ChannelConfig(NamedTuple):
    """How the kernel is spoken to."""

    mountpoint: Path
    source: str  # shown in /proc/mounts
    allow_other: bool = False
    open: str = "auto"  # auto, skip, ask
    direct_io: bool = False
    close_to_open: bool = False
    fuse_fd: int | None = None  # serve this descriptor instead of mounting
    passthrough: int = (
        0  # how deeply our mount counts as stacked: 1, or 2 for a cache on a stacked file system; 0: no passthrough
    )
    why_no_passthrough: str = "it was not asked for (--passthrough)"
    max_background: int = 128
    read_ahead_kb: int = 0  # 0: leave the bdi's own value alone
