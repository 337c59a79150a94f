"""The metadata store: an LMDB environment that survives the daemon, with one writer.

Reads are synchronous on the event loop (a B-tree descent takes some microseconds). Writes are callables that run one after
the other on one worker thread, several in a transaction when they queue up (group commit); whoever waits for a write goes
on only once it is committed, so that a node id that was given out can always be resolved by a successor.

MDB_NOSYNC: a commit is in the kernel's page cache, so it survives kill -9 of the daemon, and costs milliseconds less than
with fsync. A crash of the machine could leave a damaged file; the file UNSYNCED beside it, which holds the boot id while
the environment is open, tells the next start, which then builds a new one. No MDB_WRITEMAP: a full disk would be SIGBUS
instead of an error.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import lmdb
import trio

from ossmount.errors import Unavailable
from ossmount.metadata import records
from ossmount.metadata.coverage import Coverage
from ossmount.metadata.damage import DAMAGE, DEFECTS, ForeignStore, set_aside
from ossmount.metadata.locks import boot_id, exclusive, others, replace_text, take_part, try_alone
from ossmount.metadata.mapped import Mapped
from ossmount.metadata.records import Location, Retired
from ossmount.metadata.transaction import NEXT_ID, NOTES, Databases, Lookup, Rows, Transaction, read_children, read_retired

log = logging.getLogger(__name__)
T = TypeVar("T")

MAP_SIZE = 64 << 30  # bytes of address space, not of disk; grows when it is full
ROOT = 1
_OPENING = "opening.lock"  # held exclusively while the store is opened or closed
_USERS = "users.lock"  # held shared by everyone who has it open
_UNSYNCED = "UNSYNCED"
_CLOCK_SKEW = 60.0  # seconds between two mounts' ideas of now
_GROUP = 64  # writes in one transaction at most
_SCHEMA = b"schema"
_IDENTITY = b"identity"
_LATEST = b"latest"  # seconds since the epoch at the last commit


class _Write(Generic[T]):
    """One queued write and what became of it."""

    def __init__(self, operation: Callable[[Transaction], T]) -> None:
        self.operation = operation
        self.done = trio.Event()
        self.result: T | None = None
        self.failure: Exception | None = None


class Store:
    """One source's names and node ids. Made and closed on the event loop's thread."""

    def __init__(
        self,
        directory: Path,
        identity: str,
        *,
        now: Callable[[], float],
        slack: float = 1.0,
        map_size: int = MAP_SIZE,
        fallback: Path | None = None,
    ) -> None:
        """`fallback`: where a store goes on when the disk of `directory` fails it; default /dev/shm."""
        self.identity = identity
        self.warnings: list[str] = []
        self.commits = 0
        #: Another mount of the same source has written: what was read before may be out of date.
        self.on_foreign_commit: Callable[[], None] = lambda: None
        self._last_commit = -1
        self._now = now
        self._slack = slack
        self._map_size = map_size
        self._fallback = fallback or (Path("/dev/shm") if os.path.isdir("/dev/shm") else Path(tempfile.gettempdir()))
        self._temporary: Path | None = None
        self._users_fd = -1
        self._writing = False
        self._scans = 0  # that are open: other reads may be made in between
        self._mapped = Mapped()
        name = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self.path = directory / name
        self._env: Any = None
        self._db: Databases
        self._send, self._receive = trio.open_memory_channel[_Write[Any]](math.inf)
        try:
            self._open(self.path)
        except (OSError, lmdb.Error) as failure:
            self._warn(f"the metadata store {self.path} cannot be used ({failure}); it is kept in memory")
            self._open_temporary()

    # -- reading: synchronous, on the event loop's thread

    def _begin(self) -> Any:
        """A read transaction, to be used as a context manager and without a checkpoint inside."""
        if self._env is None:
            raise Unavailable("the metadata store is closed")
        self._map_anew()
        try:
            return self._env.begin()
        except lmdb.MapResizedError:  # another mount of the same source grew it
            if self._writing or self._scans:
                raise Unavailable("the metadata store is being resized") from None
            self._env.set_mapsize(0)
            return self._env.begin()

    def _map_anew(self) -> None:
        """Gives back what is mapped of the file, when it is much and no transaction is open."""
        if not (self._writing or self._scans) and self._mapped.is_much():
            self._env.set_mapsize(self._env.info()["map_size"])

    def children(self, parent: int, name: bytes) -> Lookup:
        with self._begin() as txn:
            return read_children(txn, self._db, parent, name)

    def snapshot(self, parent: int, name: bytes) -> tuple[Lookup, Coverage]:
        """Both sides of a name and what is known of its directory, as one moment had them."""
        with self._begin() as txn:
            return read_children(txn, self._db, parent, name), self._read_coverage(txn, parent)

    @contextlib.contextmanager
    def scan(self, parent: int, start: bytes) -> Iterator[tuple[Coverage, Rows]]:
        """What is known of a directory, and its packed children from a name on, at one moment; no checkpoint inside."""
        with self._begin() as txn:
            self._scans += 1
            try:
                yield self._read_coverage(txn, parent), Rows(txn, self._db, parent, start)
            finally:
                self._scans -= 1

    def location(self, number: int) -> Location | None:
        with self._begin() as txn:
            data = txn.get(records.pack_id(number), db=self._db.nodes)
        return None if data is None else records.unpack_location(data)

    def coverage(self, number: int) -> Coverage:
        with self._begin() as txn:
            return self._read_coverage(txn, number)

    def _read_coverage(self, txn: Any, number: int) -> Coverage:
        data = txn.get(records.pack_id(number), db=self._db.coverage)
        return Coverage() if data is None else Coverage.unpack(data)

    def retired(self, below: int | None, limit: int) -> list[Retired]:
        """The greatest retired ids, of those less than `below` where it is given."""
        with self._begin() as txn:
            return read_retired(txn, self._db, below, limit)

    def alone(self) -> bool:
        """Whether no other process has the store open."""
        return self._temporary is not None or not others(self._users_fd)

    def noted(self, name: bytes) -> bytes | None:
        """What Transaction.note() kept under a name."""
        with self._begin() as txn:
            data = txn.get(NOTES + name, db=self._db.meta)
        return None if data is None else bytes(data)

    def facts(self) -> dict[str, object]:
        with self._begin() as txn:
            counted = (self._db.nodes, self._db.children, self._db.retired)
            nodes, names, retired = [txn.stat(database)["entries"] for database in counted]
        info, stat = self._env.info(), self._env.stat()
        return {
            "path": str(self._temporary or self.path),
            "on_disk": self._temporary is None,
            "names": names,
            "node_ids": nodes,
            "retired": retired,
            "bytes": (info["last_pgno"] + 1) * stat["psize"],
            "commits": self.commits,
            "warnings": list(self.warnings),
        }

    # -- writing

    async def write(self, operation: Callable[[Transaction], T]) -> T:
        """Runs the operation inside a write transaction on the writer's thread; returns once it is committed."""
        write = self.queue(operation)
        await write.done.wait()
        if write.failure is not None:
            raise write.failure
        return write.result  # type: ignore[return-value]

    def queue(self, operation: Callable[[Transaction], T]) -> _Write[T]:
        write = _Write(operation)
        self._send.send_nowait(write)
        return write

    async def run(self) -> None:
        """The writer; runs until it is cancelled."""
        while True:
            group = [await self._receive.receive()]
            with contextlib.suppress(trio.WouldBlock):
                while len(group) < _GROUP:
                    group.append(self._receive.receive_nowait())
            await self._write_group(group)

    async def _write_group(self, group: list[_Write[Any]]) -> None:
        failure: Exception | None = None
        with trio.CancelScope(shield=True):  # a thread cannot be interrupted; a commit takes milliseconds
            try:
                await self._commit(group)
            except Exception as raised:
                failure = raised
        if failure is not None and len(group) > 1:  # one of them is at fault: the others shall not suffer from it
            for write in group:
                await self._write_group([write])
            return
        for write in group:
            write.failure = failure
            write.done.set()

    async def _commit(self, group: list[_Write[Any]]) -> None:
        """Commits, and mends what can be mended: a full map grows, a full disk is left for memory."""
        while True:
            try:
                self._map_anew()
                self._writing = True
                try:
                    foreign = await trio.to_thread.run_sync(self._transact, group, self._now())
                finally:
                    self._writing = False
                self.commits += 1
                if foreign:
                    self.on_foreign_commit()
                return
            except lmdb.MapFullError:
                # No transaction of this process is open here: reads have no checkpoint inside and this is the writer.
                self._env.set_mapsize(self._env.info()["map_size"] * 2)
            except lmdb.MapResizedError:  # another mount of the same source grew it
                self._env.set_mapsize(0)
            except (OSError, lmdb.Error) as failure:  # a full disk is DiskError or, when a write is cut short, EIO
                if isinstance(failure, DEFECTS):
                    raise
                if self._temporary is not None:
                    raise Unavailable(f"the metadata store in memory failed: {failure}") from failure
                self._warn(f"the metadata store {self.path} failed ({failure}); it goes on in memory")
                self._move_to_memory()  # here, where no read is under way; rare, and bounded by the copy

    def _transact(self, group: list[_Write[Any]], now: float) -> bool:
        """On the writer's thread. Returns whether somebody else committed since the last commit of this process."""
        with self._env.begin(write=True) as txn:
            number = txn.id()
            for write in group:
                write.result = write.operation(Transaction(txn, self._db, self._slack, now))
            txn.put(_LATEST, records.pack_time(now), db=self._db.meta)
        foreign = self._last_commit not in (-1, number - 1)
        self._last_commit = number
        return foreign

    # -- opening and closing

    def close(self) -> None:
        """Syncs and closes. The last to close a shared store marks it clean."""
        env, self._env = self._env, None
        if env is None:
            return
        if self._temporary is None:
            try:
                env.sync(True)
                self._mark_clean(env)
            except (OSError, lmdb.Error) as failure:
                log.warning("the metadata store %s could not be synced: %s", self.path, failure)
                env.close()
        else:
            env.close()
            shutil.rmtree(self._temporary, ignore_errors=True)
        self._release_users()

    def _mark_clean(self, env: Any) -> None:
        env.close()
        with exclusive(self.path / _OPENING):
            if try_alone(self._users_fd):
                (self.path / _UNSYNCED).unlink(missing_ok=True)

    def _open(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._users_fd = os.open(path / _USERS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with exclusive(path / _OPENING):
                alone = try_alone(self._users_fd)
                fcntl.flock(self._users_fd, fcntl.LOCK_SH)
                take_part(self._users_fd)
                self._open_or_rebuild(path, alone)
        except BaseException:
            self._release_users()
            raise

    def _open_or_rebuild(self, path: Path, alone: bool) -> None:
        unsynced = path / _UNSYNCED
        if alone and unsynced.exists() and unsynced.read_text() != boot_id():
            self._set_aside(path, "the machine stopped while it was in use")
        replace_text(unsynced, boot_id())
        try:
            self._open_environment(path)
        except DAMAGE as why:
            if not alone:
                raise OSError(f"another mount uses it, and it is damaged: {why}") from why
            self._set_aside(path, str(why))
            self._open_environment(path)

    def _release_users(self) -> None:
        if self._users_fd >= 0:
            os.close(self._users_fd)
            self._users_fd = -1

    def _open_environment(self, path: Path) -> None:
        env = lmdb.open(
            str(path),
            map_size=self._map_size,
            max_dbs=8,
            sync=False,
            metasync=False,
            mode=0o600,
            max_readers=126,
            max_spare_txns=4,
        )
        try:
            env.reader_check()
            while True:
                try:
                    self._begin_environment(env)
                    break
                except lmdb.MapFullError:  # the last one to have it open filled it up
                    env.set_mapsize(env.info()["map_size"] * 2)
        except BaseException:
            env.close()
            raise
        self._env = env

    def _begin_environment(self, env: Any) -> None:
        self._db = Databases(*(env.open_db(name.encode()) for name in Databases._fields))
        with env.begin(write=True) as txn:
            self._check_meta(txn)
            self._last_commit = txn.id()

    def _check_meta(self, txn: Any) -> None:
        schema, identity = txn.get(_SCHEMA, db=self._db.meta), txn.get(_IDENTITY, db=self._db.meta)
        if schema is None:
            txn.put(_SCHEMA, str(records.SCHEMA).encode(), db=self._db.meta)
            txn.put(_IDENTITY, self.identity.encode(), db=self._db.meta)
            txn.put(records.pack_id(ROOT), records.pack_location(Location(0, True, b"")), db=self._db.nodes)
        elif schema != str(records.SCHEMA).encode():
            raise ForeignStore(f"its schema is {schema.decode(errors='replace')}, not {records.SCHEMA}")
        elif identity != self.identity.encode():
            raise ForeignStore("it belongs to another source")
        latest = txn.get(_LATEST, db=self._db.meta)
        if latest is not None and records.unpack_time(latest) > self._now() + _CLOCK_SKEW:
            txn.drop(self._db.coverage, delete=False)
            self._warn("the clock was set back: everything in the metadata store is asked again")
        # Also above every id that a store in memory gave out after this one's disk had failed.
        known = txn.get(NEXT_ID, db=self._db.meta)
        epoch = int(self._now() * (1 << 24))  # no store gives out ids as fast as this grows
        first = epoch if known is None else max(epoch, records.unpack_id(known))
        txn.put(NEXT_ID, records.pack_id(first), db=self._db.meta)

    def _set_aside(self, path: Path, why: str) -> None:
        aside = set_aside(path, int(self._now()))
        self._warn(f"the metadata store {path} is rebuilt: {why}; the old one was moved to {aside}")

    def _open_temporary(self) -> None:
        try:
            path = Path(tempfile.mkdtemp(prefix="ossmount-metadata-", dir=self._fallback))
            self._open_environment(path)
        except (OSError, lmdb.Error) as failure:
            raise Unavailable(f"no place for the metadata: {self._fallback} cannot be used either ({failure})") from failure
        self._temporary = path

    def _move_to_memory(self) -> None:
        """Goes on with a copy below /dev/shm; with an empty store when that is too small for the copy."""
        old = self._env
        path = Path(tempfile.mkdtemp(prefix="ossmount-metadata-", dir=self._fallback))
        try:
            old.copy(str(path), compact=True)
        except (OSError, lmdb.Error) as failure:
            self._warn(f"the metadata store could not be copied to memory ({failure}): it starts empty")
            shutil.rmtree(path, ignore_errors=True)
            self._open_temporary()
        else:
            self._open_environment(path)
            self._temporary = path
        old.close()

    def _warn(self, message: str) -> None:
        self.warnings.append(message)
        log.warning("%s", message)
