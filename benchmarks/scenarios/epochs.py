"""Epochs over small files: open, read, close, each file once, in random order, several readers."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from benchmarks import data
from benchmarks.access import Place, source
from benchmarks.crew import Outcome
from benchmarks.scenarios.base import ALL, DATA, FILES, MOUNTS, TOLD, Context, Phase, Scenario, epoch_order, rate, shares
from benchmarks.worker import Record


def read_files(place: Place, arguments: dict[str, Any], record: Record) -> None:
    files = source(place, plain_open=arguments["plain"])
    record.begin()
    for key, size in arguments["files"]:
        content = files.read_file(key, size)
        if len(content) != size:
            raise ValueError(f"{key}: {len(content)} bytes read, {size} are there")
        data.check(place.digest(key), 0, content)
        record.done(size)


def drop(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """Takes the files out of the kernel's page cache, which needs no privilege."""
    for key, _ in arguments["files"]:
        descriptor = os.open(f"{place.root}/{key}", os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


class Files:
    """A map-style data set: DataLoader asks for no more than these two methods."""

    def __init__(self, root: str, files: list[tuple[str, int]]) -> None:
        self._root = root
        self._files = files
        self.size = sum(size for _, size in files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> int:
        key, _ = self._files[number]
        with open(f"{self._root}/{key}", "rb") as stream:
            content = stream.read()
        data.check(data.digest(key), 0, content)
        return len(content)


def load(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """One epoch through torch's DataLoader, whose workers are processes of their own."""
    from torch.utils.data import DataLoader

    files = Files(place.root, [tuple(each) for each in arguments["files"]])
    loader = DataLoader(files, batch_size=32, num_workers=arguments["readers"])
    record.begin()
    for batch in loader:
        record.done(int(batch.sum()))
    record.operations = len(files)
    if record.bytes_ != files.size:
        raise ValueError("the DataLoader gave fewer bytes than the files have")


def walk(place: Place, arguments: dict[str, Any], record: Record) -> None:
    """Lists the whole tree, as a data set class does at its start."""
    record.begin()
    for _, _, names in os.walk(f"{place.root}/train"):
        record.operations += len(names)


def _read(plain: bool, *, whole: bool = False, alone: bool = False) -> Any:
    def measure(context: Context) -> Outcome:
        order = shares(epoch_order(context, whole=whole), 1 if alone else context.scale.readers)
        return context.run(f"{__name__}:read_files", [{"files": each, "plain": plain} for each in order])

    return measure


def _read_told(context: Context) -> Outcome:
    with context.mounted.tell([key for key, _ in epoch_order(context)]):
        return _read(False)(context)  # type: ignore[no-any-return]


def _walk(context: Context) -> None:
    outcome = context.run(f"{__name__}:walk", [{}])
    if outcome.errors:
        raise OSError(outcome.errors[0])


def _drop(context: Context) -> None:
    outcome = context.run(f"{__name__}:drop", [{"files": epoch_order(context)}])
    if outcome.errors:
        raise OSError(outcome.errors[0])


def _load(context: Context) -> Outcome:
    return context.run(f"{__name__}:load", [{"files": epoch_order(context), "readers": context.scale.readers}])


def _no_torch() -> str:
    return "" if importlib.util.find_spec("torch") else "torch is not installed: pip install 'ossmount[torch]'"


def _phases(measure: Any) -> tuple[Phase, ...]:
    # Local files have no "dropped": their page cache is the store's as well.
    return (
        Phase("cold", measure, ALL),
        Phase("warm", measure, FILES),
        Phase("dropped", measure, MOUNTS, before=_drop),
    )


SCENARIOS = (
    Scenario("epoch", "small files in random order, os.open + os.read", rate("files"), ("train",), _phases(_read(False))),
    Scenario(
        "epoch-plain",
        'small files in random order, open(path, "rb").read()',
        rate("files"),
        ("train",),
        (Phase("cold", _read(True), FILES), *_phases(_read(True))[1:]),
    ),
    Scenario(
        "epoch-alone",
        "small files in random order, one reader; warm also with open()",
        rate("files"),
        ("train",),
        (
            Phase("cold", _read(False, alone=True), FILES),
            Phase("warm", _read(False, alone=True), FILES),
            Phase("open()", _read(True, alone=True), FILES),
        ),
    ),
    Scenario(
        "epoch-told",
        "small files in random order, the order told (ossmount.hints)",
        rate("files"),
        ("train",),
        (Phase("cold", _read_told, TOLD), Phase("warm", _read(False), TOLD)),
    ),
    Scenario(
        "epoch-all",
        "all small files in random order, the tree listed before",
        rate("files"),
        ("train",),
        (
            Phase("cold", _read(False, whole=True), DATA, before=_walk),
            Phase("warm", _read(False, whole=True), DATA),
        ),
    ),
    Scenario(
        "dataloader",
        "the same through torch's DataLoader",
        rate("files"),
        ("train",),
        (Phase("cold", _load, DATA), Phase("warm", _load, DATA)),
        missing=_no_torch,
    ),
)
