"""The registry of mounts: one small JSON file for each, written by its daemon.

Only the standard library is imported here, since `ossmount status` must answer at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ossmount.control.state import USERS

_LARGEST = 1 << 20  # bytes of a record


class Record(NamedTuple):
    """What is known of a mount without asking its daemon. Paths are text as os.fsdecode gives it."""

    mountpoint: str
    source: str
    pid: int
    pid_started: int  # clock ticks after boot: tells a reused pid from the daemon
    started: float  # seconds since the epoch
    socket: str
    log: str  # "" when the daemon logs to a terminal
    keeper_pid: int = 0  # 0: there is none
    keeper_started: int = 0
    keeper_socket: str = ""

    def alive(self) -> bool:
        """Whether somebody still serves the mount: the daemon, or a keeper that starts another one."""
        return self.runs() or self.kept()

    def runs(self) -> bool:
        """Whether the daemon still runs."""
        return process_start(self.pid) == self.pid_started

    def kept(self) -> bool:
        """Whether the keeper still runs."""
        return self.keeper_pid > 0 and process_start(self.keeper_pid) == self.keeper_started

    def sockets(self) -> list[str]:
        return [path for path in (self.socket, self.keeper_socket) if path]


def owner_of(pid: int) -> int | None:
    """The real user of a process, also of one that hides from others; None when it does not run."""
    try:
        text = Path(f"/proc/{pid}/status").read_text("ascii", errors="replace")
    except OSError:
        return None
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Uid:")), None)


def process_start(pid: int) -> int | None:
    """Clock ticks after boot at which a process started (proc(5), field 22 of stat); None when it does not run."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(rest[18])


class Registry:
    """The records of one state directory, which may not exist yet."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __repr__(self) -> str:
        return f"Registry({str(self._directory)!r})"

    def path(self, mountpoint: str, suffix: str) -> Path:
        """Where a file of this mount lies: .json, .sock, .log, .manifest."""
        name = hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:20]
        return self._directory / (name + suffix)

    def write(self, record: Record) -> None:
        """Atomically, and readable by its owner only. Takes the place of a daemon or keeper that was killed."""
        previous = self.find(record.mountpoint)
        import tempfile  # not needed by the commands that only read

        descriptor, temporary = tempfile.mkstemp(dir=self._directory, prefix=".record-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(record._asdict(), file)
        os.replace(temporary, self.path(record.mountpoint, ".json"))
        if previous is not None:
            for path, alive in ((previous.socket, previous.runs()), (previous.keeper_socket, previous.kept())):
                if path and not alive and path not in record.sockets():
                    Path(path).unlink(missing_ok=True)

    def remove(self, record: Record) -> None:
        """Forgets a mount, its sockets and its list of keys. The log stays, and so does all of a daemon that took its place."""
        for path in record.sockets():
            Path(path).unlink(missing_ok=True)
        for folder in self._folders():
            if _read(folder / self.path(record.mountpoint, ".json").name) == record:
                for suffix in (".json", ".manifest", ".manifest.csv"):
                    (folder / self.path(record.mountpoint, suffix).name).unlink(missing_ok=True)

    def find(self, mountpoint: str) -> Record | None:
        name = self.path(mountpoint, ".json").name
        return next((record for folder in self._folders() if (record := _read(folder / name)) is not None), None)

    def _folders(self) -> list[Path]:
        """The directory, and root's parts for other users."""
        return [self._directory, *sorted(self._directory.glob(f"{USERS}*"))]

    def records(self) -> Iterator[Record]:
        """All records, by mountpoint."""
        with contextlib.suppress(FileNotFoundError):
            found = (_read(path) for folder in self._folders() for path in folder.glob("*.json"))
            yield from sorted((record for record in found if record is not None), key=lambda record: record.mountpoint)


def _read(path: Path) -> Record | None:
    """A record; None when there is none or the file is not one (of another version, damaged, or forged)."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            writer = os.fstat(file.fileno()).st_uid
            value = json.loads(file.read(_LARGEST).decode())
        record = Record(**{name: value[name] for name in Record._fields})
        return record if writer == os.geteuid() or _is_credible(record, writer, path.parent) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_credible(record: Record, writer: int, folder: Path) -> bool:
    """Whether root may act on what another user wrote: signal its processes and remove its sockets, and nothing else."""
    running = [pid for pid, runs in ((record.pid, record.runs()), (record.keeper_pid, record.kept())) if runs]
    return all(owner_of(pid) == writer for pid in running) and all(Path(one).parent == folder for one in record.sockets())
