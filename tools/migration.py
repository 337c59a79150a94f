"""docs/migration.md: what the options of other mounts are called here, written from the tables that translate them.

`python -m tools.migration > docs/migration.md`. What ossmount understands itself stands in ossmount/options/foreign.py,
those of ossfs 1, s3fs, goofys and rclone stand here, since only people read them. Sources: the manual pages of ossfs and s3fs,
internal/flags.go of goofys, `rclone mount --help` and `rclone help flags`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ossmount.options import declarations as options
from ossmount.options.declared.option import Option
from ossmount.options.foreign import FOREIGN


class Row(NamedTuple):
    """Names of another mount, and what they are here; without an option `note` says why there is none."""

    names: str  # with spaces between
    option: Option[Any] | None
    note: str = ""


class System(NamedTuple):
    title: str
    example: str  # how it is called, and how ossmount is called for the same; Markdown
    rows: tuple[Row, ...]


_NOT_WRITTEN = "nothing is written"
_BOUNDED = "names are in a store on disk, and memory for them is bounded"
_PATTERN = "how a file is read is found out while it is read"
_KEYS = "a JSON file, mode 0600; [or from elsewhere](../CONFIGURATION.md#where-credentials-come-from)"
_TLS = "there is no option to do without certificates"
_RETRIES = "failures are repeated until `--timeout`"
_PAGES = "1,000 keys are asked for at a time"
_IMPLIED = "folders are what the keys say, with or without objects of their own"

#: s3fs, and ossfs 1, which is made from it.
_OF_BOTH = (
    Row("url", options.ENDPOINT),
    Row("passwd_file", options.CREDENTIALS, _KEYS),
    Row("public_bucket", options.ANONYMOUS),
    Row("use_path_request_style", options.PATH_STYLE, "chosen by itself for IP addresses"),
    Row("allow_other", options.ALLOW_OTHER),
    Row("uid", options.UID),
    Row("gid", options.GID),
    Row("umask", options.UMASK, "for files and folders"),
    Row("mp_umask", options.UMASK, "the mountpoint is a folder like all others"),
    Row("stat_cache_expire", options.METADATA_TTL, "and `--attr-timeout`, `--entry-timeout` for what the kernel believes"),
    Row("stat_cache_interval_expire", None, "what is believed ends when its time is over, used or not"),
    Row("max_stat_cache_size", None, _BOUNDED),
    Row("use_cache", options.CACHE_DIR, "blocks with checksums instead of whole files; several disks with `:` between"),
    Row("ensure_diskfree", options.CACHE_FREE_SPACE, "a part of the disk, not MB; `--cache-size` is the other limit"),
    Row("del_cache", None, "`ossmount cache clear`"),
    Row("check_cache_dir_exist", None, "the folder is made where it is missing"),
    Row("connect_timeout", options.CONNECT_TIMEOUT),
    Row("readwrite_timeout", options.TIMEOUT, "of a whole read, with all that is repeated"),
    Row("retries", None, _RETRIES),
    Row("parallel_count", options.CONNECTIONS, "there for uploads; here for all that is read"),
    Row("multireq_max", None, "listings are made side by side as they are needed"),
    Row("list_object_max_keys listobjectsv2", None, _PAGES),
    Row("complement_stat notsup_compat_dir", None, _IMPLIED),
    Row("no_check_certificate ssl_verify_hostname cipher_suites", None, _TLS),
    Row("use_xattr", None, "`user.oss.*` is there for who asks for it"),
    Row("dbglevel curldbg", options.LOG_LEVEL, "and `ossmount trace` for single requests"),
    Row("logfile", None, "`ossmount status` names the log; with `--foreground` it is stderr"),
    Row("multipart_size multipart_copy_size multipart_threshold singlepart_copy_limit max_dirty_data nomultipart nomixupload "
        "nocopyapi norenameapi storage_class use_sse default_acl mime ahbe_conf tmpdir enable_content_md5", None, _NOT_WRITTEN),
)  # fmt: skip

OSSFS_1 = System(
    "ossfs 1.0",
    "`ossfs my-bucket:/imagenet /mnt/imagenet -ourl=ENDPOINT` is\n"
    "`ossmount mount oss://my-bucket/imagenet /mnt/imagenet --endpoint ENDPOINT`.",
    (
        Row("endpoint", options.REGION, "ossfs signs for this region with it"),
        Row("ram_role", options.RAM_ROLE_NAME, "without it the role that is attached is found"),
        Row("enable_noobj_cache", options.NEGATIVE_TIMEOUT, "always so, for 5 s"),
        Row("download_traffic_limit", options.LIMIT_BANDWIDTH, "bytes a second of the mount, not bits of a connection"),
        Row(
            "direct_read direct_read_chunk_size direct_read_prefetch_chunks",
            None,
            "always so: no disk unless `--cache-dir` is given",
        ),
        Row("upload_traffic_limit noshallowcopyapi", None, _NOT_WRITTEN),
        *_OF_BOTH,
    ),
)
S3FS = System(
    "s3fs",
    "Against OSS's S3-compatible endpoint: `s3fs my-bucket:/imagenet /mnt/imagenet -o url=https://s3.ENDPOINT` is\n"
    "`ossmount mount oss://my-bucket/imagenet /mnt/imagenet --endpoint ENDPOINT`.",
    (
        Row("endpoint", options.REGION, "s3fs signs for this region with it"),
        Row("iam_role ecs", options.RAM_ROLE_NAME, "without it the role that is attached is found"),
        Row("profile", options.CREDENTIALS_PROFILE, "of the aliyun CLI"),
        Row("proxy", options.PROXY),
        Row("disable_noobj_cache", options.NEGATIVE_TIMEOUT, "0 does the same; the default is 5 s"),
        Row("free_space_ratio", options.CACHE_FREE_SPACE),
        Row("compat_dir", None, _IMPLIED),
        Row("streamupload", None, _NOT_WRITTEN),
        *_OF_BOTH,
    ),
)
GOOFYS = System(
    "goofys",
    "`goofys --endpoint https://s3.ENDPOINT my-bucket:imagenet /mnt/imagenet` is\n"
    "`ossmount mount oss://my-bucket/imagenet /mnt/imagenet --endpoint ENDPOINT`.",
    (
        Row("--endpoint", options.ENDPOINT),
        Row("--region", options.REGION),
        Row("--profile", options.CREDENTIALS_PROFILE, "of the aliyun CLI; `--profile` is something else here: a way of use"),
        Row("--subdomain", options.PATH_STYLE, "the other way round: the bucket is in the host name unless this is given"),
        Row("--cache", options.CACHE_DIR, "without catfs"),
        Row("--dir-mode --file-mode", options.UMASK, "`0755` and `0644` are the default"),
        Row("--uid", options.UID),
        Row("--gid", options.GID),
        Row("--stat-cache-ttl", options.ATTR_TIMEOUT),
        Row("--type-cache-ttl", options.ENTRY_TIMEOUT),
        Row("--http-timeout", options.TIMEOUT, "of a whole read, with all that is repeated"),
        Row("--cheap", None, "fewer requests are asked for wherever it costs no time"),
        Row("--no-implicit-dir", None, _IMPLIED),
        Row("--debug_s3 --debug_fuse", options.LOG_LEVEL, "and `ossmount trace` for single requests"),
        Row("-f", None, "`--foreground`"),
        Row("--acl --sse --sse-kms --sse-c --storage-class --use-content-type", None, _NOT_WRITTEN),
    ),
)
RCLONE = System(
    "rclone mount",
    "`rclone mount oss:my-bucket/imagenet /mnt/imagenet --read-only --daemon` is\n"
    "`ossmount mount oss://my-bucket/imagenet /mnt/imagenet --endpoint ENDPOINT`.",
    (
        Row("--s3-endpoint", options.ENDPOINT),
        Row("--s3-region", options.REGION),
        Row("--s3-force-path-style", options.PATH_STYLE, "chosen by itself for IP addresses"),
        Row("--s3-env-auth", options.CREDENTIALS_FROM, "`env`; found by itself"),
        Row("--config", options.CONFIG, "a file with options; of keys it holds only where they are"),
        Row("--dir-cache-time", options.ENTRY_TIMEOUT, "`inf` for data that nobody changes (`--profile training`)"),
        Row("--attr-timeout", options.ATTR_TIMEOUT),
        Row("--poll-interval", None, "`ossmount refresh` when something has changed"),
        Row("--vfs-cache-mode", options.CACHE_DIR, "`full`: give `--cache-dir`; the others: leave it away"),
        Row("--cache-dir", options.CACHE_DIR),
        Row("--vfs-cache-max-size", options.CACHE_SIZE),
        Row("--vfs-cache-min-free-space", options.CACHE_FREE_SPACE, "a part of the disk"),
        Row("--vfs-cache-max-age", None, "what was not used for longest gives way when room is needed"),
        Row("--buffer-size", options.MEMORY_LIMIT, "of all readers together, not of each open file"),
        Row("--vfs-read-ahead", options.READAHEAD_COUNT, "pieces of `--readahead-size`"),
        Row("--vfs-read-chunk-size", options.READAHEAD_SIZE),
        Row("--vfs-read-chunk-streams", options.READAHEAD_COUNT),
        Row("--vfs-read-chunk-size-limit --vfs-read-wait --no-seek --async-read", None, _PATTERN),
        Row("--max-read-ahead", options.READ_AHEAD_KB, "the kernel's own, in KiB"),
        Row("--transfers", options.CONNECTIONS),
        Row("--bwlimit", options.LIMIT_BANDWIDTH),
        Row("--tpslimit", options.LIMIT_REQUESTS),
        Row("--contimeout", options.CONNECT_TIMEOUT),
        Row("--timeout", options.TIMEOUT, "of a whole read, with all that is repeated"),
        Row("--low-level-retries", None, _RETRIES),
        Row("--no-check-certificate", None, _TLS),
        Row("--no-modtime --use-server-modtime", None, "st_mtime is Last-Modified, which the listing brings along"),
        Row("--no-checksum", options.VERIFY, "`off`; nothing is gained by it"),
        Row("--vfs-fast-fingerprint", None, "a version is its ETag"),
        Row("--vfs-refresh", None, "`--metadata-snapshot` knows all names before the mount answers"),
        Row("--files-from", options.MANIFEST),
        Row("--allow-other", options.ALLOW_OTHER),
        Row("--uid", options.UID),
        Row("--gid", options.GID),
        Row("--umask --dir-perms --file-perms", options.UMASK),
        Row("--direct-io", options.DIRECT_IO),
        Row("--links", options.NO_SYMLINK, "OSS's symlinks are shown as links unless this is given"),
        Row("--read-only", None, "always so"),
        Row("--allow-non-empty", None, "refused: a mount would hide what lies there"),
        Row("--daemon --daemon-wait", None, "always so, without `--foreground`; the command returns when the mount answers"),
        Row("--log-level", options.LOG_LEVEL),
        Row("--log-file", None, "`ossmount status` names the log"),
        Row("--rc --metrics-addr", options.METRICS, "what rc does otherwise: `ossmount status`, `top`, `refresh`, `restart`"),
        Row("--write-back-cache --vfs-write-back --vfs-write-wait", None, _NOT_WRITTEN),
    ),
)
SYSTEMS = (OSSFS_1, S3FS, GOOFYS, RCLONE)

HEAD = """# From another mount to ossmount

