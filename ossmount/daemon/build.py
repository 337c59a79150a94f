"""Builds the parts of a mount from the user's options. Nothing is started here, and no request is made."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import math
import os
import platform
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ossmount.channel.interface import Channel, Lender
from ossmount.channel.mounting import check_mountpoint
from ossmount.config import (
    ChannelConfig,
    Credentials,
    DataConfig,
    DiskConfig,
    FetchConfig,
    FilesystemConfig,
    MetadataConfig,
    SourceConfig,
)
from ossmount.daemon import memory
from ossmount.daemon.components import Named, Parts
from ossmount.daemon.failures import refusal
from ossmount.daemon.order import Order
from ossmount.daemon.pinning import PinCommand
from ossmount.daemon.prefetching import Prefetching
from ossmount.daemon.refresh import refresh_command
from ossmount.data.disk.cache import DiskCache
from ossmount.data.reader import ObjectReader
from ossmount.data.slab import Slab
from ossmount.errors import OssMountError, Unsupported
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.filesystem.ahead.scheduler import Scheduler
from ossmount.filesystem.filesystem import Filesystem
from ossmount.filesystem.interface import Operations
from ossmount.metadata import manifest, snapshot
from ossmount.metadata.namespace import TreeNamespace
from ossmount.metadata.snapshot import Header, SnapshotError
from ossmount.options import declarations as options
from ossmount.options.settings import DEFAULT, Settings, UsageError
from ossmount.oss.buckets import Bucket
from ossmount.oss.credentials import FileCredentials, environment_credentials
from ossmount.oss.fetch.pool import FetchPool
from ossmount.oss.interface import ObjectLister

OLDEST_KERNEL = (5, 4)
LEAST_CACHE = 16 << 20  # bytes of one folder of cache_dir


def build(order: Order, environ: Mapping[str, str]) -> tuple[Order, Parts]:
    """The order with its computed defaults filled in, and the parts. Raises CommandError, UsageError or MountError."""
    settings = fill_defaults(order.settings, environ)
    if settings[options.FUSE_FD] is None:
        check_mountpoint(order.mountpoint)  # before anything is asked of OSS: it is the likelier mistake
    source = source_config(order, settings, environ)
    order = Order(order.source, order.mountpoint, settings, order.state, order.log)

    bucket = _bucket(source)
    slab = Slab(_memory_limit(settings))
    fetch = FetchConfig(workers=settings[options.FETCH_WORKERS], connections=settings[options.CONNECTIONS])
    pool = FetchPool(source, fetch, slab.fd, slab.size)
    disk_config = disk_cache_config(source, settings)
    disk = None if disk_config is None else DiskCache(pool, slab, disk_config)

    def on_change(node: int, names: Sequence[tuple[int, bytes]]) -> None:
        filesystem.changed(node, names)

    lister, identity = _names(bucket, source, settings)
    namespace = TreeNamespace(lister, metadata_config(settings), identity=identity, prefix=source.prefix, on_change=on_change)
    reader = ObjectReader(slab, disk or pool, data_config(settings, slab.size), storer=pool)
    if disk is not None:
        disk.attach(reader.hold)
    filesystem = Filesystem(namespace, reader, filesystem_config(settings), bucket.head)
    channel, reason = make_channel(settings, filesystem, channel_config(order))
    filesystem.attach(channel)
    look_ahead = Scheduler(
        namespace,
        reader,
        connections=fetch.connections,
        latency=pool.latency,
        memory=memory.available_memory,
        want_kernel=functools.partial(_lend, channel, pool),
    )
    filesystem.watch(look_ahead.note)
    return order, Parts(
        verify=functools.partial(_verify, bucket),
        components=(
            Named("fetch", pool, early=True),
            *(() if disk is None else (Named("disk", disk),)),
            Named("metadata", namespace),
            Named("look-ahead", look_ahead),
        ),
        channel=channel,
        channel_reason=reason,
        fetch_pids=pool.pids,
        requests=functools.partial(_requests, bucket, pool),
        facts={
            "metadata": namespace.facts,
            "data": reader.facts,
            **({} if disk is None else {"disk": disk.facts}),
            "look_ahead": look_ahead.facts,
            "fetch": pool.facts,
            "oss": bucket.facts,
        },
        commands={"refresh": refresh_command(namespace.refresh), "pin": PinCommand(namespace, reader, disk)},
        talks={"prefetch": Prefetching(look_ahead, namespace, order.mountpoint).talk},
    )


def _names(bucket: Bucket, source: SourceConfig, settings: Settings) -> tuple[ObjectLister, str]:
    """Who lists, and under which name the metadata is kept. Raises SnapshotError, ManifestError."""
    taken, kept, listed = settings[options.METADATA_SNAPSHOT], settings[options.METADATA_DIR], settings[options.MANIFEST]
    if taken is not None:
        check_snapshot(taken, source)
    if settings[options.METADATA] == "memory" and kept is not None:
        own_folder(kept)
    identity = source_identity(source, settings)
    if listed is None:
        return bucket, identity
    keys = manifest.read_manifest(listed, source.bucket, source.prefix)
    return manifest.ManifestLister(bucket, keys), identity + manifest.digest(keys)


def _lend(channel: Channel, pool: FetchPool) -> None:
    """Over pyfuse3 what is prefetched stays in our memory, and each file is read by a READ."""
    if isinstance(channel, Lender):
        channel.lend_to(pool)


def _bucket(source: SourceConfig) -> Bucket:
    try:
        return Bucket(source)
    except ValueError as error:
        raise CommandError(ExitCode.UNREACHABLE, str(error)) from None


async def _verify(bucket: Bucket) -> None:
    try:
        await bucket.check()
    except OssMountError as failure:
        raise refusal(failure) from failure


def _requests(bucket: Bucket, pool: FetchPool) -> dict[str, int]:
    """Requests made to OSS, each attempt counted: those of the control plane by kind, and get for those of file data."""
    control, data = bucket.facts()["requests"], pool.facts().get("requests", 0)
    assert isinstance(control, dict) and isinstance(data, int)
    return {"list": 0, "head": 0, **{kind.lower(): number for kind, number in control.items()}, "get": data}


def fill_defaults(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings with every default that depends on the machine or the user."""
    settings = settings.with_default(options.UID, os.getuid()).with_default(options.GID, os.getgid())
    settings = settings.with_default(options.MEMORY_LIMIT, memory.default_limit())
    kept = default_metadata_directory(environ, os.getuid(), memory=settings[options.METADATA] == "memory")
    settings = settings.with_default(options.METADATA_DIR, kept)
    negative = settings[options.NEGATIVE_TIMEOUT]
    if settings[options.METADATA_SNAPSHOT] is not None and settings[options.METADATA_TTL] is None:
        settings = settings.with_default(options.METADATA_TTL, math.inf)
        negative = math.inf
    settings = settings.with_default(options.NEGATIVE_TTL, negative)
    region = settings[options.REGION]
    if region:
        settings = settings.with_default(options.ENDPOINT, f"oss-{region.removeprefix('oss-')}.aliyuncs.com")
    if not settings[options.ENDPOINT]:
        raise UsageError(
            "no endpoint: give --endpoint (such as oss-cn-hangzhou.aliyuncs.com) or --region, or set OSS_ENDPOINT or OSS_REGION"
        )
    return settings


