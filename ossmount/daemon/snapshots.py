"""Snapshots that lie in OSS: received from there, sent to there; and whether a snapshot is one of the mounted source."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

import trio

from ossmount.config import SourceConfig
from ossmount.daemon.failures import refusal
from ossmount.errors import Changed, Damaged, NotFound, OssMountError
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.metadata import snapshot
from ossmount.metadata.snapshot import File, Header, SnapshotError
from ossmount.options.places import ObjectPlace
from ossmount.options.settings import UsageError
from ossmount.oss import copying
from ossmount.oss.buckets import Bucket
from ossmount.oss.endpoint import endpoint_of


class StoredSnapshot:
    """Implements metadata.loader.Source for an object. Raises CommandError for what OSS refuses."""

    def __init__(self, config: SourceConfig, place: ObjectPlace, source: SourceConfig, folder: Path) -> None:
        """`config`: of the bucket that it lies in; `source`: what it must be of; `folder`: where it may be kept meanwhile."""
        self._config = config
        self._place = place
        self._source = source
        self._folder = folder
        self._header: Header | None = None

    async def header(self) -> Header:
        if self._header is None:
            async with _asking(self._config, self._place) as bucket:
                data = await copying.beginning(bucket, self._place.key, snapshot.LONGEST_BEGINNING)
            header = snapshot.header_of(str(self._place), io.BytesIO(data))
            check_source(header, str(self._place), self._source)
            self._header = header
        return self._header

    @contextlib.asynccontextmanager
    async def whole(self) -> AsyncIterator[File]:
        with temporary(self._folder, self._place) as (stream, file):
            await fetch(self._config, self._place, stream)
            header = await trio.to_thread.run_sync(snapshot.check, file)
            check_source(header, str(file), self._source)  # it may have been replaced since header()
            yield file


async def fetch(config: SourceConfig, place: ObjectPlace, stream: BinaryIO) -> None:
    """Receives a snapshot into an empty file. Raises CommandError, SnapshotError."""
    async with _asking(config, place) as bucket:
        try:
            await copying.download(bucket, place.key, stream)
        except OSError as error:
            raise SnapshotError(f"{place} cannot be kept on this machine: {error.strerror}") from None


async def send(config: SourceConfig, place: ObjectPlace, stream: BinaryIO) -> None:
    """Stores a snapshot that was written to a file. Raises CommandError."""
    async with _asking(config, place) as bucket:
        await copying.upload(bucket, place.key, stream)


@contextlib.contextmanager
def temporary(folder: Path, place: ObjectPlace) -> Iterator[tuple[BinaryIO, File]]:
    """A file that only this user may read, and that is gone however this process ends."""
    with contextlib.suppress(OSError):  # the metadata store says what is wrong with its folder, and is kept in memory
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    usable = os.access(folder, os.W_OK | os.X_OK)
    with tempfile.TemporaryFile(dir=folder if usable else None) as stream:
        yield stream, File(Path(f"/proc/self/fd/{stream.fileno()}"), str(place))


@contextlib.asynccontextmanager
async def _asking(config: SourceConfig, place: ObjectPlace) -> AsyncIterator[Bucket]:
    """The bucket of a place; what it refuses becomes what the user is told."""
    try:
        bucket = Bucket(config)
    except ValueError as error:
        raise CommandError(ExitCode.UNREACHABLE, str(error)) from None
    try:
        yield bucket
    except (NotFound, Changed, Damaged) as failure:
        raise SnapshotError(f"{place} cannot be read: {failure}") from failure
    except OssMountError as failure:
        raise refusal(failure) from failure
    finally:
        bucket.close()


def check_apart(place: ObjectPlace, config: SourceConfig, source: SourceConfig) -> None:
    """Raises UsageError when the endpoint is the own domain of the source's bucket, and the place lies in another bucket.

    Such a domain leads to its bucket whatever name is asked for: a snapshot would be stored there.
    """
    try:
        same = endpoint_of(config) == endpoint_of(source)
    except ValueError as error:
        raise CommandError(ExitCode.UNREACHABLE, str(error)) from None
    if place.bucket != source.bucket and same:
        raise UsageError(f"{config.endpoint} leads to the bucket {source.bucket} only: {place} cannot be reached through it")


def check_source(header: Header, name: str, source: SourceConfig) -> None:
    """Raises SnapshotError unless a snapshot is of this source, or of more than it."""
    if (header.bucket, _reached(header.endpoint)) != (source.bucket, _reached(source.endpoint)):
        theirs, ours = f"oss://{header.bucket} at {header.endpoint}", f"oss://{source.bucket} at {source.endpoint}"
        raise SnapshotError(f"{name} is a snapshot of {theirs}, not of {ours}")
    if not source.prefix.startswith(header.prefix):
        shown = os.fsdecode(header.prefix)
        raise SnapshotError(f"{name} holds only oss://{header.bucket}/{shown}: mount that, or a folder below it")


def _reached(endpoint: str) -> str:
    """An endpoint without what may differ between two ways to the same bucket."""
    host = endpoint.rpartition("://")[2].rstrip("/").lower()
    return host.replace("-internal.", ".", 1)
