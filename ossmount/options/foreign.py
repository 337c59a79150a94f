"""The option names of other file systems: which of ours each one is, or why it has no effect, or why it is refused.

Sources: the mount options and the configuration of JindoFuse and JindoSDK (aliyun/alibabacloud-jindodata), the options of
ossfs 2.0 (its options.cpp and its documentation), the dataset options of PAI, fuse(8), mount(8).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ossmount.options import declarations as options
from ossmount.options import units
from ossmount.options.declared.option import Option


class Fate(enum.Enum):
    """What becomes of a name."""

    MAPPED = "mapped"
    ALWAYS = "always so"  # and "false" is refused
    IGNORED = "ignored"
    REFUSED = "refused"


class Foreign(NamedTuple):
    """A name that another file system has."""

    system: str
    fate: Fate
    why: str = ""
    option: Option[Any] | None = None  # ours, where it is mapped
    translate: Callable[[str], str] = str  # their text to ours; "" for what is our default; raises ValueError


JINDO, OSSFS, FUSE, MOUNT = "JindoFuse", "ossfs 2.0", "FUSE", "mount(8)"

_WRITES = "nothing is written"
_OWN_WAY = "ossmount has no such part"
_PERSISTENT = "names are kept in a store on disk, and memory for them is bounded"
_CHECKED = "what OSS gives a checksum for is verified"
_PATTERNS = "how a file is read is found out while it is read"
_STATE_LOGS = "the log lies in the folder of the mount's state; `ossmount status` names it"
_KEYS = (
    "access keys are no options, where others could read them: set OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET (and "
    "OSS_SECURITY_TOKEN) in the environment, or write them to a file with mode 0600 and give credentials=FILE"
)
_SOURCE = "the source is the first argument: ossmount mount oss://BUCKET/PREFIX MOUNTPOINT"


def _milliseconds(text: str) -> str:
    return units.show_seconds(units.number("MS", 0, 10**9)(text) / 1000)


def _not_zero(text: str) -> str:
    """0 stands for no limit, which is not for us to have: the default then."""
    return "" if text.strip() in ("0", "") else text


def _negated(text: str) -> str:
    return units.show_boolean(not units.BOOLEAN.parse(text))


def _umask_of_folders(text: str) -> str:
    return units.UMASK.show(0o777 & ~units.UMASK.parse(text))


def _umask_of_files(text: str) -> str:
    return units.UMASK.show(0o777 & ~(units.UMASK.parse(text) | 0o111))  # files have no x to take away


def _timeout_unless_minus_one(text: str) -> str:
    return "" if text.strip() == "-1" else text


def _jindo_level(text: str) -> str:
    return ("debug", "debug", "info", "warning", "error", "error", "error")[units.number("LEVEL", 0, 6)(text)]


def _jindo_provider(text: str) -> str:
    if text != "ECS_ROLE":
        raise ValueError("only ECS_ROLE has a counterpart; see credentials_from in CONFIGURATION.md")
    return "ecs"


def _mapped(system: str, option: Option[Any], *names: str, how: Callable[[str], str] = str) -> dict[str, Foreign]:
    return {name: Foreign(system, Fate.MAPPED, "", option, how) for name in names}


def _told(system: str, fate: Fate, why: str, *names: str) -> dict[str, Foreign]:
    return {name: Foreign(system, fate, why) for name in names}


_OF_FUSE: Mapping[str, Foreign] = {
    **_told(FUSE, Fate.ALWAYS, "the mount is read-only", "ro"),
    **_told(FUSE, Fate.ALWAYS, "the kernel checks the mode bits", "default_permissions"),
    **_told(FUSE, Fate.ALWAYS, "set-user-id bits mean nothing", "nosuid"),
    **_told(FUSE, Fate.ALWAYS, "there are no devices", "nodev"),
    **_told(FUSE, Fate.ALWAYS, "no file has the execute bit", "noexec"),
    **_told(FUSE, Fate.ALWAYS, "access times are not kept", "noatime", "nodiratime"),
    **_told(FUSE, Fate.ALWAYS, "the kernel keeps the pages of a file when it is opened again", "kernel_cache"),
    **_told(FUSE, Fate.ALWAYS, "a changed object never meets the pages of its old version", "auto_cache"),
    **_told(FUSE, Fate.ALWAYS, "locks are the kernel's own; OSS is not asked", "no_flock"),
    **_told(FUSE, Fate.IGNORED, "listings bring the attributes along; memory for them is bounded", "readdirplus"),
    **_told(FUSE, Fate.IGNORED, "libfuse is asked for nothing of the kind", "big_writes", "large_read", "max_read", "blksize"),
    **_told(FUSE, Fate.IGNORED, "the mount is shown with its source and as fuse.ossmount", "fsname", "subtype"),
    **_told(FUSE, Fate.IGNORED, "the mount goes away with its keeper", "auto_unmount"),
    **_told(FUSE, Fate.REFUSED, "ossmount mounts read-only; leave rw away", "rw"),
    **_told(FUSE, Fate.REFUSED, "ossmount mounts with nosuid; leave suid away", "suid"),
    **_told(FUSE, Fate.REFUSED, "ossmount mounts with nodev; leave dev away", "dev"),
    **_told(FUSE, Fate.REFUSED, "a mount would hide what lies there: mount on an empty folder", "nonempty"),
    **_told(FUSE, Fate.REFUSED, "give allow_other, or mount as that user", "allow_root"),
}
_OF_MOUNT: Mapping[str, Foreign] = {
    **_told(MOUNT, Fate.IGNORED, "mount(8) and systemd read it", "defaults", "auto", "noauto", "nofail", "_netdev"),
    **_told(MOUNT, Fate.IGNORED, "mount(8) reads it", "nouser", "users", "owner", "group", "comment"),
    **_told(MOUNT, Fate.IGNORED, "access times are not kept", "atime", "diratime", "relatime", "norelatime", "strictatime"),
    **_told(MOUNT, Fate.IGNORED, _WRITES, "sync", "async", "dirsync", "lazytime", "nolazytime"),
    **_told(MOUNT, Fate.IGNORED, "the mode bits decide", "exec"),
    **_told(MOUNT, Fate.REFUSED, "use `ossmount restart MOUNTPOINT` with the new options", "remount"),
}
_OF_JINDO: Mapping[str, Foreign] = {
    **_mapped(JINDO, options.MEMORY_LIMIT, "fs.jindo.fuse.pod.mem.limit"),
    **_mapped(JINDO, options.READAHEAD_SIZE, "fs.oss.read.readahead.buffer.size"),
    **_mapped(JINDO, options.READAHEAD_COUNT, "fs.oss.read.readahead.buffer.count"),
    **_mapped(JINDO, options.CONNECTIONS, "fs.oss.download.thread.concurrency"),
    **_mapped(JINDO, options.CONNECT_TIMEOUT, "fs.oss.connection.timeout.millisecond", how=_milliseconds),
    **_mapped(JINDO, options.ENDPOINT, "fs.oss.endpoint"),
    **_mapped(JINDO, options.REGION, "fs.oss.region"),
    **_mapped(JINDO, options.LOG_LEVEL, "logger.level", how=_jindo_level),
    **_told(JINDO, Fate.REFUSED, _KEYS, "fs.oss.accessKeyId", "fs.oss.accessKeySecret", "fs.oss.securityToken"),
    **_told(JINDO, Fate.IGNORED, "attributes below user.oss. are there for who asks for them", "no_xattr"),
    **_told(
        JINDO,
        Fate.IGNORED,
        _WRITES,
        "no_writeback",
        "fs.oss.append.enable",
        "fs.oss.blocklet.size.mb",
        "fs.oss.flush.interval.millisecond",
        "fs.oss.randomwrite.sync.interval.millisecond",
        "fs.oss.tmp.data.cleaner.enable",
        "fs.oss.tmp.data.dirs",
        "fs.oss.upload.max.pending.tasks.per.stream",
        "fs.oss.upload.queue.size",
        "fs.oss.upload.thread.concurrency",
        "fs.oss.write.buffer.size",
    ),
    **_told(JINDO, Fate.IGNORED, _CHECKED, "fs.oss.checksum.crc64.enable", "fs.oss.checksum.md5.enable"),
    **_told(JINDO, Fate.IGNORED, _PATTERNS, "pread", "fs.oss.read.buffer.size"),
    **_told(
        JINDO,
        Fate.IGNORED,
        "timeout bounds a read with all its retries; what one request may take follows from what others take",
        "fs.oss.retry.count",
        "fs.oss.timeout.millisecond",
    ),
    **_told(
        JINDO,
        Fate.IGNORED,
        "connections and memory_limit bound what is under way",
        "fs.oss.download.queue.size",
        "fs.oss.max.connections.per.host",
        "fs.oss.read.readahead.max.buffer.count",
    ),
    **_told(JINDO, Fate.IGNORED, "a cache on disk is cache_dir", "xengine"),
    **_told(JINDO, Fate.IGNORED, _OWN_WAY, "max_idle_threads", "fs.jindo.fuse.pod.image.tag", "mountType", "mountOssType"),
    **_told(JINDO, Fate.IGNORED, _STATE_LOGS, "logger.dir", "logger.consolelogger", "logger.cleaner.enable"),
    **_told(JINDO, Fate.IGNORED, "the levels of log_level are all there are", "logger.sync", "logger.verbose"),
    **_told(JINDO, Fate.REFUSED, _SOURCE, "uri"),
    **_mapped(JINDO, options.CREDENTIALS_FROM, "credential_provider", "fs.oss.provider.endpoint", how=_jindo_provider),
    **_told(JINDO, Fate.REFUSED, "a class of Java; see credentials_from in CONFIGURATION.md", "fs.oss.credentials.provider"),
}
_OF_OSSFS: Mapping[str, Foreign] = {
    **_mapped(OSSFS, options.ENDPOINT, "oss_endpoint"),
    **_mapped(OSSFS, options.REGION, "oss_region"),
    **_mapped(OSSFS, options.RAM_ROLE_NAME, "ram_role"),
    **_mapped(OSSFS, options.MEMORY_LIMIT, "total_mem_limit", how=_not_zero),
    **_mapped(OSSFS, options.READAHEAD_SIZE, "prefetch_chunk_size"),
    **_mapped(OSSFS, options.READAHEAD_COUNT, "prefetch_concurrency_per_file"),
    **_mapped(OSSFS, options.CONNECTIONS, "prefetch_concurrency", how=_not_zero),
    **_mapped(OSSFS, options.NEGATIVE_TTL, "oss_negative_cache_timeout"),
    **_mapped(OSSFS, options.ENTRY_TIMEOUT, "fuse_entry_timeout", how=_timeout_unless_minus_one),
    **_mapped(OSSFS, options.NO_SYMLINK, "enable_symlink", how=_negated),
    **_mapped(OSSFS, options.UMASK, "dir_mode", how=_umask_of_folders),
    **_mapped(OSSFS, options.UMASK, "file_mode", how=_umask_of_files),
    **_mapped(OSSFS, options.PROXY, "http_proxy"),
    **_mapped(OSSFS, options.CACHE_DIR, "disk_data_cache_dir"),
    **_mapped(OSSFS, options.CACHE_SIZE, "disk_data_cache_size", how=_not_zero),
    **_told(OSSFS, Fate.REFUSED, _KEYS, "oss_access_key_id", "oss_access_key_secret"),
    **_told(
        OSSFS,
        Fate.IGNORED,
        _PERSISTENT,
        "inode_cache_eviction_threshold",
        "inode_cache_eviction_interval_ms",
        "max_inode_cache_count",
        "oss_negative_cache_size",
    ),
    **_told(OSSFS, Fate.IGNORED, "attr_timeout is for the kernel and for our own store", "fuse_attr_timeout"),
    **_told(
        OSSFS,
        Fate.IGNORED,
        _WRITES,
        "allow_rename_dir",
        "appendable_object_autoswitch_threshold",
        "enable_appendable_object",
        "ignore_fsync",
        "random_write_chunk_size",
        "random_write_max_file_size",
        "rename_dir_concurrency",
        "rename_dir_limit",
        "set_mime_for_rename_dst",
        "sync_upload",
        "temp_dir",
        "temp_dir_free_bytes",
        "upload_buffer_size",
        "upload_concurrency",
        "upload_copy_concurrency",
    ),
    **_told(OSSFS, Fate.IGNORED, _CHECKED, "enable_crc64"),
    **_told(OSSFS, Fate.IGNORED, _PATTERNS, "seq_read_detect_count", "prefetch_chunks", "min_reserved_buffer_size_per_file"),
    **_told(OSSFS, Fate.IGNORED, "memory for file data is memory_limit", "memory_data_cache_size", "total_rw_mem_ratio"),
    **_told(OSSFS, Fate.IGNORED, "1,000 keys are asked for at a time", "max_list_ret_count", "use_list_obj_v2"),
    **_told(OSSFS, Fate.IGNORED, "timeout bounds a read with all its retries", "oss_request_timeout_ms"),
    **_told(OSSFS, Fate.IGNORED, "give --foreground (-f) to ossmount mount", "f", "d"),
    **_told(OSSFS, Fate.IGNORED, _STATE_LOGS, "log_dir", "log_file_max_size", "log_file_max_count", "enable_photon_logs"),
    **_told(
        OSSFS,
        Fate.IGNORED,
        _OWN_WAY,
        "allow_mark_dir_stale_recursively",
        "cache_type",
        "enable_admin_server",
        "enable_ipv6",
        "enable_test_signal_handler",
        "enable_transmission_control",
        "enable_xattr",
        "fuse_threads",
        "kernel_readdir_cache_timeout",
        "oss_vcpu_count",
        "skip_trim_options",
        "tc_max_latency_threshold_us",
        "use_auth_cache",
    ),
    **_told(
        OSSFS, Fate.REFUSED, "the source is the first argument: ossmount mount oss://BUCKET/PREFIX MOUNTPOINT", "oss_bucket"
    ),
    **_told(
        OSSFS,
        Fate.REFUSED,
        "the source is the first argument: ossmount mount oss://BUCKET/PREFIX MOUNTPOINT",
        "oss_bucket_prefix",
    ),
    **_told(OSSFS, Fate.REFUSED, "connections go out from the address that the system's routes say", "bind_ips"),
}

FOREIGN: dict[str, Foreign] = {**_OF_FUSE, **_OF_MOUNT, **_OF_JINDO, **_OF_OSSFS}


def foreign(name: str) -> Foreign | None:
    """What a name of another file system means; None where no such name is known. mount(8) hands x-… to no file system."""
    if name.lower().startswith("x-"):
        return Foreign(MOUNT, Fate.IGNORED, "mount(8) and systemd read it")
    return FOREIGN.get(name)