def default_metadata_directory(environ: Mapping[str, str], uid: int, *, memory: bool = False) -> Path:
    if memory:
        return Path(f"/dev/shm/ossmount-{uid}")
    if uid == 0:
        return Path("/var/cache/ossmount")
    cache = environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if os.path.isabs(cache) else Path("~/.cache").expanduser()) / "ossmount"


def source_config(order: Order, settings: Settings, environ: Mapping[str, str]) -> SourceConfig:
    endpoint = settings[options.ENDPOINT]
    return SourceConfig(
        bucket=order.source.bucket,
        prefix=order.source.prefix,
        endpoint=endpoint if "://" in endpoint else f"https://{endpoint}",
        region=settings[options.REGION].removeprefix("oss-"),
        path_style=settings[options.PATH_STYLE],
        credentials=credentials_of(settings, environ),
        connect_timeout=settings[options.CONNECT_TIMEOUT],
        timeout=settings[options.TIMEOUT],
        proxy=settings[options.PROXY],
    )


def credentials_of(settings: Settings, environ: Mapping[str, str]) -> Callable[[], Credentials]:
    """Where requests get their keys from. Raises CommandError when there are none and --anonymous is not given."""
    if settings[options.ANONYMOUS]:
        return Credentials
    path = settings[options.CREDENTIALS]
    try:
        found = environment_credentials(environ) if path is None else FileCredentials(path)
    except ValueError as error:
        raise CommandError(ExitCode.REFUSED, str(error)) from None
    if found().anonymous:
        raise CommandError(
            ExitCode.REFUSED,
            "no credentials: set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET, or give --credentials FILE; "
            "for a bucket that everybody may read give --anonymous",
        )
    return found


