"""Builds the parts of a mount from the user's options. Nothing is started here, and no request is made."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ossmount.channel.interface import Borrower, Channel, Lender
from ossmount.channel.mounting import check_mountpoint
from ossmount.config import (
    DiskConfig,
    MetadataConfig,
    SourceConfig,
)
from ossmount.control.registry import Registry
from ossmount.daemon import memory, passthrough
from ossmount.daemon.channels import make_channel
from ossmount.daemon.components import Named, Parts
from ossmount.daemon.configs import channel_config, data_config, fetch_config, filesystem_config
from ossmount.daemon.credentials import credentials_of
from ossmount.daemon.damage import Damage
from ossmount.daemon.governing import Governing, look
from ossmount.daemon.governor import Shares
from ossmount.daemon.kept import Kept
from ossmount.daemon.observers import Cached, check_observing, observe
from ossmount.daemon.order import Order
from ossmount.daemon.pinning import PinCommand
from ossmount.daemon.prefetching import Prefetching
from ossmount.daemon.refresh import refresh_command
from ossmount.daemon.remote import Remote, connect
from ossmount.daemon.snapshots import StoredSnapshot, check_apart, check_source
from ossmount.data.integrity import SAMPLE, Integrity
from ossmount.data.reader import ObjectReader
from ossmount.data.slab import Slab
from ossmount.filesystem.ahead.scheduler import Scheduler
from ossmount.filesystem.filesystem import Filesystem
from ossmount.metadata import loader, manifest, snapshot
from ossmount.metadata.namespace import TreeNamespace
from ossmount.options import declarations as options
from ossmount.options.places import ObjectPlace
from ossmount.options.settings import DEFAULT, Settings, UsageError
from ossmount.options.source import Source
from ossmount.oss.credentials.current import CurrentCredentials
from ossmount.oss.rates.rates import Rates

LEAST_CACHE = 16 << 20  # bytes of one folder of cache_dir


def build(order: Order, environ: Mapping[str, str], kept: Kept | None = None) -> tuple[Order, Parts]:
    """The order with its computed defaults filled in, and the parts. Raises CommandError, UsageError or MountError."""
    settings = fill_defaults(order.settings, environ)
    inherits = kept is not None and kept.inherits
    if not inherits:
        check_observing(settings)
        if settings[options.FUSE_FD] is None and not settings[options.USER]:  # else others have looked at it
            check_mountpoint(order.mountpoint)  # before anything is asked of OSS: it is the likelier mistake
    # readers wait for a daemon that follows one that died, and the source of its credentials may be away
    credentials = credentials_of(settings, environ, later=kept is not None and kept.follows_a_death)
    source = source_config(order.source, settings, credentials)
    order = Order(order.source, order.mountpoint, settings, order.state, order.log)

    if settings[options.METADATA] == "memory" and (folder := settings[options.METADATA_DIR]) is not None:
        own_folder(folder)
    slab = Slab(_memory_limit(settings))
    verify = settings[options.VERIFY]
    fetch = fetch_config(settings)
    listed = _listed(order, source, kept)
    rates = Rates(settings[options.LIMIT_REQUESTS], settings[options.LIMIT_BANDWIDTH])
    remote = connect(source, fetch, slab, listed, rates)
    pool = remote.pool
    integrity = None if verify == "off" else Integrity(pool, every=1 if verify == "full" else SAMPLE)
    checked = integrity or pool
    damage = Damage(f"oss://{source.bucket}/" if listed is None or not listed.several else "oss://")
    disk_config = disk_cache_config(source, settings, several=listed is not None and listed.several)
    depth, why_no_passthrough = passthrough.choose(settings, disk_config, "self" if kept is None else kept.privileged)
    disk = None
    if disk_config is not None:
        from ossmount.data.disk.cache import DiskCache  # 10 ms, for mounts that have one

        disk = DiskCache(checked, slab, disk_config._replace(copies=depth > 0))

    def on_change(node: int, names: Sequence[tuple[int, bytes]]) -> None:
        filesystem.changed(node, names)

    async def known(nodes: Sequence[int]) -> Collection[int]:
        return await channel.known(nodes)

    async def caught_up() -> None:
        await channel.caught_up()

    # what follows a daemon that died has it in its store, and the file may be gone
    taken = None if kept is not None and kept.follows_a_death else _snapshot(source, settings, credentials)
    namespace = TreeNamespace(
        remote.lister,
        metadata_config(settings),
        identity=source_identity(source, settings) + remote.shown,
        prefix=source.prefix,
        on_change=on_change,
        snapshot=taken,
        known=known,
        caught_up=caught_up,
    )
    at_once = None if disk is None else disk.at_once
    data = data_config(settings, slab.size)
    reader = ObjectReader(slab, disk or checked, data, storer=pool, at_once=at_once, damaged=damage)
    if disk is not None:
        disk.attach(reader.hold, passthrough.checksums(remote.head), reader)
    filesystem = Filesystem(namespace, reader, filesystem_config(settings), remote.head)
    damage.drop_from(filesystem.drop, *(() if disk is None else (disk.drop,)))
    kernel_config = channel_config(order)._replace(passthrough=depth, why_no_passthrough=why_no_passthrough)
    channel, reason = make_channel(settings, filesystem, kernel_config, kept, passthrough.Copies(namespace, disk))
    filesystem.attach(channel)

    def allot(shares: Shares) -> None:
        reader.allot(shares.slab, shares.ahead, shares.look_ahead)
        pool.allow(shares.connections)

    governing = Governing(slab.size, fetch.connections, functools.partial(look, lambda: slab.resident), allot)
    look_ahead = Scheduler(
        namespace,
        reader,
        connections=fetch.connections,
        latency=pool.latency,
        memory=governing.for_kernel,
        want_kernel=functools.partial(_lend, channel, pool),
        served=(lambda: False) if disk is None else (lambda: disk.serves),
    )
    filesystem.watch(look_ahead.note)
    cached = None if disk is None or disk_config is None else Cached(disk.places, disk_config.store)
    watching = observe(order, channel, remote, namespace, reader, cached)
    return order, Parts(
        verify=functools.partial(_verify, remote, taken),
        components=(
            Named("credentials", credentials, early=True),
            Named("fetch", pool, early=True),
            *(() if disk is None else (Named("disk", disk),)),
            Named("metadata", namespace),
            Named("look-ahead", look_ahead),
            Named("governor", governing),
            *watching.components,
        ),
        channel=channel,
        channel_reason=reason,
        fetch_pids=pool.pids,
        requests=remote.requests,
        facts={
            "credentials": credentials.facts,
            "metadata": namespace.facts,
            "data": reader.facts,
            **({} if disk is None else {"disk": disk.facts}),
            "look_ahead": look_ahead.facts,
            "fetch": pool.facts,
            "integrity": lambda: {"verify": verify, **damage.facts(), **({} if integrity is None else integrity.facts())},
            "oss": remote.facts,
            "rates": rates.facts,
            "memory": governing.facts,
            **watching.facts,
        },
        commands={
            **watching.commands,
            "refresh": refresh_command(namespace.refresh),
            "pin": PinCommand(namespace, reader, disk),
        },
        talks={**watching.talks, "prefetch": Prefetching(look_ahead, namespace, order.mountpoint).talk},
    )


def _listed(order: Order, source: SourceConfig, kept: Kept | None) -> manifest.Manifest | None:
    """The keys that the mount shows; None for all. Raises ManifestError.

    Daemons that follow show what the first one showed, whatever has become of the file.
    """
    path = order.settings[options.MANIFEST]
    if path is None:
        return None
    copy = Registry(order.state).path(order.mountpoint, f".manifest{path.suffix.lower()}")
    if kept is not None and kept.inherits:
        return manifest.read_manifest(copy, source.bucket, source.prefix, source.endpoint)
    found = manifest.read_manifest(path, source.bucket, source.prefix, source.endpoint)
    if kept is not None:
        copy.touch(mode=0o600)
        copy.write_bytes(path.read_bytes())
    return found


def _snapshot(source: SourceConfig, settings: Settings, credentials: CurrentCredentials) -> loader.Source | None:
    """What is taken over into the store. Raises SnapshotError, UsageError."""
    taken, folder = settings[options.METADATA_SNAPSHOT], settings[options.METADATA_DIR]
    if isinstance(taken, ObjectPlace):
        assert folder is not None
        config = source_config(Source(taken.bucket, b""), settings, credentials)
        check_apart(taken, config, source)
        return StoredSnapshot(config, taken, source, folder)
    if taken is None:
        return None
    file = snapshot.File(taken)
    check_source(snapshot.read_header(file), str(file), source)
    return loader.LocalSnapshot(file)


def _lend(channel: Channel, pool: Borrower) -> None:
    """Over pyfuse3 what is prefetched stays in our memory, and each file is read by a READ."""
    if isinstance(channel, Lender):
        channel.lend_to(pool)


async def _verify(remote: Remote, taken: loader.Source | None) -> None:
    await remote.check()
    if taken is not None:
        await taken.header()


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


def source_config(source: Source, settings: Settings, credentials: CurrentCredentials) -> SourceConfig:
    endpoint = settings[options.ENDPOINT]
    return SourceConfig(
        bucket=source.bucket,
        prefix=source.prefix,
        endpoint=endpoint if "://" in endpoint else f"https://{endpoint}",
        region=settings[options.REGION].removeprefix("oss-"),
        path_style=settings[options.PATH_STYLE],
        credentials=credentials,
        renew=credentials.renew,
        connect_timeout=settings[options.CONNECT_TIMEOUT],
        timeout=settings[options.TIMEOUT],
        proxy=settings[options.PROXY],
    )


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
        symlinks=not settings[options.NO_SYMLINK],
    )


def own_folder(directory: Path) -> None:
    """Makes a folder below /dev/shm, where everybody may write: one that somebody else made first is refused."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise UsageError(f"--metadata memory: {directory} cannot be made: {error.strerror}; give --metadata-dir") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise UsageError(f"--metadata memory: {directory} belongs to somebody else or others may write to it; remove it")


def disk_cache_config(source: SourceConfig, settings: Settings, *, several: bool = False) -> DiskConfig | None:
    """None without a cache on disk. several: the keys begin with the names of their buckets."""
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
    config = DiskConfig(directories, store_name(source, several=several), size or 0, settings[options.CACHE_FREE_SPACE])
    # OSS is asked when a third of the time is over, while somebody still waits.
    return config._replace(slow_after=min(config.slow_after, settings[options.TIMEOUT] / 3))


def store_name(source: SourceConfig, *, several: bool = False) -> str:
    """What tells the objects of this source from those of others: the endpoint, inside and outside of the region the same."""
    host = source.endpoint.partition("://")[2].rstrip("/").lower()
    return f"{host.replace('-internal.aliyuncs.com', '.aliyuncs.com')}/{'' if several else source.bucket}"