<!-- Written by `python -m tools.migration > docs/migration.md`; a test compares. Change tools/migration.py or
ossmount/options/foreign.py instead. -->

ossmount only reads. What writes to the bucket (checkpoints, uploads) goes on with ossutil, the SDK or the mount that did it so
far; [SEMANTICS.md](../SEMANTICS.md) says when what they wrote is seen here.

## In five steps

1. Translate the configuration. JindoFuse's and ossfs 2.0's by command, as below; the others by the tables of this page.
2. Leave tuning away at first. Sizes of readahead, numbers of threads and retries were right for another program.
   `ossmount explain MOUNT` names the option where one is too small.
3. Choose a profile ([which one](training.md#which-profile)): it says who changes the data while it is read.
4. Check without mounting: `ossmount config check NAME`, then `ossmount doctor --config NAME`.
5. Mount beside the old one, at another mountpoint, compare, then exchange the mountpoints.

What a reader notices: `df` shows no size, `st_nlink` is 1, mode bits come from `--umask`, and every write is `EROFS`.

"""
BY_COMMAND = """## JindoFuse and ossfs 2.0

By command: JSON as PAI and DataWorks hold it, `jindosdk.cfg`, a file of ossfs2, or the line of arguments itself.

<!-- run -->
```sh
cat > jindo.json <<'END'
{
  "fs.oss.endpoint": "oss-cn-hangzhou-internal.aliyuncs.com",
  "fs.oss.download.thread.concurrency": "64",
  "fs.oss.retry.count": "5",
  "fs.jindo.args": "-oattr_timeout=3600 -oentry_timeout=3600 -onegative_timeout=0"
}
END
ossmount config import jindo.json | tee imagenet.toml
```

<!-- shows -->
```text
endpoint = "oss-cn-hangzhou-internal.aliyuncs.com"
connections = 64
attr_timeout = 3600
entry_timeout = 3600
negative_timeout = 0
# without effect: fs.oss.retry.count = 5: …
```

What was not taken over is said as a comment, with the reason; a name that must not be lost (an access key, `rw`) ends the
command with 2 as well. Behind `-o` the same names are understood directly:

<!-- run -->
```sh
ossmount mount oss://my-bucket/imagenet /mnt/imagenet -oattr_timeout=3600 -okernel_cache -oro
ls /mnt/imagenet
ossmount umount /mnt/imagenet
```
"""


def _translated(system: str) -> str:
    """The table of a system whose names ossmount understands by itself; names with one meaning share a row."""
    rows: dict[str, list[str]] = {}
    for name, one in FOREIGN.items():
        if one.system == system:
            meaning = f"`{one.option.flag}` | " if one.option is not None else f"– | {one.fate.value}: {one.why}"
            rows.setdefault(meaning, []).append(f"`{name}`")
    lines = [f"| {', '.join(names)} | {meaning} |" for meaning, names in rows.items()]
    return f"### {system}\n\n{_HEADER}" + "\n".join(lines) + "\n"


_HEADER = "| there | here | |\n|---|---|---|\n"


def _told(system: System) -> str:
    lines = []
    for row in system.rows:
        names = ", ".join(f"`{name}`" for name in row.names.split())
        lines.append(f"| {names} | {f'`{row.option.flag}`' if row.option else '–'} | {row.note} |")
    return f"## {system.title}\n\n{system.example}\n\n{_HEADER}" + "\n".join(lines) + "\n"


def markdown() -> str:
    """The whole of docs/migration.md."""
    known = [_translated(system) for system in ("JindoFuse", "ossfs 2.0", "FUSE", "mount(8)")]
    return HEAD + "\n".join([BY_COMMAND, *known, *(_told(system) for system in SYSTEMS)])


if __name__ == "__main__":
    print(markdown(), end="")