def source_identity(source: SourceConfig, settings: Settings) -> str:
    """The name under which the metadata of this source is kept; mounts of the same source share it.

    With no_symlink other sizes and versions are kept of the same keys.
    """
    shown = "targets" if settings[options.NO_SYMLINK] else "links"
    text = "\0".join([source.endpoint.rstrip("/").lower(), source.bucket, os.fsdecode(source.prefix), shown])
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:32]


def _memory_limit(settings: Settings) -> int:
    limit = settings[options.MEMORY_LIMIT] or 0
    if limit < memory.LEAST_LIMIT:
        raise UsageError(f"{settings.origin(options.MEMORY_LIMIT)}: at least 16M are needed")
    return limit


def metadata_config(settings: Settings) -> MetadataConfig:
    directory = settings[options.METADATA_DIR]
    assert directory is not None
    own, negative = settings[options.METADATA_TTL], settings[options.NEGATIVE_TTL]
    return MetadataConfig(
        directory=directory,
        attr_ttl=settings[options.ATTR_TIMEOUT] if own is None else own,
        entry_ttl=settings[options.ENTRY_TIMEOUT] if own is None else own,
        negative_ttl=settings[options.NEGATIVE_TIMEOUT] if negative is None else negative,
        stale=settings[options.METADATA_STALE],
        snapshot=settings[options.METADATA_SNAPSHOT],
        symlinks=not settings[options.NO_SYMLINK],
    )


def check_snapshot(path: Path, source: SourceConfig) -> Header:
    """The header of a snapshot that is whole and of this source. Raises SnapshotError."""
    header = snapshot.check(path)
    if (header.bucket, _place(header.endpoint)) != (source.bucket, _place(source.endpoint)):
        theirs, ours = f"oss://{header.bucket} at {header.endpoint}", f"oss://{source.bucket} at {source.endpoint}"
        raise SnapshotError(f"{path} is a snapshot of {theirs}, not of {ours}")
    if not source.prefix.startswith(header.prefix):
        shown = os.fsdecode(header.prefix)
        raise SnapshotError(f"{path} holds only oss://{header.bucket}/{shown}: mount that, or a folder below it")
    return header


def _place(endpoint: str) -> str:
    """An endpoint without what may differ between two ways to the same bucket."""
    host = endpoint.rpartition("://")[2].rstrip("/").lower()
    return host.replace("-internal.", ".", 1)


