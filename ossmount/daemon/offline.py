"""A source's metadata without a mount: listed into its store, exported from it, taken over into it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import trio

from ossmount.config import MetadataConfig, SourceConfig
from ossmount.daemon.build import fill_defaults, metadata_config, own_folder, source_config, source_identity
from ossmount.daemon.credentials import credentials_of
from ossmount.daemon.failures import refusal
from ossmount.daemon.garbage import collect_rarely
from ossmount.daemon.snapshots import check_apart, check_source, fetch, send, temporary
from ossmount.errors import OssMountError
from ossmount.exit_codes import CommandError, ExitCode
from ossmount.metadata.builder import Progress
from ossmount.metadata.exporter import IncompleteError, open_export
from ossmount.metadata.loader import LocalSnapshot
from ossmount.metadata.namespace import TreeNamespace
from ossmount.metadata.snapshot import File, Header, check, write
from ossmount.options import declarations as options
from ossmount.options.places import ObjectPlace
from ossmount.options.settings import Settings
from ossmount.options.source import Source
from ossmount.oss.buckets import Bucket
from ossmount.oss.credentials.current import renewed

_SHOWN = 1.0  # seconds between two calls of progress


class Offline:
    """One source, as a mount with the same options would see it. Raises what building a mount raises."""

    def __init__(self, source: Source, settings: Settings, environ: Mapping[str, str]) -> None:
        settings = fill_defaults(settings, environ)
        self._credentials = credentials_of(settings, environ)
        self.source: SourceConfig = source_config(source, settings, self._credentials)
        self._config: MetadataConfig = metadata_config(settings)
        if settings[options.METADATA] == "memory":
            own_folder(self._config.directory)
        self._identity = source_identity(self.source, settings)

    def build(self, progress: Callable[[Progress], None]) -> Path:
        """Lists everything; the folder of the store. progress is called now and then, and at the end."""
        try:
            bucket = Bucket(self.source)
        except ValueError as error:
            raise CommandError(ExitCode.UNREACHABLE, str(error)) from None

        async def work(namespace: TreeNamespace) -> None:
            try:
                await bucket.check()
            except OssMountError as failure:
                raise refusal(failure) from failure
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_show, namespace, progress)
                await namespace.build()
                nursery.cancel_scope.cancel()
            progress(namespace.progress())

        return trio.run(self._with_namespace, bucket, work)

    def load(self, file: File) -> tuple[Header, int]:
        """Takes a snapshot over; its header and the number of keys that are new by it."""
        header = check(file)
        check_source(header, str(file), self.source)
        count = 0

        async def work(namespace: TreeNamespace) -> None:
            nonlocal count
            count = await namespace.load(LocalSnapshot(file))

        trio.run(self._with_namespace, Bucket(self.source), work)
        return header, count

    async def _with_namespace(self, bucket: Bucket, work: Callable[[TreeNamespace], Awaitable[None]]) -> Path:
        namespace = TreeNamespace(
            bucket, self._config, identity=self._identity, prefix=self.source.prefix, on_change=lambda node, names: None
        )
        started = trio.Event()
        collect_rarely()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._credentials.run, lambda: None)
                nursery.start_soon(namespace.run, started.set)
                await started.wait()
                await work(namespace)
                path = store_path(namespace.facts())
                nursery.cancel_scope.cancel()
        finally:
            bucket.close()
        return path


async def _show(namespace: TreeNamespace, progress: Callable[[Progress], None]) -> None:
    while True:
        await trio.sleep(_SHOWN)
        progress(namespace.progress())


def store_path(facts: Mapping[str, object]) -> Path:
    """Where a namespace keeps its store, from its facts."""
    store = facts["store"]
    assert isinstance(store, Mapping)
    if not store["on_disk"]:
        reason = "; ".join(store["warnings"])
        raise CommandError(ExitCode.UNEXPECTED, f"the metadata could not be kept: {reason}")
    return Path(store["path"])


class Stored:
    """One place in OSS that snapshots are carried to and from."""

    def __init__(self, place: ObjectPlace, settings: Settings, environ: Mapping[str, str]) -> None:
        settings = fill_defaults(settings, environ)
        self.place = place
        self._credentials = credentials_of(settings, environ)
        self._config = source_config(Source(place.bucket, b""), settings, self._credentials)
        self._folder = metadata_config(settings).directory

    def check(self, source: SourceConfig) -> None:
        """Whether it can be told from the source's own bucket; raises UsageError."""
        check_apart(self.place, self._config, source)

    @contextlib.contextmanager
    def received(self) -> Iterator[File]:
        with temporary(self._folder, self.place) as (stream, file):
            trio.run(self._renewing, fetch, stream)
            yield file

    def export(self, store: Path, source: SourceConfig) -> tuple[Header, int]:
        """Stores what a store knows; the header and the number of bytes. Raises CommandError."""
        with tempfile.TemporaryDirectory() as folder:
            written = File(Path(folder, "snapshot"))
            header = export(store, source, written.path)
            with open(written.path, "rb") as stream:
                trio.run(self._renewing, send, stream)
            return header, written.path.stat().st_size

    async def _renewing(
        self, carry: Callable[[SourceConfig, ObjectPlace, BinaryIO], Awaitable[None]], stream: BinaryIO
    ) -> None:
        async with renewed(self._credentials):
            await carry(self._config, self.place, stream)


def export(store: Path, source: SourceConfig, target: Path) -> Header:
    """Writes what a store knows into a snapshot. Raises CommandError."""
    try:
        with open_export(store, source.prefix) as view:
            header = Header(source.bucket, source.prefix, source.endpoint, view.check())
            return write(target, header, view.objects())
    except IncompleteError as error:
        shown = f"oss://{source.bucket}/{source.prefix.decode('utf-8', 'backslashreplace')}"
        raise CommandError(ExitCode.BAD_SNAPSHOT, f"{error}; list it first: ossmount metadata build {shown}") from None
    except OSError as error:
        raise CommandError(ExitCode.UNEXPECTED, f"{target} cannot be written: {error.strerror or error}") from None