def own_folder(directory: Path) -> None:
    """Makes a folder below /dev/shm, where everybody may write: one that somebody else made first is refused."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise UsageError(f"--metadata memory: {directory} cannot be made: {error.strerror}; give --metadata-dir") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise UsageError(f"--metadata memory: {directory} belongs to somebody else or others may write to it; remove it")


def data_config(settings: Settings, memory_limit: int) -> DataConfig:
    return DataConfig(
        memory_limit=memory_limit,
        readahead_size=settings[options.READAHEAD_SIZE],
        readahead_count=settings[options.READAHEAD_COUNT],
        kernel_keeps=not settings[options.DIRECT_IO],
    )


def disk_cache_config(source: SourceConfig, settings: Settings) -> DiskConfig | None:
    """None without a cache on disk."""
    directories = settings[options.CACHE_DIR]
    size = settings[options.CACHE_SIZE]
    if not directories:
        for option in (options.CACHE_SIZE, options.CACHE_FREE_SPACE):
            if settings.origin(option) != DEFAULT:
                raise UsageError(f"{settings.origin(option)} without cache_dir: give --cache-dir a folder on a local disk")
        return None
    for directory in directories:
        if os.path.lexists(directory) and not directory.is_dir():
            raise UsageError(f"{settings.origin(options.CACHE_DIR)}: {directory} is not a folder")
    if size is not None and size < LEAST_CACHE * len(directories):
        raise UsageError(f"{settings.origin(options.CACHE_SIZE)}: at least 16M for each folder of cache_dir are needed")
    return DiskConfig(directories, store_name(source), size or 0, settings[options.CACHE_FREE_SPACE])


def store_name(source: SourceConfig) -> str:
    """What tells the objects of this source from those of others: the endpoint, inside and outside of the region the same."""
    host = source.endpoint.partition("://")[2].rstrip("/").lower()
    return f"{host.replace('-internal.aliyuncs.com', '.aliyuncs.com')}/{source.bucket}"


def filesystem_config(settings: Settings) -> FilesystemConfig:
    uid, gid = settings[options.UID], settings[options.GID]
    assert uid is not None and gid is not None
    return FilesystemConfig(
        uid=uid,
        gid=gid,
        umask=settings[options.UMASK],
        attr_timeout=settings[options.ATTR_TIMEOUT],
        entry_timeout=settings[options.ENTRY_TIMEOUT],
        negative_timeout=settings[options.NEGATIVE_TIMEOUT],
        close_to_open=settings[options.CLOSE_TO_OPEN],
    )


def channel_config(order: Order) -> ChannelConfig:
    settings = order.settings
    return ChannelConfig(
        mountpoint=Path(order.mountpoint),
        source=str(order.source),
        allow_other=settings[options.ALLOW_OTHER],
        open=settings[options.OPEN],
        direct_io=settings[options.DIRECT_IO],
        close_to_open=settings[options.CLOSE_TO_OPEN],
        fuse_fd=settings[options.FUSE_FD],
        max_background=settings[options.MAX_BACKGROUND],
        read_ahead_kb=settings[options.READ_AHEAD_KB],
    )


def choose_channel(wanted: str, release: str) -> tuple[str, str]:
    """kernel or pyfuse3, and why. release: of the running kernel, as uname(2) gives it."""
    if wanted != "auto":
        return wanted, "asked for"
    match = re.match(r"(\d+)\.(\d+)", release)
    needed = ".".join(map(str, OLDEST_KERNEL))
    if match is not None and (int(match[1]), int(match[2])) < OLDEST_KERNEL:
        return "pyfuse3", f"kernel {release} is older than {needed}, which the kernel channel needs"
    return "kernel", f"kernel {release} has what it needs ({needed} or newer)"


def make_channel(settings: Settings, operations: Operations, config: ChannelConfig) -> tuple[Channel, str]:
    """The channel that the user or the machine wants. Only the one that is used is imported."""
    name, reason = choose_channel(settings[options.CHANNEL], platform.release())
    try:
        if name == "kernel":
            from ossmount.channel.kernel_channel.channel import KernelChannel

            return KernelChannel(operations, config), reason
        if importlib.util.find_spec("pyfuse3") is None:
            raise CommandError(
                ExitCode.NO_FUSE,
                f"the pyfuse3 channel ({reason}) needs the package pyfuse3: pip install pyfuse3, or give --channel kernel",
            )
        from ossmount.channel.pyfuse3_channel import Pyfuse3Channel

        return Pyfuse3Channel(operations, config), reason
    except Unsupported as failure:
        raise UsageError(str(failure)) from None
